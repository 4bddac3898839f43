"""The slope under the transits: a clock is found in any noise, and only a clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.stage.drift import BINS, SLOPE_MAX, Drift

PPM = 1e-6


def lows(seconds: int, slope: float, noise_ms: float, seed: int = 1) -> list[tuple[int, int]]:
    """(lowest transit, when) of each half-second."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(0, seconds, 0.5)
    low_ms = 40 + slope * at_s * 1000 + rng.exponential(noise_ms, len(at_s))
    return [(round(low * MS_NS), round(at * SECOND_NS)) for low, at in zip(low_ms, at_s, strict=True)]


def slope_after(measured: list[tuple[int, int]]) -> float:
    drift = Drift()
    for low_ns, at_ns in measured:
        drift.put(low_ns, at_ns)
    return drift.slope


@given(st.floats(-500, 500), st.floats(0, 3), st.integers(0, 1000))
def test_a_crystal_is_known_to_15_parts_in_a_million_after_three_minutes(
    ppm: float, noise_ms: float, seed: int
) -> None:
    assert slope_after(lows(180, ppm * PPM, noise_ms, seed)) == pytest.approx(ppm * PPM, abs=15 * PPM)


@given(st.lists(st.integers(0, 5 * SECOND_NS), max_size=400), st.integers(1, 10 * SECOND_NS))
def test_whatever_it_sees_the_slope_is_one_that_clocks_have(transits: list[int], step_ns: int) -> None:
    drift = Drift()
    for number, low_ns in enumerate(transits):
        drift.put(low_ns, number * step_ns)
        assert abs(drift.slope) <= SLOPE_MAX
    assert len(drift._bins) <= BINS


def test_a_new_way_through_the_network_is_no_drift() -> None:
    """All transits rise by 40 ms in the middle, for good."""
    before, after = lows(240, 50 * PPM, 1, 1), lows(480, 50 * PPM, 1, 1)[480:]
    moved = [(low_ns + 40 * MS_NS, at_ns) for low_ns, at_ns in after]
    assert slope_after(before + moved) == pytest.approx(50 * PPM, abs=15 * PPM)


def test_a_queue_that_fills_is_no_drift() -> None:
    drift = Drift()
    for low_ns, at_ns in lows(60, 0, 1):
        drift.put(low_ns, at_ns)
    known = drift.slope
    for low_ns, at_ns in lows(30, 10_000 * PPM, 1):
        drift.put(low_ns, at_ns + 60 * SECOND_NS)
    assert drift.slope == pytest.approx(known, abs=60 * PPM)


def test_before_half_a_minute_nothing_is_claimed() -> None:
    assert slope_after(lows(25, 300 * PPM, 0)) == 0


def test_a_crystal_outlives_a_restart_of_the_stream() -> None:
    drift = Drift()
    for low_ns, at_ns in lows(120, 200 * PPM, 1):
        drift.put(low_ns, at_ns)
    drift.restart()
    drift.put(77 * SECOND_NS, 200 * SECOND_NS)
    assert drift.slope == pytest.approx(200 * PPM, abs=15 * PPM)
