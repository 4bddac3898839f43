"""Who hears whom, for every stage there can be: nobody themself, and the audience only who may be heard."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import FRAME_SAMPLES
from rostra.space.grants import Role
from rostra.space.roster import Seat
from rostra.stage import mix

seats = st.lists(
    st.builds(
        Seat,
        id=st.text("abcdef", min_size=1, max_size=4),
        name=st.just("N"),
        role=st.just(Role.SPEAKER),
        session=st.sampled_from(["", "s"]),
        armed=st.booleans(),
        muted=st.booleans(),
    ),
    max_size=32,
    unique_by=lambda seat: seat.id,
)


def noise(count: int, seed: int = 1) -> mix.Array:
    return np.random.default_rng(seed).uniform(-1, 1, (count, FRAME_SAMPLES)).astype(np.float32)


@given(seats, st.booleans(), st.integers(0, 31))
def test_nobody_hears_themself_to_the_last_bit(stage: list[Seat], on_air: bool, pick: int) -> None:
    if not stage:
        return
    own = pick % len(stage)
    frames = noise(len(stage))
    gains = mix.routes(stage, on_air)
    heard = mix.blend(frames, gains, gains)[own + 1]
    frames[own] = noise(1, seed=2)
    assert np.array_equal(mix.blend(frames, gains, gains)[own + 1], heard)


@given(seats, st.booleans())
def test_the_programme_is_the_sum_of_the_audible_and_of_nobody_else(stage: list[Seat], on_air: bool) -> None:
    frames = noise(len(stage))
    gains = mix.routes(stage, on_air)
    mixed = mix.blend(frames, gains, gains)
    audible = [row for row, seat in enumerate(stage) if seat.armed and seat.session and not seat.muted]
    np.testing.assert_allclose(mixed[0], frames[audible].sum(axis=0), atol=1e-4)
    for row, seat in enumerate(stage):
        if not seat.audible:
            frames[row] = 1e6
    assert np.array_equal(mix.blend(frames, gains, gains)[0], mixed[0])


@given(seats, st.booleans())
def test_on_the_air_one_hears_the_audible_and_off_it_everyone(stage: list[Seat], on_air: bool) -> None:
    gains = mix.routes(stage, on_air)
    for row, listener in enumerate(stage):
        heard = {seat.id for seat, gain in zip(stage, gains[row + 1], strict=True) if gain}
        others = [seat for seat in stage if seat is not listener]
        if on_air:
            assert heard == {seat.id for seat in others if seat.audible}
        else:
            assert heard == {seat.id for seat in others if seat.session and not seat.muted}
    assert set(gains.flat) <= {0.0, 1.0}


@given(seats, seats, st.booleans())
def test_a_change_fades_over_one_frame_and_only_between_what_was_and_what_is(
    before: list[Seat], after: list[Seat], on_air: bool
) -> None:
    old, new = mix.routes(before, on_air), mix.routes(after, on_air)
    carried = mix.carry(old, [seat.id for seat in before], [seat.id for seat in after])
    frames = noise(len(after))
    mixed = mix.blend(frames, carried, new)
    np.testing.assert_allclose(mixed[:, -1], mix.product(new, frames)[:, -1], atol=1e-3)
    was = {seat.id: seat.audible for seat in before}
    for row, seat in enumerate(after):
        if not seat.audible and not was.get(seat.id, False):
            frames[row] = 1e6
    assert np.array_equal(mix.blend(frames, carried, new)[0], mixed[0])


def test_carrying_to_the_same_seats_changes_nothing() -> None:
    stage = [Seat(name, "N", Role.SPEAKER, "s", armed=name != "b") for name in "abc"]
    gains = mix.routes(stage, on_air=True)
    assert np.array_equal(mix.carry(gains, "abc", "abc"), gains)
    assert np.array_equal(mix.carry(gains, "abc", "cab")[0], [1, 1, 0])


def test_blocks_change_no_sample() -> None:
    gains, frames = noise(33)[:, :32], noise(32)
    np.testing.assert_allclose(mix.product(gains, frames), gains @ frames, atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 0.3, 0.8])
def test_one_voice_passes_untouched(level: float) -> None:
    frame = (level * noise(1)).astype(np.float32)
    assert mix.soften(frame) is frame


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200))
def test_a_loud_mix_is_bent_under_full_scale_and_keeps_its_order(levels: list[float]) -> None:
    given_ = np.sort(np.array(levels, np.float32))
    bent = mix.soften(given_)
    assert bent.dtype == np.float32
    assert np.abs(bent).max() <= 1
    assert np.all(np.diff(bent) >= 0)
    untouched = np.abs(given_) <= mix.KNEE
    assert np.array_equal(bent[untouched], given_[untouched])


def test_an_empty_stage_mixes_silence() -> None:
    gains = mix.routes((), on_air=True)
    mixed = mix.blend(np.zeros((0, FRAME_SAMPLES), np.float32), gains, gains)
    assert mixed.shape == (1, FRAME_SAMPLES)
    assert not mixed.any()
