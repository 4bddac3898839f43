"""Loudness and peaks as broadcasters measure them: ITU-R BS.1770-4, mono, 48 kHz.

The K-weighting is two second-order filters. Here they are applied exactly, through their frequency response: a block is
transformed with room for the filters' tail behind it, multiplied, and the tail is added to what follows. The slower of
the two rings down by 100 dB in 50 ms, so a tail of 8,192 samples loses nothing that a double could hold.

Levels are floats: LUFS for loudness, dBFS and dBTP for peaks; digital silence is -inf.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import SAMPLE_RATE

Samples = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

STEP_SAMPLES: Final = SAMPLE_RATE // 10
"""Gating blocks of 400 ms overlap by three quarters, so energy is kept by the 100 ms."""

MOMENTARY_STEPS: Final = 4
SHORT_TERM_STEPS: Final = 30
"""400 ms and 3 s (EBU Tech 3341)."""

ABSOLUTE_GATE_LUFS: Final = -70.0
RELATIVE_GATE_LU: Final = -10.0

_SHELF: Final = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
_HIGH_PASS: Final = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
_TAIL: Final = 8192
_BLOCK: Final = 131_072 - _TAIL

_QUARTERS: Final = np.array(
    [
        (0.0017089843750, 0.0109863281250, -0.0196533203125, 0.0332031250000, -0.0594482421875, 0.1373291015625),
        (0.9721679687500, -0.1022949218750, 0.0476074218750, -0.0266113281250, 0.0148925781250, -0.0083007812500),
        (-0.0291748046875, 0.0292968750000, -0.0517578125000, 0.0891113281250, -0.1665039062500, 0.4650878906250),
        (0.7797851562500, -0.2003173828125, 0.1015625000000, -0.0582275390625, 0.0330810546875, -0.0189208984375),
    ]
).reshape(2, 12)
"""The first two phases of the interpolator of BS.1770-4, Annex 2; the other two are these reversed."""


def weighting(size: int) -> npt.NDArray[np.complex128]:
    """The K-weighting's response at the `size // 2 + 1` frequencies of a real transform of `size` samples."""
    back = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones(size // 2 + 1, np.complex128)
    for top, bottom in (_SHELF, _HIGH_PASS):
        response *= (top[0] + top[1] * back + top[2] * back**2) / (bottom[0] + bottom[1] * back + bottom[2] * back**2)
    return response


class Meter:
    """A running measurement: feed it samples in pieces of any length, read the levels at any time.

    It costs 0.3 % of a core when fed by the fragment (30,720 samples), and one float a tenth of a second.
    """

    def __init__(self) -> None:
        self._responses: dict[int, npt.NDArray[np.complex128]] = {}
        self._tail: Doubles = np.zeros(_TAIL)
        self._rest: Doubles = np.zeros(0)
        self._energies: list[float] = []

    def feed(self, samples: Samples) -> None:
        """Measure `samples` of shape (n,), which follow those fed before."""
        for start in range(0, len(samples), _BLOCK):
            self._count(self._weighted(samples[start : start + _BLOCK]))

    def _weighted(self, block: Samples) -> Doubles:
        size = 1 << (len(block) + _TAIL - 1).bit_length()
        response = self._responses.get(size)
        if response is None:
            response = self._responses[size] = weighting(size)
        filtered = np.fft.irfft(np.fft.rfft(block, size) * response, size)
        filtered[:_TAIL] += self._tail
        self._tail = filtered[len(block) : len(block) + _TAIL].copy()
        return filtered[: len(block)]

    def _count(self, weighted: Doubles) -> None:
        pending = np.concatenate((self._rest, weighted))
        steps = len(pending) // STEP_SAMPLES
        whole = pending[: steps * STEP_SAMPLES].reshape(steps, STEP_SAMPLES)
        self._energies.extend(np.mean(whole * whole, axis=1).tolist())
        self._rest = pending[steps * STEP_SAMPLES :]

    def momentary(self) -> float:
        """LUFS over the last 400 ms."""
        return self._recent(MOMENTARY_STEPS)

    def short_term(self) -> float:
        """LUFS over the last 3 s."""
        return self._recent(SHORT_TERM_STEPS)

    def _recent(self, steps: int) -> float:
        recent = self._energies[-steps:]
        return lufs(sum(recent) / len(recent)) if recent else -math.inf

    def integrated(self) -> float:
        """LUFS of everything fed so far, gated (BS.1770-4, section 5.1)."""
        return gated(np.array(self._energies))


def lufs(energy: float) -> float:
    """The loudness of a mean square of K-weighted samples (BS.1770-4, equation 2)."""
    return -0.691 + 10 * math.log10(energy) if energy > 0 else -math.inf


def gated(step_energies: Doubles) -> float:
    """Integrated loudness, in LUFS, from the mean squares of consecutive steps of 100 ms."""
    if len(step_energies) < MOMENTARY_STEPS:
        return -math.inf
    blocks = np.convolve(step_energies, np.full(MOMENTARY_STEPS, 1 / MOMENTARY_STEPS), "valid")
    loud = blocks[blocks > _energy(ABSOLUTE_GATE_LUFS)]
    if not len(loud):
        return -math.inf
    relative = _energy(lufs(float(loud.mean())) + RELATIVE_GATE_LU)
    return lufs(float(loud[loud > relative].mean()))


def _energy(level_lufs: float) -> float:
    return float(10 ** ((level_lufs + 0.691) / 10))


def integrated(samples: Samples) -> float:
    """Integrated loudness of `samples` of shape (n,), in LUFS."""
    meter = Meter()
    meter.feed(samples)
    return meter.integrated()


def sample_peak(samples: Samples) -> float:
    """The largest sample, in dBFS."""
    return _decibels(float(np.abs(samples).max(initial=0.0)))


def true_peak(samples: Samples) -> float:
    """The largest value of the waveform between the samples, in dBTP: four times oversampled (BS.1770-4, Annex 2)."""
    return _decibels(max((float(np.abs(part).max(initial=0.0)) for part in _oversampled(samples)), default=0.0))


def _oversampled(samples: Samples) -> Iterator[Doubles]:
    for start in range(0, len(samples), _BLOCK):
        block = samples[max(0, start - len(_QUARTERS[0])) : start + _BLOCK]
        for taps in (*_QUARTERS, *_QUARTERS[:, ::-1]):
            yield np.convolve(block, taps)


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
