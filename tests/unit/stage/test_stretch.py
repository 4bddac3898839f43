"""Shorter and longer: by whole periods, without an edge, at the same pitch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.stage.stretch import FADE, PERIOD_MAX, PERIOD_MIN, REACH, Stretcher, fade, lengthen, seek, shorten

SECOND = SAMPLE_RATE


def voice(hertz: float, samples: int) -> Pcm:
    """A voice that holds its pitch: ten harmonics."""
    at = np.arange(samples) / SAMPLE_RATE
    return (0.1 * sum(np.sin(2 * np.pi * hertz * n * at + n) / n for n in range(1, 11))).astype(np.float32)


def hiss(samples: int, seed: int = 1) -> Pcm:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def through(line: Pcm, wish: int, frames: int) -> tuple[Pcm, int]:
    """`frames` frames of what a stretcher makes of `line`, the wish never fulfilled; and how much of it was used."""
    stretcher, past, used, ready, made = Stretcher(), line[:FRAME_SAMPLES], FRAME_SAMPLES, line[:0], []
    for _ in range(frames):
        missing = max(0, FRAME_SAMPLES + PERIOD_MAX - len(ready))
        ready = np.concatenate([ready, line[used : used + missing]])
        used += missing
        ready = stretcher.act(past, ready, wish)
        past, ready = ready[:FRAME_SAMPLES], ready[FRAME_SAMPLES:]
        made.append(past)
    return np.concatenate(made), used - FRAME_SAMPLES - len(ready)


def pitch(line: Pcm) -> float:
    """The strongest frequency under 400 Hz, in Hz."""
    spectrum = np.abs(np.fft.rfft(line * np.hanning(len(line))))
    return float(np.argmax(spectrum[: 400 * len(line) // SAMPLE_RATE]) * SAMPLE_RATE / len(line))


@pytest.mark.parametrize("hertz", [70, 85, 110, 160, 220, 300, 390])
def test_a_voice_resembles_itself_after_whole_periods(hertz: float) -> None:
    line = voice(hertz, REACH)
    for origin, others in ((0, 0), (PERIOD_MAX, 0)):
        distance, resemblance = seek(line, origin, others)
        periods = distance * hertz / SAMPLE_RATE
        assert abs(periods - round(periods)) < 0.02
        assert round(periods) >= 1
        assert resemblance > 0.98


@pytest.mark.parametrize("hertz", [85, 130, 220, 390])
@pytest.mark.parametrize("wish", [SECOND, -SECOND])
def test_a_voice_gets_faster_or_slower_by_a_fifth_and_keeps_its_pitch(hertz: float, wish: int) -> None:
    line = voice(hertz, 4 * SECOND)
    made, used = through(line, wish, 100)
    rate = used / len(made)
    assert 1.15 < rate < 1.4 if wish > 0 else 0.6 < rate < 0.85
    assert pitch(made) == pytest.approx(hertz, abs=2)


@given(st.sampled_from([70, 120, 200, 310]), st.integers(0, 3), st.sampled_from([SECOND, 900, -900, -SECOND]))
def test_there_is_never_a_step_that_the_speaker_did_not_make(hertz: float, noise: int, wish: int) -> None:
    line = voice(hertz, 2 * SECOND) + noise * 0.1 * hiss(2 * SECOND)
    made, _ = through(line, wish, 40)
    assert np.abs(np.diff(made)).max() <= 1.5 * np.abs(np.diff(line)).max()


@given(st.integers(PERIOD_MIN, PERIOD_MAX))
def test_just_the_period_is_taken_or_added(period: int) -> None:
    line, past = hiss(2 * FRAME_SAMPLES), hiss(FRAME_SAMPLES, 2)
    shorter, longer = shorten(line, period, 0.0), lengthen(past, line, period, 0.0)
    assert len(shorter) == len(line) - period
    assert np.array_equal(shorter[FADE:], line[period + FADE :])
    assert len(longer) == len(line) + period
    assert np.array_equal(longer[period:], line) or np.array_equal(
        longer[max(period, FADE) :], line[max(period, FADE) - period :]
    )


@given(st.integers(-SECOND, SECOND), st.integers(0, 2 * FRAME_SAMPLES))
def test_never_more_is_done_than_was_wished_nor_more_than_a_period(wish: int, length: int) -> None:
    for line in (voice(120, length), hiss(length), np.zeros(length, np.float32)):
        if wish <= 0 and length < FADE:
            continue
        changed = len(line) - len(Stretcher().act(np.zeros(FRAME_SAMPLES, np.float32), line, wish))
        assert abs(changed) <= PERIOD_MAX
        assert 0 <= changed <= wish or (wish < 0 and changed <= 0)


def test_silence_goes_first_and_at_three_times_the_rate() -> None:
    made, used = through(np.zeros(4 * SECOND, np.float32), SECOND, 50)
    assert used / len(made) > 1.7


def test_hiss_is_left_alone_until_there_is_nothing_better_and_keeps_its_loudness() -> None:
    stretcher, line, past = Stretcher(), hiss(REACH), hiss(FRAME_SAMPLES, 2)
    assert len(stretcher.act(past, line, PERIOD_MAX)) == REACH
    tries = next(n for n in range(200) if len(stretcher.act(past, line, PERIOD_MAX)) < REACH)
    assert 10 < tries < 100
    made, used = through(hiss(20 * SECOND), SECOND, 500)
    assert used > len(made)
    edges = np.sqrt(np.mean(made.reshape(-1, 240) ** 2, axis=1))
    assert edges.min() > 0.07


def test_a_fade_between_unlike_sounds_has_constant_power() -> None:
    mixed = np.array([fade(hiss(FADE, seed), hiss(FADE, seed + 1000), 0.0) for seed in range(400)])
    power = np.mean(mixed**2, axis=0)
    assert power == pytest.approx(0.01, rel=0.35)
    assert np.array_equal(fade(np.ones(FADE, np.float32), np.ones(FADE, np.float32)), np.ones(FADE, np.float32))
