"""A ring of frames in shared memory: one writer, any number of readers, no lock.

Slots are addressed by *frame number on the machine's monotonic 20 ms grid* (`mono_ns // FRAME_NS`), so writer and
reader need not talk to agree on time: at frame k the reader asks for frame k - lag, and either finds it or knows that
the writer missed it. A slot is guarded like a seqlock: `number` is cleared first and set last, and `check` repeats it
behind the samples, so that a reader racing with the writer sees a mismatch, never half a frame. (Python's stores are
far apart: each passes through the interpreter's own atomic operations, so no memory fence is wanted.)

The same layout serves both directions: `mix` (stage to programme) and `return` (programme to stage).
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.errors import OperatorError
from rostra.kernel.units import FRAME_SAMPLES

MAGIC: Final = b"RSTRRING"
VERSION: Final = 1
SLOTS: Final = 128
"""2.56 s of audio: a programme that comes back within a second reads the talk from the ring, however far ahead or
behind the stage writes meanwhile; half a megabyte, short enough to stay in cache."""

_HEADER: Final = np.dtype(
    [("magic", "S8"), ("version", "<u4"), ("slots", "<u4"), ("frame_samples", "<u4"), ("pad", "V44")]
)
_SLOT: Final = np.dtype(
    [
        ("number", "<i8"),
        ("on_air", "<u4"),
        ("armed", "<u2"),
        ("present", "<u2"),
        ("speaker", "S16"),
        ("pad", "V32"),
        ("pcm", "<f4", (FRAME_SAMPLES,)),
        ("check", "<i8"),
        ("pad_end", "V56"),
    ]
)
SIZE: Final = _HEADER.itemsize + SLOTS * _SLOT.itemsize

Pcm = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """20 ms of the mix and what listeners should know about it.

    `pcm` has shape (960,), float32, full scale ±1. `armed` counts seats that may reach air, `present` those of them
    that are connected now. `speaker` is the active speaker's seat, or empty. `on_air` matters in the `return` ring.
    """

    pcm: Pcm
    armed: int = 0
    present: int = 0
    speaker: str = ""
    on_air: bool = False


class Ring:
    """One end of the ring over a writable (writer) or readable (reader) buffer of `SIZE` bytes."""

    def __init__(self, buffer: memoryview) -> None:
        header = np.frombuffer(buffer, _HEADER, 1)[0]
        if header["magic"] != MAGIC or header["version"] != VERSION or header["slots"] != SLOTS:
            raise OperatorError(
                "ring.version",
                "The shared ring was made by another version of Rostra.",
                "Stop every Rostra process on this machine and start it again.",
            )
        self._slots = np.frombuffer(buffer, _SLOT, SLOTS, _HEADER.itemsize)

    def write(self, number: int, frame: Frame) -> None:
        """Publish `frame` under its grid number."""
        slot = self._slots[number % SLOTS]
        slot["number"] = -1
        slot["pcm"] = frame.pcm
        slot["armed"] = frame.armed
        slot["present"] = frame.present
        slot["speaker"] = frame.speaker.encode()
        slot["on_air"] = frame.on_air
        slot["check"] = number
        slot["number"] = number

    def read(self, number: int) -> Frame | None:
        """The frame published under `number`, or None if it was not, or has been overwritten."""
        slot = self._slots[number % SLOTS]
        if slot["number"] != number:
            return None
        frame = Frame(
            pcm=slot["pcm"].copy(),
            armed=int(slot["armed"]),
            present=int(slot["present"]),
            speaker=bytes(slot["speaker"]).decode(errors="replace"),
            on_air=bool(slot["on_air"]),
        )
        return frame if slot["check"] == number and slot["number"] == number else None


def plausible(frame: Frame) -> Frame:
    """`frame` from a writer that is not believed: a value that is no number, or beyond full scale, would spoil every
    filter after it for good."""
    return replace(frame, pcm=np.clip(np.nan_to_num(frame.pcm, posinf=0, neginf=0), -1, 1))


def format_ring(buffer: memoryview) -> None:
    """Make `buffer` (zeroed, `SIZE` bytes) an empty ring."""
    slots = np.frombuffer(buffer, _SLOT, SLOTS, _HEADER.itemsize)
    slots["number"] = -1
    header = np.frombuffer(buffer, _HEADER, 1)
    header["magic"], header["version"], header["slots"], header["frame_samples"] = (
        MAGIC,
        VERSION,
        SLOTS,
        FRAME_SAMPLES,
    )
