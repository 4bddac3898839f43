"""Time as a value: the timeline hangs on the monotonic clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.clock import Anchor, Now, from_iso8601, grid_anchor, to_rfc3339
from rostra.kernel.errors import PeerError
from rostra.kernel.units import FRAME_NS, SECOND_NS

instants = st.integers(0, 4_000_000_000 * SECOND_NS)


@given(instants, instants, instants, st.integers(-(10**18), 10**18))
def test_a_step_of_the_wall_clock_never_moves_the_timeline(wall: int, mono: int, later: int, step: int) -> None:
    anchor = grid_anchor(Now(wall, mono, "boot"))
    steady = Now(wall + later, mono + later, "boot")
    stepped = Now(wall + later + step, mono + later, "boot")
    assert anchor.frames_due(steady) == anchor.frames_due(stepped)


@given(instants, instants, st.integers(0, 10**15))
def test_after_a_reboot_the_timeline_goes_on_by_the_wall_clock(wall: int, mono: int, later: int) -> None:
    anchor = Anchor(wall, mono, "first")
    assert anchor.elapsed_ns(Now(wall + later, 5, "second")) == later


@given(instants, instants, st.integers(0, 10**7))
def test_the_frame_that_begins_at_an_instant_is_found_from_the_wall(wall: int, mono: int, frame: int) -> None:
    now = Now(wall, mono, "boot")
    anchor = grid_anchor(now)
    begins = anchor.wall_of_frame(frame, now)
    assert begins - (wall - mono % FRAME_NS) == frame * FRAME_NS


@given(st.integers(0, 4_000_000_000_000))
def test_rfc3339_round_trips_to_the_millisecond(ms: int) -> None:
    assert abs(from_iso8601(to_rfc3339(ms * 1_000_000)) - ms * 1_000_000) <= 1_000_000


@pytest.mark.parametrize(
    ("text", "code"),
    [("tomorrow", "time.unreadable"), ("2026-08-12T20:00:00", "time.no_zone"), ("", "time.unreadable")],
)
def test_an_instant_without_its_zone_is_refused(text: str, code: str) -> None:
    with pytest.raises(PeerError) as refusal:
        from_iso8601(text)
    assert refusal.value.code == code
