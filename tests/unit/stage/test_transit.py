"""What the network does: the floor, the lateness to wait for, and the jitter of RFC 3550."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.stage.transit import FORGET_NS, INTERVALS, Transit

CEILING_NS = 400 * MS_NS
FRAME_MS = 20


def observe(transit: Transit, late_ms: list[float], since_ms: int = 0) -> int:
    """Put a packet each 20 ms, each so late. Returns the time (ns) of the last."""
    now_ns = 0
    for number, late in enumerate(late_ms):
        at_ns = (since_ms + number * FRAME_MS) * MS_NS
        now_ns = at_ns + round((5000 + late) * MS_NS)  # the clocks have nothing in common
        transit.put(at_ns, now_ns)
    return now_ns


def needs_ms(transit: Transit, now_ns: int) -> tuple[float, float]:
    least, ample = transit.need_ns(now_ns, CEILING_NS)
    return least / MS_NS, ample / MS_NS


@given(st.lists(st.floats(0, 900), min_size=1, max_size=300))
def test_lateness_is_counted_from_the_fastest_packet_and_never_negative(late_ms: list[float]) -> None:
    transit, fastest = Transit(), np.inf
    for number, late in enumerate(late_ms):
        at_ns = number * FRAME_MS * MS_NS
        fastest = min(fastest, late)
        returned = transit.put(at_ns, at_ns + round(late * MS_NS))
        assert returned == pytest.approx((late - fastest) * MS_NS, abs=2)


@given(st.lists(st.floats(0, 900), min_size=1, max_size=300))
def test_least_is_never_more_than_ample_nor_ample_more_than_the_worst(late_ms: list[float]) -> None:
    transit = Transit()
    now_ns = observe(transit, late_ms)
    least, ample = needs_ms(transit, now_ns)
    assert 0 <= least <= ample <= max(late_ms) - min(late_ms) + 0.001


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=500))
def test_its_memory_is_bounded(late_ms: list[float]) -> None:
    transit = Transit()
    observe(transit, late_ms)
    assert len(transit._intervals) <= INTERVALS


def test_a_single_late_half_second_is_waited_for_at_once_and_for_three_seconds() -> None:
    transit = Transit()
    observe(transit, [0.0] * 1500)
    now_ns = observe(transit, [80.0], 30_000)
    assert needs_ms(transit, now_ns) == (0, 80)
    now_ns = observe(transit, [0.0] * 124, 30_020)
    assert needs_ms(transit, now_ns)[1] == 80
    now_ns = observe(transit, [0.0] * 60, 32_500)
    assert needs_ms(transit, now_ns)[1] == 0


def test_what_comes_back_every_seven_seconds_is_covered_for_good() -> None:
    transit, needs = Transit(), []
    for turn in range(8):
        now_ns = observe(transit, [60.0] + [0.0] * 349, turn * 7000)
        needs.append(needs_ms(transit, now_ns)[1])
    assert needs[3:] == [60] * 5


def test_after_bad_minutes_the_need_falls_within_23_s() -> None:
    transit = Transit()
    observe(transit, [0.0, 100.0] * 3000)
    now_ns = observe(transit, [0.0] * 1075, 120_000)
    assert needs_ms(transit, now_ns)[1] == 100
    now_ns = observe(transit, [0.0] * 125, 141_500)
    assert needs_ms(transit, now_ns)[1] == 0


def test_no_straggler_is_waited_for_beyond_the_ceiling() -> None:
    transit = Transit()
    now_ns = observe(transit, ([0.0] * 20 + [700.0] * 5) * 20)
    assert needs_ms(transit, now_ns) == (400, 400)


def test_the_ceiling_stands_on_the_fastest_recent_packet() -> None:
    """When everything is late by 800 ms, waiting 800 ms costs nothing more: that is where the network stands."""
    transit = Transit()
    observe(transit, [0.0] * 100)
    now_ns = observe(transit, [800.0] * 150, 2000)
    assert needs_ms(transit, now_ns)[1] == 800


def test_another_timeline_is_learnt_from_nothing() -> None:
    transit = Transit()
    observe(transit, [0.0, 50.0] * 100)
    now_ns = observe(transit, [2.0 * FORGET_NS / MS_NS] * 10, 4000)
    assert needs_ms(transit, now_ns) == (0, 0)


def test_jitter_is_that_of_rfc_3550() -> None:
    """Its section A.8, in floating point: J += (|D| - J) / 16."""
    late = np.random.default_rng(1).uniform(0, 30, 200).tolist()
    transit, jitter = Transit(), 0.0
    observe(transit, late)
    for before, after in pairwise(late):
        jitter += (abs(after - before) - jitter) / 16
    assert transit.jitter_ns / MS_NS == pytest.approx(jitter, abs=0.001)


def test_a_clock_that_runs_apart_is_neither_floor_nor_lateness() -> None:
    transit = Transit()
    for number in range(6000):
        at_ns = number * FRAME_MS * MS_NS
        now_ns = round(at_ns * 1.0003)
        late = transit.put(at_ns, now_ns)
    assert late < MS_NS
    assert needs_ms(transit, now_ns)[1] < 1
    assert transit.floor_ns(now_ns) == pytest.approx(120 * SECOND_NS * 0.0003, abs=MS_NS)
