"""The hold music, measured: level, peaks, seam, and that it is music and not a tone."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rostra.kernel.units import FRAGMENT_SAMPLES, FRAME_SAMPLES, SAMPLE_RATE
from rostra.media import loudness
from rostra.programme import hold

FFMPEG = shutil.which("ffmpeg") or "ffmpeg"


@pytest.fixture(scope="module")
def music() -> hold.Samples:
    return hold.loop()


def test_it_is_a_whole_number_of_fragments(music: hold.Samples):
    assert music.dtype == np.float32
    assert music.shape == (hold.LOOP_SAMPLES,)
    assert hold.LOOP_SAMPLES % FRAGMENT_SAMPLES == 0
    assert hold.LOOP_FRAMES * FRAME_SAMPLES == hold.LOOP_SAMPLES


def test_its_level_is_that_of_speech(music: hold.Samples):
    assert loudness.integrated(np.tile(music, 2)) == pytest.approx(hold.LUFS, abs=0.2)
    assert loudness.true_peak(np.tile(music, 2)) < -1


def test_ffmpeg_measures_the_same(music: hold.Samples, tmp_path: Path):
    raw = tmp_path / "music.f32"
    raw.write_bytes(music.tobytes())
    source = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", str(raw)]
    command = [FFMPEG, "-nostdin", "-nostats", "-hide_banner", *source, "-af", "ebur128=peak=true", "-f", "null", "-"]
    report = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    integrated = re.search(r"I:\s+(\S+) LUFS", report.split("Summary:")[1])
    peak = re.search(r"Peak:\s+(\S+) dBFS", report.split("Summary:")[1])
    assert integrated is not None
    assert peak is not None
    assert float(integrated[1]) == pytest.approx(hold.LUFS, abs=1)
    assert float(peak[1]) < -1


def test_nobody_hears_where_it_begins_again(music: hold.Samples):
    """The step over the seam, and how it bends there, are like any other in the music."""
    steps = np.abs(np.diff(np.concatenate((music, music[:2]))))
    bends = np.abs(np.diff(np.concatenate((music[-2:], music[:2])), 2))
    assert steps[-2] < np.quantile(steps, 0.99)
    assert bends.max() < np.quantile(np.abs(np.diff(music, 2)), 0.99)


def test_it_never_falls_silent_and_never_clicks(music: hold.Samples):
    levels = 10 * np.log10(np.mean(music.astype(float).reshape(-1, SAMPLE_RATE // 10) ** 2, axis=1))
    assert levels.min() > -30
    high = np.fft.irfft(np.fft.rfft(music) * (np.fft.rfftfreq(len(music), 1 / SAMPLE_RATE) > 9000))
    assert np.abs(high).max() < 0.02, "a click reaches over the whole spectrum"


def test_it_moves_through_chords(music: hold.Samples):
    """Bars of different chords have different spectra; no partial sounds through the whole piece, as a tone would."""
    bars = np.abs(np.fft.rfft(music.reshape(hold.BARS, -1) * np.hanning(hold.LOOP_SAMPLES // hold.BARS), axis=1))
    bars = bars[:, :10_000] / np.linalg.norm(bars, axis=1, keepdims=True)
    alike = bars @ bars.T
    assert np.median(alike[np.triu_indices(hold.BARS, 1)]) < 0.6
    strongest_hz = bars.argmax(axis=1) / (hold.LOOP_SAMPLES / hold.BARS / SAMPLE_RATE)
    assert len(set(np.round(12 * np.log2(strongest_hz / 440)))) >= 3


def test_every_process_plays_the_same(music: hold.Samples):
    assert np.array_equal(music, hold.loop())
