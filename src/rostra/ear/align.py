"""Is what was heard what was said? Where, how loud, and what is missing.

All functions take mono float32 at 48 kHz, shape (n,), and work on the whole at once: a second for 15 s against 45 s.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import SAMPLE_RATE

Samples = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

HOP_SAMPLES: Final = SAMPLE_RATE // 100
"""Envelopes are RMS values of 10 ms: below the shortest dropout that counts, above a voice's own period."""

DROPOUT_MS_MIN: Final = 40
"""Two lost packets. One is concealed by the decoder, and nobody hears it."""

DROPOUT_DB: Final = 20.0
SOUNDING_DB: Final = 25.0
"""A source is sounding while its envelope is less than this below its loud parts (the 95th percentile)."""

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Alignment:
    """`captured[i]` is `source[i + lag]`.

    `correlation` is normalised over the overlap: 1.0 for the same waveform at any level, about 0 for another one.
    `level_db` is how much louder the captured sound is there (RMS); -inf if it is silent.
    """

    lag: int
    correlation: float
    level_db: float
    overlap: int


@dataclass(frozen=True, slots=True)
class Dropout:
    """A stretch of the captured sound, in samples from its start, where the source sounds and nothing was heard."""

    start: int
    samples: int

    @property
    def ms(self) -> float:
        return self.samples * 1000 / SAMPLE_RATE


def align(captured: Samples, source: Samples, overlap_min: int | None = None) -> Alignment:
    """The lag at which `captured` is most like `source`, in either direction.

    Only lags at which at least `overlap_min` samples overlap are considered: half the shorter of both by default,
    because a few samples are always like a few others.
    """
    assert min(len(captured), len(source)) > 0, "nothing to align"
    shorter = min(len(captured), len(source))
    least = max(1, min(overlap_min or shorter // 2, shorter))
    likeness = _likeness(captured, source, least)
    lag = int(np.argmax(likeness)) - (len(captured) - least)
    heard, said = _overlap(captured, source, lag)
    return Alignment(lag, float(likeness.max()), _level(_rms(heard), _rms(said)), len(heard))


def _likeness(captured: Samples, source: Samples, least: int) -> Doubles:
    """Normalised correlation at each lag from `least - len(captured)` to `len(source) - least`."""
    n, m = len(captured), len(source)
    size = 1 << (n + m - 1).bit_length()
    products = np.fft.irfft(np.fft.rfft(source, size) * np.conj(np.fft.rfft(captured, size)), size)
    lags = np.arange(least - n, m - least + 1)
    said, heard = _running(source), _running(captured)
    begins, ends = np.maximum(lags, 0), np.minimum(lags + n, m)
    energies = (said[ends] - said[begins]) * (heard[ends - lags] - heard[begins - lags])
    floor = _TINY * said[-1] * heard[-1] + _TINY**2
    likeness: Doubles = products[lags] / np.sqrt(np.maximum(energies, floor))
    return likeness


def _running(samples: Samples) -> Doubles:
    return np.concatenate(([0.0], np.cumsum(samples.astype(np.float64) ** 2)))


def _overlap(captured: Samples, source: Samples, lag: int) -> tuple[Samples, Samples]:
    begin, end = max(lag, 0), min(lag + len(captured), len(source))
    return captured[begin - lag : end - lag], source[begin:end]


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0


def _level(heard: float, said: float) -> float:
    return float(20 * np.log10(heard / said)) if heard > 0 and said > 0 else -np.inf


def align_loop(captured: Samples, source: Samples, segment: int = 5 * SAMPLE_RATE) -> list[Alignment]:
    """Align `captured`, piece by piece, against a source that plays in a loop.

    `lag` is where in the source, from 0 to its length, each piece of `segment` samples begins; a last piece shorter
    than half of that is left out. While nothing slips, a lag is the one before plus `segment`, modulo the length.
    """
    tiled = np.concatenate((source, *[source] * -(-segment // len(source))))[: len(source) + segment]
    found = []
    for start in range(0, len(captured), segment):
        piece = captured[start : start + segment]
        if len(piece) >= segment // 2:
            at = align(piece, tiled, overlap_min=len(piece))
            found.append(Alignment(at.lag % len(source), at.correlation, at.level_db, at.overlap))
    return found


def slips(pieces: list[Alignment], source_samples: int, segment: int = 5 * SAMPLE_RATE) -> list[int]:
    """By how many samples each piece of `align_loop` begins later (+) or earlier (-) in the source than it should."""
    half = source_samples // 2
    return [(after.lag - before.lag - segment + half) % source_samples - half for before, after in pairwise(pieces)]


def dropouts(captured: Samples, source: Samples, at: Alignment) -> list[Dropout]:
    """Where more than 40 ms of the source are missing from what was heard, the overall level difference apart."""
    heard, said = _overlap(captured, source, at.lag)
    quieter, loud = _envelope(heard), _envelope(said)
    if not len(loud) or not np.isfinite(at.level_db):
        return [Dropout(max(0, -at.lag), len(heard))] if _rms(said) > 0 else []
    sounding = loud > np.percentile(loud, 95) * _ratio(-SOUNDING_DB)
    missing = sounding & (quieter < loud * _ratio(at.level_db - DROPOUT_DB))
    return [
        Dropout(max(0, -at.lag) + start * HOP_SAMPLES, (end - start) * HOP_SAMPLES)
        for start, end in _spans(missing)
        if (end - start) * HOP_SAMPLES * 1000 > DROPOUT_MS_MIN * SAMPLE_RATE
    ]


def _envelope(samples: Samples) -> Doubles:
    hops = len(samples) // HOP_SAMPLES
    blocks = samples[: hops * HOP_SAMPLES].reshape(hops, HOP_SAMPLES).astype(np.float64)
    envelope: Doubles = np.sqrt(np.mean(blocks**2, axis=1))
    return envelope


def _ratio(db: float) -> float:
    return float(10 ** (db / 20))


def _spans(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, end) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]
