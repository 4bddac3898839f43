"""What became of a voice on its way: when it comes out, how like itself it is, and how much of it is missing.

The theory. Several voices are heard in one mix, so each speaks in a band of its own (`Band`), and all is measured in
that band, at 8 kHz. Half-second windows of what is heard are laid over what was said by cross-correlation; where a
window fits best is its *delay*, against an origin that stays the same, so that only changes of it mean anything. A
window fits with a *likeness*, the normalised correlation: 1 is equal but for its level. With every window in its place,
levels of 20 ms are compared: a frame that was said aloud is *missing* when it came out 14 dB too low, which is how a
decoder conceals what it cannot guess, and *silent* when it came out 26 dB too low; the *envelope* is the correlation of
the levels, which is what understanding speech hangs on when single frames are rebuilt badly.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import SAMPLE_RATE

RATE: Final = 8000
FRAME: Final = RATE // 50
WINDOW: Final = RATE // 2
HOP: Final = RATE // 4
SEARCH: Final = RATE
"""How far from the last window's place the next one is looked for: no buffer moves by more than a second."""

FOUND: Final = 0.65
"""A window less like any place than this is in none: another voice in the band reaches 0.4 on average, by chance."""

LOUD: Final = 0.3
"""A frame this loud, by the 90th percentile, is said aloud."""

MISSING: Final = 0.2
SILENT: Final = 0.05
MIDDLE: Final = slice(FRAME // 4, -FRAME // 4)
EDGE_HZ: Final = 200.0
"""The filter's slope, so gentle that it rings for 5 ms only; a level is taken of the middle of a frame."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Band:
    """Where a voice is. The next one begins 200 Hz away."""

    low_hz: float
    high_hz: float


@dataclass(frozen=True, slots=True)
class Window:
    """`at_s`: its middle, from the begin of what was heard. `delay_ms`: None when it fits nowhere."""

    at_s: float
    delay_ms: float | None
    likeness: float


@dataclass(frozen=True, slots=True)
class Heard:
    """`missing` and `silent`: shares of the frames said aloud; NaN when none of it can be placed."""

    windows: tuple[Window, ...]
    missing: float
    silent: float
    envelope: float

    @property
    def likeness(self) -> float:
        return float(np.median([window.likeness for window in self.windows]))

    def delay_ms(self, begin_s: float = 0.0, end_s: float = float("inf")) -> float:
        """The median delay of the windows in between; NaN when none was placed."""
        delays = [w.delay_ms for w in self.windows if w.delay_ms is not None and begin_s <= w.at_s <= end_s]
        return float(np.median(delays)) if delays else float("nan")


def speech(seconds: float, band: Band, seed: int, level: float = 0.1) -> Pcm:
    """Syllables of 100-300 ms on a pitch of their own, with pauses, in `band`; never the same twice."""
    chance = np.random.default_rng(seed)
    pieces, made = [], 0
    while made < seconds * SAMPLE_RATE:
        at = np.arange(round(chance.uniform(0.1, 0.3) * SAMPLE_RATE)) / SAMPLE_RATE
        pitch = chance.uniform(90, 240) * (1 + chance.uniform(-0.2, 0.2) * at / at[-1])
        partials = [n for n in range(1, 60) if band.low_hz < pitch.mean() * n < band.high_hz]
        tone = sum(np.sin(2 * np.pi * n * np.cumsum(pitch) / SAMPLE_RATE + chance.uniform(0, 6.3)) for n in partials)
        syllable = np.sin(np.pi * np.arange(len(at)) / len(at)) ** 0.5 * tone * chance.uniform(0.6, 1)
        pause = np.zeros(round(chance.uniform(0.02, 0.12) * SAMPLE_RATE))
        pieces += [syllable, pause]
        made += len(syllable) + len(pause)
    whole = np.concatenate(pieces)[: round(seconds * SAMPLE_RATE)]
    made_loud: Pcm = (whole * level / np.sqrt(np.mean(whole**2))).astype(np.float32)
    return made_loud


def narrowed(pcm: Pcm, band: Band) -> Array:
    """`pcm` in its band alone, at 8 kHz."""
    size = len(pcm) // 6 * 6
    spectrum = np.fft.rfft(pcm[:size])
    hertz = np.arange(len(spectrum)) * SAMPLE_RATE / size
    outside = np.maximum(band.low_hz - hertz, hertz - band.high_hz).clip(0, EDGE_HZ)
    spectrum *= 0.5 + 0.5 * np.cos(np.pi * outside / EDGE_HZ)
    narrow: Array = np.fft.irfft(spectrum[: size // 12 + 1], size // 6) / 6
    return narrow


def compare(heard: Pcm, said: Pcm, band: Band) -> Heard:
    """Place `heard` (some seconds of a mix) on `said` (longer, and never like itself)."""
    return lay(narrowed(heard, band), narrowed(said, band))


def lay(out: Array, source: Array, around: int | None = None) -> Heard:
    """The same for what is narrowed already; `around` is where in `source` the begin of `out` is to be looked for."""
    windows, places = [], []
    for begin in range(0, len(out) - WINDOW + 1, HOP):
        place, likeness = _place(out[begin : begin + WINDOW], source, around)
        found = likeness >= FOUND
        around = place + HOP if found else None if around is None else around + HOP
        windows.append(Window((begin + WINDOW / 2) / RATE, (begin - place) / RATE * 1000 if found else None, likeness))
        places.append(place - begin if found else None)
    return Heard(tuple(windows), *_judge(_levels(out, source, places)))


def _place(piece: Array, source: Array, around: int | None) -> tuple[int, float]:
    """Where in `source` the piece fits best, and how well; near `around` when that is known."""
    begin = 0 if around is None else min(max(0, around - SEARCH), len(source))
    end = len(source) if around is None else min(len(source), around + SEARCH + len(piece))
    line = source[begin:end]
    if len(line) < len(piece) or not piece.any():
        return 0, 0.0
    size = 1 << (len(line) + len(piece)).bit_length()
    products = np.fft.irfft(np.fft.rfft(line, size) * np.conj(np.fft.rfft(piece, size)), size)
    lags = len(line) - len(piece) + 1
    energy = np.concatenate([[0.0], np.cumsum(line**2)])
    power = energy[len(piece) :] - energy[:lags]
    fits = products[:lags] / np.sqrt(np.maximum(power, 1e-3 * power.max() + 1e-12) * np.sum(piece**2))
    best = int(np.argmax(fits))
    return begin + best, float(fits[best])


def _levels(out: Array, source: Array, places: list[int | None]) -> Array:
    """The levels of what was heard and of what was said, shape (frames, 2), where that is known.

    A frame goes by the placed windows it is nearest to; of two that disagree, by the one in which it was louder, since
    a window in which time was stretched is right for one of its halves only.
    """
    known = [(n * HOP + WINDOW // 2, offset) for n, offset in enumerate(places) if offset is not None]
    rows = []
    for begin in range(0, len(out) - FRAME + 1, FRAME):
        near = sorted(known, key=lambda item, at=begin + FRAME // 2: abs(item[0] - at))[:2]  # type: ignore[misc]
        frame = out[begin : begin + FRAME]
        pieces = [source[begin + offset : begin + offset + FRAME] for _, offset in near if begin + offset >= 0]
        pieces = [piece for piece in pieces if len(piece) == FRAME]
        if pieces:
            fit = max(pieces, key=lambda piece: float(np.dot(piece, frame)) / (np.sqrt(np.sum(piece**2)) + 1e-9))
            rows.append((np.sqrt(np.mean(frame[MIDDLE] ** 2)), np.sqrt(np.mean(fit[MIDDLE] ** 2))))
    return np.array(rows).reshape(-1, 2)


def _judge(levels: Array) -> tuple[float, float, float]:
    """The share that is missing, the share that is silent, and the envelope's correlation."""
    if len(levels) < 2:
        return float("nan"), float("nan"), float("nan")
    out, source = levels.T
    loud = source > LOUD * np.quantile(source, 0.9)
    gains = out[loud] / source[loud]
    usual = max(1e-9, float(np.quantile(gains, 0.75)))  # not the median: half of it may be gone
    envelope = float(np.corrcoef(out, source)[0, 1]) if out.any() else 0.0
    return float(np.mean(gains < MISSING * usual)), float(np.mean(gains < SILENT * usual)), envelope
