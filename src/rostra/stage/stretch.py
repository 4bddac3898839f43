"""Making speech a little shorter or longer without changing its pitch.

The theory. A voiced sound repeats itself every 2.5 to 15 ms. Where it does, a whole period can be left out or said
twice, and the ear hears only that the vowel was shorter or longer. So we look for the distance at which the signal
resembles itself best (waveform similarity overlap-add: Verhelst and Roelands, "An Overlap-Add Technique Based on
Waveform Similarity (WSOLA) for High Quality Time-Scale Modification of Speech", ICASSP 1993) and fade over 10 ms from
the one place to the other. The fade ends are continuous by construction, so there is never a click; how like the two
places are decides only whether it sounds like speech. WebRTC's NetEq works the same way and calls it accelerate and
preemptive expand.

    shorten:  x0 ─┐ fade ┌─ x0 + period ...        lengthen:  x0 ─┐ fade ┌─ x0 - period ...
                  └──────┘                                        └──────┘   (what has sounded already, once more)

- The resemblance is the correlation, normalised. It is looked for in the signal at 8 kHz, which has all of the pitch,
  at a sixth squared of the cost, and refined around the best place at 48 kHz.
- The fade has constant power whatever the resemblance c: with linear weights a and b the power of the sum is
  a² + b² + 2abc, and it is divided out. So hiss, which resembles nothing (c = 0), does not dip either.
- `Stretcher` waits for a good place: it asks for a resemblance of 0.9, and for less with every frame that had none, the
  faster the more there is to do. In silence anything goes, and no place is looked for.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import SAMPLE_RATE

Pcm = npt.NDArray[np.float32]

PERIOD_MIN: Final = SAMPLE_RATE // 400
PERIOD_MAX: Final = 15 * SAMPLE_RATE // 1000
"""Voices lie between 400 and 67 Hz; of a higher one, several periods are taken at once."""

FADE: Final = 10 * SAMPLE_RATE // 1000
"""As long as a period of a low voice, so that the resemblance is one of whole periods."""

REACH: Final = PERIOD_MAX + FADE
"""What must be there to make something shorter: the longest distance and the fade behind it."""

SILENCE: Final = np.float32(10 ** (-50 / 20))
"""RMS below which nobody speaks (as `rostra.stage.levels`, QUIET_DB)."""

BAR: Final = 0.9
"""The resemblance asked for at first; voiced speech has it in most frames."""

BAR_STEP: Final = 0.02
BAR_HURRY: Final = 40 * SAMPLE_RATE // 1000
"""Each of these samples that there are to do lowers the bar one step more."""

NEARLY: Final = 0.03
"""Of places that are as good as this one but for so little, the farthest saves most."""

REST: Final = 1
"""Frames to leave alone after one was cut in speech: not more than a quarter of the time goes, so words stay whole."""

_DECIMATE: Final = 6
_PEAK: Final = PERIOD_MIN // _DECIMATE // 2  # what lies nearer belongs to the same peak
_RAMP: Final[Pcm] = ((np.arange(FADE) + 0.5) / FADE).astype(np.float32)


def fade(old: Pcm, new: Pcm, resemblance: float = 1.0) -> Pcm:
    """From `old` to `new`, both of the same shape, the power being constant for signals so correlated (0 to 1)."""
    rise = _RAMP if len(old) == FADE else ((np.arange(len(old)) + 0.5) / len(old)).astype(np.float32)
    fall = 1 - rise
    mixed: Pcm = old * fall + new * rise
    if resemblance < 1:
        mixed /= np.sqrt(1 - 2 * (1 - np.float32(resemblance)) * rise * fall)
    return mixed


def quiet(samples: Pcm) -> bool:
    return bool(np.dot(samples, samples) < SILENCE * SILENCE * len(samples))


def shorten(line: Pcm, period: int, resemblance: float) -> Pcm:
    """`line` without `period` samples, of at least `period` + FADE."""
    joint = fade(line[:FADE], line[period : period + FADE], resemblance)
    return np.concatenate([joint, line[period + FADE :]])


def lengthen(past: Pcm, line: Pcm, period: int, resemblance: float) -> Pcm:
    """`line` with `period` samples more, which sound like the end of `past`; each of at least PERIOD_MAX or FADE."""
    again = np.concatenate([past[len(past) - period :], line])
    return np.concatenate([fade(line[:FADE], again[:FADE], resemblance), again[FADE:]])


def seek(line: Pcm, origin: int, others: int) -> tuple[int, float]:
    """The distance at which `line` resembles what it has from `origin` on best, and how much (-1 to 1).

    It is looked for in the PERIOD_MAX samples from `others` on; distances count from `origin`, either way, and are
    multiples of a sample between PERIOD_MIN and PERIOD_MAX.
    """
    coarse = line[: len(line) // _DECIMATE * _DECIMATE].reshape(-1, _DECIMATE).mean(axis=1)
    at, of = origin // _DECIMATE, others // _DECIMATE
    likeness = _likeness(coarse[at : at + FADE // _DECIMATE], coarse[of : of + REACH // _DECIMATE])
    distances = np.abs(np.arange(len(likeness)) + of - at)
    likeness[(distances < PERIOD_MIN // _DECIMATE) | (distances > PERIOD_MAX // _DECIMATE)] = -1
    good = np.flatnonzero(likeness >= likeness.max() - NEARLY)
    farthest = int(good[np.argmax(distances[good])])
    around = max(0, farthest - _PEAK)
    place = (around + int(np.argmax(likeness[around : farthest + _PEAK + 1]))) * _DECIMATE + others
    first = max(0, place - _DECIMATE, origin - PERIOD_MAX)
    last = min(len(line) - FADE, place + _DECIMATE)
    if others < origin:
        last = min(last, origin - PERIOD_MIN)
    else:
        first = max(first, origin + PERIOD_MIN)
    fine = _likeness(line[origin : origin + FADE], line[first : last + FADE])
    best = int(np.argmax(fine))
    return abs(first + best - origin), float(fine[best])


def _likeness(pattern: Pcm, line: Pcm) -> Pcm:
    """The normalised correlation of `pattern` with every stretch of `line` that is as long."""
    size = len(pattern)
    energy = np.concatenate([[0.0], np.cumsum(np.square(line, dtype=np.float64))])
    norm = np.sqrt((energy[size:] - energy[:-size]) * float(np.dot(pattern, pattern))) + 1e-9
    likeness: Pcm = (np.correlate(line, pattern, "valid") / norm).astype(np.float32)
    return likeness


class Stretcher:
    """Decides, a frame at a time, whether here is a good place to do some of what is asked for."""

    def __init__(self) -> None:
        self._bar = BAR
        self._rest = 0

    def act(self, past: Pcm, line: Pcm, wish: int) -> Pcm:
        """`line`, shorter by about a period if `wish` is positive, longer if it is negative, or as it was.

        `past` is what sounded before it, at least PERIOD_MAX; `line` has at least REACH if it is to be shortened, else
        FADE. Never shortens by more than `wish`, nor lengthens by more than PERIOD_MAX.
        """
        if self._rest:
            self._rest -= 1
            return line
        if wish > 0:
            if wish < PERIOD_MIN or len(line) < REACH:
                return line
            front = line[: min(wish, PERIOD_MAX) + FADE]
            if quiet(front):
                return shorten(line, len(front) - FADE, 0.0)
            period, resemblance = seek(front, 0, 0)
            if not self._good(resemblance, wish):
                return line
            return shorten(line, period, max(resemblance, 0.0))
        if quiet(past[-PERIOD_MAX:]) and quiet(line[:FADE]):
            return lengthen(past, line, min(-wish, PERIOD_MAX) if -wish >= PERIOD_MIN else PERIOD_MIN, 0.0)
        around = np.concatenate([past[-PERIOD_MAX:], line[:FADE]])
        period, resemblance = seek(around, PERIOD_MAX, 0)
        if not self._good(resemblance, -wish):
            return line
        return lengthen(past, line, period, max(resemblance, 0.0))

    def _good(self, resemblance: float, urgency: int) -> bool:
        if resemblance < self._bar:
            self._bar -= BAR_STEP * (1 + urgency / BAR_HURRY)
            return False
        self._bar = BAR
        self._rest = REST
        return True
