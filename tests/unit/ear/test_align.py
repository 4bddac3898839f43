"""Alignment, level and dropouts, on sounds whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rostra.ear.align import Samples, align, align_loop, dropouts, slips
from support.voices import make_voice, read_any, run_program

RATE = 48_000


def noise(seconds: float, seed: int = 1, level: float = 0.1) -> Samples:
    """Noise that swells and fades like speech, about four times a second."""
    rng = np.random.default_rng(seed)
    size = round(seconds * RATE)
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(size) / RATE + 6 * rng.random())
    return (level * swell * rng.standard_normal(size)).astype(np.float32)


@settings(max_examples=25)
@given(
    lag=st.integers(-20_000, 60_000),
    gain=st.floats(0.01, 4),
    seed=st.integers(0, 50),
)
def test_a_shifted_copy_is_found_to_the_sample(lag: int, gain: float, seed: int) -> None:
    source = noise(3, seed)
    padded = np.concatenate((noise(1, seed + 100), source, noise(1, seed + 200)))
    captured = padded[RATE + lag : RATE + lag + 2 * RATE] * np.float32(gain)
    found = align(captured, source)
    assert found.lag == lag
    assert found.correlation == pytest.approx(1, abs=1e-3)
    assert found.level_db == pytest.approx(20 * np.log10(gain), abs=0.01)


def test_another_sound_does_not_correlate() -> None:
    assert align(noise(2, 5), noise(3, 6)).correlation < 0.1


def test_silence_aligns_with_nothing_and_is_one_dropout() -> None:
    source = noise(1)
    found = align(np.zeros(RATE, np.float32), source)
    assert found.correlation == pytest.approx(0)
    assert found.level_db == -np.inf
    assert [each.samples for each in dropouts(np.zeros(RATE, np.float32), source, found)] == [found.overlap]


@pytest.mark.parametrize(("ms", "found"), [(30, []), (60, [60]), (500, [500])])
def test_holes_longer_than_two_packets_are_found(ms: int, found: list[int]) -> None:
    source = noise(4)
    captured = source.copy()
    start = RATE + 2400
    captured[start : start + ms * RATE // 1000] = 0
    holes = dropouts(captured, source, align(captured, source))
    assert [round(hole.ms, -1) for hole in holes] == found
    assert all(abs(hole.start - start) <= 480 for hole in holes)


def test_holes_are_told_in_the_captured_sounds_own_time() -> None:
    source = noise(3)
    captured = np.concatenate((noise(1, 9, 0.001), source))
    captured[2 * RATE : 2 * RATE + 9600] = 0
    (hole,) = dropouts(captured, source, align(captured, source))
    assert hole.start == pytest.approx(2 * RATE, abs=480)


def test_a_pause_in_the_source_is_no_dropout() -> None:
    source = noise(3)
    source[RATE : RATE + 24_000] = 0
    assert dropouts(source * np.float32(0.5), source, align(source, source)) == []


def test_a_quieter_but_whole_sound_has_no_dropout() -> None:
    source = noise(3)
    captured = source * np.float32(0.02)
    assert dropouts(captured, source, align(captured, source)) == []


def test_a_loop_is_followed_and_a_slip_is_measured() -> None:
    source = noise(7)
    played = np.tile(source, 4)[3 * RATE :]
    whole = align_loop(played[: 20 * RATE], source)
    assert [each.lag for each in whole] == [(3 + 5 * k) % 7 * RATE for k in range(4)]
    assert slips(whole, len(source)) == [0, 0, 0]
    slipped = np.concatenate((played[: 5 * RATE], played[5 * RATE + 960 :]))[: 20 * RATE]
    assert slips(align_loop(slipped, source), len(source)) == [960, 0, 0]


def test_a_loop_shorter_than_a_segment() -> None:
    source = noise(1.5)
    assert [each.lag for each in align_loop(np.tile(source, 8)[RATE : 11 * RATE], source)] == [RATE, 0]


@pytest.mark.parametrize(("codec", "bit_rate"), [("libopus", "12k"), ("libopus", "32k"), ("aac", "64k")])
def test_a_voice_is_itself_after_a_codec(tmp_path: Path, codec: str, bit_rate: str) -> None:
    source = make_voice(tmp_path / "voice.wav", "What was said is what was heard, however it was packed.", marker=True)
    packed = tmp_path / ("packed.ogg" if codec == "libopus" else "packed.m4a")
    wav = ["-v", "error", "-i", str(tmp_path / "voice.wav")]
    run_program("ffmpeg", *wav, "-c:a", codec, "-b:a", bit_rate, str(packed), data=b"")
    heard = read_any(packed)[RATE // 2 :] * np.float32(0.5)
    found = align(heard, source)
    assert found.lag == RATE // 2
    assert found.correlation > 0.9
    assert found.level_db == pytest.approx(-6, abs=1)
    assert dropouts(heard, source, found) == []
