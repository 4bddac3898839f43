"""Loudness against the figures of the standard, and against FFmpeg's independent implementation."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rostra.kernel.units import SAMPLE_RATE
from rostra.media import loudness
from rostra.media.loudness import Meter, Samples

FFMPEG = shutil.which("ffmpeg") or "ffmpeg"
"""The independent oracle."""


def tone(hertz: float, dbfs: float, seconds: float) -> Samples:
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (10 ** (dbfs / 20) * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def ebur128(samples: Samples, folder: Path) -> tuple[float, float]:
    """Integrated loudness and true peak by FFmpeg: LUFS, dBTP."""
    raw = folder / "samples.f32"
    raw.write_bytes(samples.tobytes())
    source = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", str(raw)]
    command = [FFMPEG, "-nostats", "-hide_banner", *source, "-af", "ebur128=peak=true", "-f", "null", "-"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr.split("Summary:")[1]
    found = [re.search(pattern, report) for pattern in (r"I:\s+(\S+) LUFS", r"Peak:\s+(\S+) dBFS")]
    assert all(found), report
    first, second = (float(match[1]) for match in found if match)
    return first, second


def test_a_997_hz_sine_reads_3_01_lu_below_its_peak():
    """BS.1770-4: 0 dBFS at 997 Hz in one channel reads -3.01 LKFS."""
    assert loudness.integrated(tone(997, 0, 5)) == pytest.approx(-3.01, abs=0.02)
    assert loudness.integrated(tone(997, -23, 5)) == pytest.approx(-26.01, abs=0.02)


def test_silence_has_no_loudness():
    silence = np.zeros(SAMPLE_RATE * 5, np.float32)
    assert loudness.integrated(silence) == -math.inf
    assert loudness.sample_peak(silence) == loudness.true_peak(silence) == -math.inf
    assert loudness.integrated(np.zeros(0, np.float32)) == -math.inf
    assert Meter().short_term() == -math.inf


def test_quiet_stretches_do_not_count():
    """EBU Tech 3341, case 3 in one channel: 10 s at -36, 60 s at -23, 10 s at -36 read as the loud part alone."""
    pieces = np.concatenate((tone(1000, -36, 10), tone(1000, -23, 60), tone(1000, -36, 10)))
    assert loudness.integrated(pieces) == pytest.approx(loudness.integrated(tone(1000, -23, 60)), abs=0.1)


@pytest.mark.parametrize("piece", [960, 30_720, 7_777])
def test_fed_in_pieces_it_reads_the_same(piece: int):
    noise = np.random.default_rng(1).normal(0, 0.1, SAMPLE_RATE * 6).astype(np.float32)
    meter = Meter()
    for start in range(0, len(noise), piece):
        meter.feed(noise[start : start + piece])
    assert meter.integrated() == pytest.approx(loudness.integrated(noise), abs=1e-6)
    assert meter.short_term() == pytest.approx(loudness.integrated(noise), abs=0.1)


def test_momentary_follows_within_400_ms():
    meter = Meter()
    meter.feed(tone(1000, -20, 5))
    meter.feed(tone(1000, -40, 0.5))
    assert meter.momentary() == pytest.approx(-43, abs=0.2)
    assert meter.short_term() > -25


def test_true_peak_sees_between_the_samples():
    """A sine of a quarter of the sampling rate, sampled at 45°, has samples 3.01 dB below its crests (Annex 2)."""
    at = np.arange(SAMPLE_RATE)
    sine = np.sin(np.pi / 2 * at + np.pi / 4).astype(np.float32)
    assert loudness.sample_peak(sine) == pytest.approx(-3.01, abs=0.01)
    assert loudness.true_peak(sine[2000:-2000]) == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize("seed", [1, 2])
def test_ffmpeg_agrees(seed: int, tmp_path: Path):
    chance = np.random.default_rng(seed)
    colours = (
        np.cumsum(chance.normal(0, 0.01, SAMPLE_RATE * 12)) % 0.5 - 0.25 + chance.normal(0, 0.05, SAMPLE_RATE * 12)
    )
    swell = np.repeat(chance.uniform(0.01, 1, 12), SAMPLE_RATE)
    samples = (colours * swell).astype(np.float32)
    integrated, true_peak = ebur128(samples, tmp_path)
    assert loudness.integrated(samples) == pytest.approx(integrated, abs=0.1)
    assert loudness.true_peak(samples) == pytest.approx(true_peak, abs=0.6)
