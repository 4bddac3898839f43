"""Where what was heard is kept: as samples (.wav) or as the bytes that came (.mp4)."""

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from rostra.ear.parse import Box
from rostra.kernel.errors import OperatorError, PeerError
from rostra.kernel.units import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

GAP_S_MAX: Final = 600
"""A gap is kept as silence, so that what follows stays in its place; but no server may fill the disk with it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment to keep: the boxes it came in, its samples, and the seconds missing before it."""

    boxes: list[Box]
    samples: Samples
    missing_s: float


class Keep(Protocol):
    """Takes fragments in order."""

    def take(self, piece: Piece) -> None: ...

    def close(self) -> None: ...


class Nowhere:
    def take(self, piece: Piece) -> None:
        pass

    def close(self) -> None:
        pass


class Wav:
    """16 bits, mono, 48 kHz."""

    def __init__(self, path: Path) -> None:
        self._under = path.open("wb")
        self._file = wave.open(self._under)  # noqa: SIM115 — closed by close()
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(SAMPLE_RATE)

    def take(self, piece: Piece) -> None:
        self._file.writeframes(bytes(2 * round(min(piece.missing_s, GAP_S_MAX) * SAMPLE_RATE)))
        self._file.writeframes((np.clip(piece.samples, -1, 1) * 32_767).astype("<i2").tobytes())

    def close(self) -> None:
        self._file.close()
        self._under.close()


class Mp4:
    """The boxes as they came; of several connections, one init segment."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._begun = False

    def take(self, piece: Piece) -> None:
        for box in piece.boxes:
            if not (self._begun and box.kind in (b"ftyp", b"moov")):
                self._file.write(box.data)
        self._begun = True

    def close(self) -> None:
        self._file.close()


def keep(path: Path | None) -> Keep:
    """What keeps the sound in `path`, by its suffix.

    Raises:
        PeerError: `listen.suffix` when it is neither .wav nor .mp4.
        OperatorError: `out.unwritable`.
    """
    kinds: dict[str, Callable[[Path], Keep]] = {".wav": Wav, ".mp4": Mp4}
    if path is None:
        return Nowhere()
    if path.suffix.lower() not in kinds:
        raise PeerError(
            "listen.suffix", f"Sound is not kept in {path.name}.", "Name a .wav (samples) or an .mp4 (as it came)."
        )
    try:
        return kinds[path.suffix.lower()](path)
    except OSError as error:
        raise OperatorError(
            "out.unwritable", f"{path} cannot be written: {error.strerror}.", "Name another file with --out."
        ) from None
