"""The last thing before the encoders: a limiter that keeps the programme under -1 dBFS without being heard.

It works on 20 ms frames and adds no delay. Within a frame the gain moves in straight lines (in decibels) between
points 1 ms apart: down in time for the peak that needs it, up again over a good part of a second. A peak in the first
millisecond of a frame cannot be seen coming; what it has too much is bent by a curve that nothing exceeds. Sound that
stays under the threshold passes unchanged, bit for bit.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import FRAME_SAMPLES

Samples = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

CEILING: Final = 10 ** (-1.0 / 20)
"""No sample leaves above this: 1 dB is what the codecs may overshoot by."""

THRESHOLD: Final = 10 ** (-1.5 / 20)
"""Where the gain begins to fall."""

POINTS: Final = 20
_POINT_SAMPLES: Final = FRAME_SAMPLES // POINTS

ATTACK_DB: Final = 1.5
"""The steepest fall between two points: 15 dB in the 10 ms before a peak."""

RELEASE_DB: Final = 0.02
"""The rise between two points: 20 dB a second, slow enough not to pump between words."""

_ATTACK: Final = np.arange(POINTS + 1) * ATTACK_DB
_RELEASE: Final = np.arange(POINTS + 1) * RELEASE_DB
_PLACES: Final = np.arange(FRAME_SAMPLES) / _POINT_SAMPLES
_POINTS_AT: Final = np.arange(POINTS + 1)


class Limiter:
    """The limiter's one state is the gain that the last frame ended with, `gain_db` (0 or less)."""

    def __init__(self) -> None:
        self.gain_db = 0.0

    def __call__(self, pcm: Samples) -> Samples:
        """The limited frame; shape (960,) in and out. What is no number is silence: it must never reach an encoder."""
        peak = float(np.abs(pcm).max())
        if self.gain_db == 0.0 and peak <= THRESHOLD:
            return pcm
        if not np.isfinite(peak):
            pcm = np.nan_to_num(pcm, posinf=0.0, neginf=0.0)
        curve_db = gain_curve(pcm, self.gain_db)
        self.gain_db = float(curve_db[-1])
        gain = 10 ** (np.interp(_PLACES, _POINTS_AT, curve_db) / 20)
        return bent(pcm * gain.astype(np.float32))


def gain_curve(pcm: Samples, before_db: float) -> Doubles:
    """The gain, in decibels, at the 21 points of a frame; the first is where the frame before ended."""
    peaks = np.abs(pcm).reshape(POINTS, _POINT_SAMPLES).max(axis=1)
    needed = np.minimum(0.0, -20 * np.log10(np.maximum(peaks, THRESHOLD) / THRESHOLD))
    points = np.append(np.minimum(np.append(before_db, needed[:-1]), needed), needed[-1])
    # Down in time: no point is further above a later one than the attack allows.
    falling: Doubles = np.minimum.accumulate((points + _ATTACK)[::-1])[::-1] - _ATTACK
    falling[0] = before_db
    # Up slowly: no point is further above an earlier one than the release allows.
    rising: Doubles = np.minimum.accumulate(falling - _RELEASE) + _RELEASE
    return np.minimum(rising, 0.0)


def bent(pcm: Samples) -> Samples:
    """`pcm` with what exceeds the threshold bent so that nothing reaches the ceiling."""
    excess = np.abs(pcm) - np.float32(THRESHOLD)
    if excess.max() <= 0:
        return pcm
    room = np.float32(CEILING - THRESHOLD)
    soft = np.float32(THRESHOLD) + room * np.tanh(excess / room)
    return np.where(excess > 0, np.copysign(soft, pcm), pcm)
