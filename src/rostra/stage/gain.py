"""Automatic gain: every seat's voice near one level, slowly enough that nobody hears it happen.

What pumps is a gain that follows the sound: up in every pause, down at every word. This one follows the speaker. It
measures loudness only while they speak, over some seconds of speech, moves by a few decibels a second at most, and
stands still when they pause: what is heard in a pause is the room as it was, never louder than a moment ago.

Speech is what stands out from the noise floor: the least level of the last one to three seconds ("minimum statistics",
Martin 2001), for even fast talk has gaps of some 100 ms. Digital silence (a codec's pause, a device that is off) says
nothing about the room and is left out. Loudness is the mean power of speech, without what lies far under it, as in the
gate of BS.1770.

The second part is fast and rare: where the gain would lift a peak (a cough after a whisper) over the mix's knee, the
seat is ducked within the frame and let up again over a second. What is left of such a peak `mix.soften` bends; nothing
here can clip.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import FRAME_SAMPLES
from rostra.stage.mix import KNEE

Array = npt.NDArray[np.float32]

TARGET_DB: Final = -15.0
"""RMS of speech in dBFS: measured, a voice then has -17 LUFS; the music and podcasts have -16."""

UP_DB_MAX: Final = 24.0
DOWN_DB_MAX: Final = 12.0
"""The range: from a laptop across the table (-40 dBFS) to a microphone at the lips (-4)."""

NOISE_DB_MAX: Final = -46.0
"""What the gain may lift a room's noise to: 31 dB under the voice. Whoever is noisier stays softer than the others."""

SLOPE_DB: Final = 0.12
"""A frame: 6 dB a second, and less near the goal (`NEAR`)."""

NEAR: Final = 0.02
"""The share of what is missing that a frame may make up: the last decibels take seconds."""

ENOUGH_DB: Final = 0.5
"""Nobody hears that; a gain that rests is cheaper and calmer."""

STAND_OUT_DB: Final = 9.0
"""Speech is that far above the floor; the floor's own frames vary by 3 dB."""

FAINT_DB: Final = -58.0
"""Softer sound is never speech: breathing, a chair, another room."""

SILENT_DB: Final = -90.0
"""Under this is digital silence, or a decoder's comfort noise: no room is so quiet."""

RUN_FRAMES: Final = 3
"""A keystroke has one or two frames, the shortest syllable five."""

KNOWN_FRAMES: Final = 25
MEMORY_FRAMES: Final = 200
"""Half a second of speech before anything moves, and four that the loudness remembers."""

UNDER_DB: Final = 12.0
"""Speech further under its own loudness (the ends of words) does not count."""

RELEARN_FRAMES: Final = 100
"""After so much speech of which nothing counted (2 s), the loudness is learnt anew: a shout stands for no whisperer."""

HALF_FRAMES: Final = 75
"""Half of the window for the floor: 1.5 s."""

RELEASE_DB: Final = 0.2
"""A frame: 10 dB a second after a duck."""

_UNDER: Final = 10 ** (-UNDER_DB / 10)
_KNEE_DB: Final = float(20 * np.log10(KNEE))
_RAMP: Final[Array] = (np.arange(1, FRAME_SAMPLES + 1) / FRAME_SAMPLES).astype(np.float32)
_NEVER: Final = 0.0


@dataclass(frozen=True, slots=True)
class Gain:
    """One seat's. `gain_db` is slow, `duck_db` (0 or less) fast; `power` is the mean of `known` frames of speech.

    `least_db` and `before_db` are the least levels of this half window (`age` frames old) and of the last, full scale
    when nothing was heard in it; `run` counts frames that stand out, `under` those that were too soft to count.
    """

    gain_db: float = 0.0
    duck_db: float = 0.0
    power: float = 0.0
    known: int = 0
    under: int = 0
    run: int = 0
    least_db: float = _NEVER
    before_db: float = _NEVER
    age: int = 0

    @property
    def applied_db(self) -> float:
        return self.gain_db + self.duck_db

    @property
    def floor_db(self) -> float:
        """The room's noise in dBFS, before any gain."""
        return min(self.least_db, self.before_db)

    @property
    def speech(self) -> bool:
        """Whether the last frame stood out from the noise."""
        return self.run > 0


def step(gain: Gain, level_db: float, peak_db: float) -> Gain:
    """The gain after a frame with this RMS level and peak (dBFS, as it came)."""
    least_db, before_db, age = _floor(gain, level_db)
    stands_out = level_db > max(min(least_db, before_db) + STAND_OUT_DB, FAINT_DB)
    run = gain.run + 1 if stands_out else 0
    power, known, under, gain_db = gain.power, gain.known, gain.under, gain.gain_db
    if run >= RUN_FRAMES:
        power, known, under = _loudness(power, known, under, 10 ** (level_db / 10))
        if known >= KNOWN_FRAMES:
            gain_db += _move(gain_db, wanted(power, min(least_db, before_db)))
    duck_db = min(0.0, _KNEE_DB - peak_db - gain_db, gain.duck_db + RELEASE_DB)
    return Gain(gain_db, duck_db, power, known, under, run, least_db, before_db, age)


def wanted(power: float, floor_db: float) -> float:
    """The gain, in dB, for speech of this mean power over noise of `floor_db`."""
    up = min(UP_DB_MAX, max(0.0, NOISE_DB_MAX - floor_db))
    return float(min(up, max(-DOWN_DB_MAX, TARGET_DB - 10 * np.log10(power))))


def lift(frames: Array, before: list[float], after: list[float]) -> Array:
    """`frames` (N, 960) with each row's gain, in dB, moving from `before` to `after` over the frame."""
    if before == after:
        return frames * _factors(after) if any(after) else frames
    start, end = _factors(before), _factors(after)
    return frames * (start + (end - start) * _RAMP)


def peak_db(frames: Array) -> list[float]:
    """The peak of each row of `frames` (N, 960) in dBFS, at least -100."""
    peaks = np.maximum(frames.max(axis=1), -frames.min(axis=1))
    decibels: list[float] = (20 * np.log10(np.maximum(peaks, 1e-5))).tolist()
    return decibels


def _factors(decibels: list[float]) -> Array:
    return (10 ** (np.array(decibels, np.float32) / 20)).astype(np.float32)[:, None]


def _floor(gain: Gain, level_db: float) -> tuple[float, float, int]:
    """The half windows after one more frame; one in which nothing was heard keeps what is known."""
    least_db = min(gain.least_db, level_db) if level_db > SILENT_DB else gain.least_db
    if gain.age + 1 < HALF_FRAMES:
        return least_db, gain.before_db, gain.age + 1
    return _NEVER, gain.before_db if least_db == _NEVER else least_db, 0


def _loudness(power: float, known: int, under: int, frame: float) -> tuple[float, int, int]:
    """The mean, and what it stands on, after one more frame of speech with this power."""
    if known >= KNOWN_FRAMES and frame < power * _UNDER:
        if under < RELEARN_FRAMES:
            return power, known, under + 1
        known = 0
    known = min(known + 1, MEMORY_FRAMES)
    return power + (frame - power) / known, known, 0


def _move(gain_db: float, wanted_db: float) -> float:
    missing_db = wanted_db - gain_db
    if abs(missing_db) < ENOUGH_DB:
        return 0.0
    return max(-SLOPE_DB, min(SLOPE_DB, missing_db * NEAR))
