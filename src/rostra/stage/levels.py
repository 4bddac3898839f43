"""How loud each seat is, whether it is speaking, and who is the active speaker.

Levels are in dBFS (RMS of a frame, full-scale square = 0 dB), with the instant attack and slow decay of a meter that
people read. Speaking has hysteresis in level and in time, so that a pause between words is not an end; a noise that
does not change is never speech, however loud (`rostra.stage.gain` knows the floor).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

FLOOR_DB: Final = -100.0
DECAY_DB: Final = 0.6
"""A frame: 30 dB a second, faster than a programme meter falls (IEC 60268-10: 20 dB in 1.7 s), for speech is."""

SPEAKING_DB: Final = -42.0
QUIET_DB: Final = -50.0
ATTACK_FRAMES: Final = 3
RELEASE_FRAMES: Final = 25
"""Half a second: longer than the pauses inside a sentence."""

TAKEOVER_DB: Final = 6.0
TAKEOVER_FRAMES: Final = 15


@dataclass(frozen=True, slots=True)
class Meter:
    """One seat's level (dBFS) and whether it speaks; `run` counts frames that argue for changing `speaking`."""

    level_db: float = FLOOR_DB
    speaking: bool = False
    run: int = 0


@dataclass(frozen=True, slots=True)
class Active:
    """The active speaker (a seat's id, or empty); `rival` has been louder for `run` frames."""

    seat: str = ""
    rival: str = ""
    run: int = 0


def frame_db(frames: npt.NDArray[np.float32]) -> list[float]:
    """RMS of each row of `frames` (N, 960) in dBFS, never under FLOOR_DB."""
    power = np.einsum("ij,ij->i", frames, frames) / frames.shape[1]
    decibels: list[float] = (10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))).tolist()
    return decibels


def measure(meter: Meter, frame_level_db: float, *, speech: bool = True) -> Meter:
    """The meter after one more frame; `speech`: it stands out from the noise."""
    level = max(frame_level_db, meter.level_db - DECAY_DB, FLOOR_DB)
    spoken_db = frame_level_db if speech else FLOOR_DB
    argues = spoken_db < QUIET_DB if meter.speaking else spoken_db > SPEAKING_DB
    run = meter.run + 1 if argues else 0
    if run >= (RELEASE_FRAMES if meter.speaking else ATTACK_FRAMES):
        return Meter(level, not meter.speaking, 0)
    return Meter(level, meter.speaking, run)


def elect(active: Active, meters: dict[str, Meter], candidates: Collection[str]) -> Active:
    """The active speaker among `candidates` (the seats that reach air) after one more frame.

    Whoever speaks keeps the floor until they stop, or another is clearly louder for a while.
    """
    speaking = [seat for seat in candidates if meters[seat].speaking]
    if not speaking:
        return Active()
    loudest = max(speaking, key=lambda seat: meters[seat].level_db)
    if active.seat not in speaking:
        return Active(loudest)
    if loudest == active.seat or meters[loudest].level_db < meters[active.seat].level_db + TAKEOVER_DB:
        return Active(active.seat)
    run = active.run + 1 if loudest == active.rival else 1
    return Active(loudest) if run >= TAKEOVER_FRAMES else replace(active, rival=loudest, run=run)
