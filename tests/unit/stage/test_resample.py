"""A few parts in a million faster or slower: the same signal, in other places, and no seam between frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.stage.resample import DELAY, RATIO_MAX, Resampler


def run(line: Pcm, ratios: list[float]) -> tuple[Pcm, int]:
    """A frame for each ratio; and how much of `line` was used up."""
    resampler, used, made = Resampler(), 0, []
    for ratio in ratios:
        want = resampler.wants(ratio, FRAME_SAMPLES)
        made.append(resampler.run(line[used : used + want], ratio, FRAME_SAMPLES))
        used += want
    return np.concatenate(made), used


def sine(
    hertz: float, places: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.sin(2 * np.pi * hertz * places / SAMPLE_RATE)


@pytest.mark.parametrize("ratio", [1.0005, 0.9997, 1.00002, 1 - RATIO_MAX])
@pytest.mark.parametrize(
    ("hertz", "snr_db"), [(100, 80), (1000, 80), (4000, 80), (8000, 80), (12_000, 70), (16_000, 60)]
)
def test_the_error_lies_80_db_below_speech_and_60_db_below_what_is_above(
    hertz: float, snr_db: float, ratio: float
) -> None:
    line = sine(hertz, np.arange(60 * 970)).astype(np.float32)
    made, _ = run(line, [ratio] * 60)
    truth = sine(hertz, np.arange(len(made)) * ratio - DELAY)
    error = (made - truth)[FRAME_SAMPLES:]
    assert 10 * np.log10(np.mean(truth**2) / np.mean(error**2)) >= snr_db


@given(st.lists(st.floats(1 - RATIO_MAX, 1 + RATIO_MAX), min_size=1, max_size=60))
def test_every_frame_is_whole_and_the_input_used_is_the_sum_of_the_ratios(ratios: list[float]) -> None:
    line = np.zeros(len(ratios) * 970, np.float32)
    made, used = run(line, ratios)
    assert len(made) == len(ratios) * FRAME_SAMPLES
    assert abs(used - sum(ratios) * FRAME_SAMPLES) < 1


@given(st.lists(st.sampled_from([1 - RATIO_MAX, 0.9999, 1.0, 1.0002, 1 + RATIO_MAX]), min_size=2, max_size=40))
def test_wherever_the_ratio_changes_there_is_no_seam(ratios: list[float]) -> None:
    """A 1 kHz sine moves by 0.131 a sample at most, whatever happens at the edges of frames."""
    line = sine(1000, np.arange(len(ratios) * 970)).astype(np.float32)
    made, _ = run(line, ratios)
    steps = np.abs(np.diff(made[3 * DELAY :]))
    assert steps.max() <= 2 * np.sin(np.pi * 1000 * (1 + RATIO_MAX) / SAMPLE_RATE) + 0.0005


def test_at_one_to_one_the_very_same_samples_come_out() -> None:
    line = np.random.default_rng(1).normal(size=5 * FRAME_SAMPLES).astype(np.float32)
    made, _ = run(line, [1.0] * 5)
    assert np.array_equal(made[DELAY:], line[:-DELAY])
