"""Who hears whom, as one matrix, and the mix as its product with the frames.

Row 0 is the programme, row i + 1 what seat i hears; column j is seat j's voice. A seat's own column is zero in its own
row, so that nobody hears themself: not nearly, but exactly, which a sum less one's own would not be in floating point.

On the air, the programme is the sum of the audible seats (armed, connected, not muted), and every seat hears just that,
less itself. Off the air, the stage is the green room: every seat hears all others that are connected and not muted, and
the hold music beneath them. The programme's row is the same in both: whether it is sent out is the programme's affair.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import FRAME_SAMPLES
from rostra.space.roster import Seat

Array = npt.NDArray[np.float32]

MUSIC_GAIN: Final = np.float32(10 ** (-12 / 20))
"""The hold music lies 12 dB under the voices of the green room."""

KNEE: Final = np.float32(0.8)
"""Below this level a mix passes untouched: one voice is never coloured. The programme has the real limiter."""

_BLOCK: Final = 240
"""Columns a product: larger ones are shared out by BLAS among threads that then spin beside the tick."""

_RAMP: Final[Array] = (np.arange(1, FRAME_SAMPLES + 1) / FRAME_SAMPLES).astype(np.float32)
_RAMP_DOWN: Final[Array] = (1 - _RAMP).astype(np.float32)


def routes(seats: Sequence[Seat], on_air: bool) -> Array:
    """The gains, shape (N + 1, N), for `seats` in their order."""
    audible = np.array([seat.audible for seat in seats], np.float32)
    heard = audible if on_air else np.array([seat.session != "" and not seat.muted for seat in seats], np.float32)
    gains = np.tile(heard, (len(seats) + 1, 1))
    gains[0] = audible
    gains[np.arange(len(seats)) + 1, np.arange(len(seats))] = 0
    return gains


def carry(gains: Array, before: Sequence[str], seats: Sequence[str]) -> Array:
    """`gains`, made for the seat ids `before`, arranged for `seats`; who was not there neither spoke nor heard."""
    after = np.zeros((len(seats) + 1, len(seats)), np.float32)
    place = {seat: at for at, seat in enumerate(before)}
    kept = [(new, place[seat]) for new, seat in enumerate(seats) if seat in place]
    for new, old in kept:
        after[0, new] = gains[0, old]
        for row, old_row in kept:
            after[row + 1, new] = gains[old_row + 1, old]
    return after


def blend(frames: Array, before: Array, after: Array) -> Array:
    """Every row's sum, shape (N + 1, 960), of `frames` (N, 960); gains move from `before` to `after` over the frame."""
    mixed = product(after, frames)
    if np.array_equal(before, after):
        return mixed
    return product(before, frames) * _RAMP_DOWN + mixed * _RAMP


def product(gains: Array, frames: Array) -> Array:
    """gains @ frames, in blocks small enough for BLAS to do each in this thread."""
    if gains.size * frames.shape[1] <= 32 * 33 * _BLOCK:
        return gains @ frames
    blocks = [gains @ frames[:, at : at + _BLOCK] for at in range(0, frames.shape[1], _BLOCK)]
    return np.concatenate(blocks, axis=1)


def soften(mixed: Array) -> Array:
    """`mixed`, bent towards full scale above the knee k: k + (1 - k) u / (1 + u), u the excess in units of 1 - k.

    Smooth at the knee (slope 1), under 1 for any input; below the knee the very same samples come back.
    """
    level = np.abs(mixed)
    if level.size == 0 or level.max() <= KNEE:
        return mixed
    excess = np.maximum(level - KNEE, 0) / (1 - KNEE)
    bent = np.copysign(KNEE + (1 - KNEE) * excess / (1 + excess), mixed)
    return np.where(level > KNEE, bent, mixed).astype(np.float32)
