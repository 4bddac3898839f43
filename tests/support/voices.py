"""Voices for tests that need somebody to say something: a synthesiser's, which are nobody's in particular."""

import io
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import SAMPLE_RATE
from rostra.media.loudness import integrated

Samples = npt.NDArray[np.float32]

LOUDNESS_LUFS = -18.0
MARKER_MS = 120
"""A chirp at the head of a voice, whose autocorrelation is a single peak: where the voice begins, to the sample."""


def say(text: str, voice: str = "en-us", speed: int = 165) -> Samples:
    """`text` spoken, mono float32 at 48 kHz, without silence at either end. `speed` in words a minute."""
    spoken = run_program("espeak-ng", "-v", voice, "-s", str(speed), "--stdout", "--stdin", data=text.encode())
    with wave.open(io.BytesIO(_whole(spoken))) as file:
        rate, frames = file.getframerate(), file.readframes(file.getnframes())
    raw = ["-v", "error", "-f", "s16le", "-ar", str(rate), "-ac", "1", "-i", "-"]
    floats = run_program("ffmpeg", *raw, "-f", "f32le", "-ar", str(SAMPLE_RATE), "-", data=frames)
    return trimmed(np.frombuffer(floats, np.float32))


def trimmed(samples: Samples, floor: float = 0.003) -> Samples:
    """Without what is quieter than `floor` at either end."""
    loud = np.flatnonzero(np.abs(samples) > floor)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


def normalised(samples: Samples, loudness_lufs: float = LOUDNESS_LUFS) -> Samples:
    """At an integrated loudness; what rises above 0.45 is rounded off below 0.65: codecs overshoot."""
    loud = samples * np.float32(10 ** ((loudness_lufs - integrated(samples)) / 20))
    above = np.maximum(np.abs(loud) - 0.45, 0)
    peaks = np.minimum(np.abs(loud), 0.45) + 0.2 * np.tanh(above / 0.2)
    rounded: Samples = (np.sign(loud) * peaks).astype(np.float32)
    return rounded


def chirp(ms: float = MARKER_MS, low_hz: float = 300, high_hz: float = 3400, level: float = 0.5) -> Samples:
    """A sine that sweeps from `low_hz` to `high_hz`, faded at both ends."""
    t = np.arange(round(ms * SAMPLE_RATE / 1000)) / SAMPLE_RATE
    sweep = np.sin(2 * np.pi * (low_hz * t + (high_hz - low_hz) / (2 * t[-1]) * t**2))
    faded: Samples = (level * sweep * np.sin(np.pi * np.linspace(0, 1, len(t))) ** 0.5).astype(np.float32)
    return faded


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def write_wav(path: Path, samples: Samples) -> Path:
    """48 kHz, mono, 16 bits: what a browser's fake microphone takes."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return path


def read_wav(path: Path) -> Samples:
    """The samples of a mono, 16-bit file, as float32."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32_767)


def read_any(path: Path) -> Samples:
    """The samples of a file that FFmpeg can read."""
    raw = run_program(
        "ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-ar", "48000", "-ac", "1", "-", data=b""
    )
    return np.frombuffer(raw, np.float32)


def make_voice(path: Path, text: str, voice: str = "en-us", speed: int = 165, *, marker: bool = True) -> Samples:
    """Write `text`, spoken, as a WAV file and return its samples; with `marker`, after a chirp and 0.2 s of silence."""
    spoken = normalised(say(text, voice, speed))
    whole = np.concatenate((chirp(), silence(0.2), spoken, silence(0.3))) if marker else spoken
    write_wav(path, whole)
    return read_wav(path)


def run_program(program: str, *arguments: str, data: bytes) -> bytes:
    found = shutil.which(program)
    assert found is not None, f"{program} is not installed: `sh tests/needs.sh` installs what the tests drive"
    return subprocess.run([found, *arguments], input=data, capture_output=True, check=True).stdout


def _whole(spoken: bytes) -> bytes:
    """espeak-ng writes a WAV to a pipe, where it cannot go back and fill in the lengths; we can."""
    data = spoken.find(b"data")
    return (
        spoken[:4]
        + (len(spoken) - 8).to_bytes(4, "little")
        + spoken[8 : data + 4]
        + (len(spoken) - data - 8).to_bytes(4, "little")
        + spoken[data + 8 :]
    )
