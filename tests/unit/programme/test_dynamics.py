"""The limiter: nothing over the ceiling, nothing changed below the threshold, no jumps of gain."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.programme import dynamics
from rostra.programme.dynamics import CEILING, RELEASE_DB, THRESHOLD, Limiter, gain_curve

levels = st.floats(0, 30, width=32)


def noise(level: float, seed: int = 0) -> dynamics.Samples:
    chance = np.random.default_rng(seed)
    return (level * chance.uniform(-1, 1, FRAME_SAMPLES)).astype(np.float32)


@given(st.lists(levels, min_size=1, max_size=30))
def test_nothing_reaches_full_scale(frames: list[float]):
    limiter = Limiter()
    for seed, level in enumerate(frames):
        limited = limiter(noise(level, seed))
        assert np.abs(limited).max() <= CEILING + 1e-6
        assert limited.dtype == np.float32
        assert limiter.gain_db <= 0


@given(st.lists(st.floats(0, THRESHOLD * 0.999), min_size=1, max_size=10))
def test_what_is_quiet_passes_bit_for_bit(frames: list[float]):
    limiter = Limiter()
    for seed, level in enumerate(frames):
        pcm = noise(level, seed)
        assert np.array_equal(limiter(pcm), pcm)


@given(levels, st.floats(-30, 0))
def test_the_gain_is_continuous_and_in_time(level: float, before_db: float):
    pcm = noise(level)
    curve = gain_curve(pcm, before_db)
    assert curve[0] == before_db
    assert np.all(np.diff(curve) <= RELEASE_DB + 1e-9)
    assert np.all(curve <= 0)
    peaks = np.abs(pcm).reshape(dynamics.POINTS, -1).max(axis=1)
    worst = np.maximum(curve[1:-1], curve[2:])  # from the second millisecond on, the gain is down before the peak
    assert np.all(20 * np.log10(np.maximum(peaks[1:], 1e-9)) + worst <= 20 * np.log10(THRESHOLD) + 1e-4)


def test_it_recovers_at_the_release_rate_and_then_steps_aside():
    limiter = Limiter()
    limiter(noise(1.8))
    low = limiter.gain_db
    assert low < -3
    frames = 0
    while limiter.gain_db < 0:
        limiter(noise(0.1))
        frames += 1
    assert abs(frames * dynamics.POINTS * RELEASE_DB + low) < 2 * dynamics.POINTS * RELEASE_DB
    pcm = noise(0.1)
    assert limiter(pcm) is pcm


def test_a_loud_voice_stays_clean():
    """A sine 6 dB over: once the gain is down, what leaves is a sine (distortion below -40 dB)."""
    limiter = Limiter()
    at = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    sine = (2 * np.sin(2 * np.pi * 200 * at)).astype(np.float32)
    out = np.concatenate([limiter(frame) for frame in sine.reshape(-1, FRAME_SAMPLES)])[SAMPLE_RATE // 2 :]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out)))) ** 2
    place = round(200 * len(out) / SAMPLE_RATE)
    rest = spectrum.sum() - spectrum[place - 3 : place + 4].sum()
    assert rest / spectrum.sum() < 1e-4


def test_what_is_no_number_becomes_silence():
    limiter = Limiter()
    pcm = noise(0.5)
    pcm[100], pcm[200], pcm[300] = np.nan, np.inf, -np.inf
    limited = limiter(pcm)
    assert np.isfinite(limited).all()
    assert np.isfinite(limiter.gain_db)
