"""A file on a disk that forgets: what was not synced when the power went may be there, in any part, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass

SECTOR = 16
"""Small, so that every record and fragment can be torn in many places."""

Lot = Callable[[], bool]
"""Draws whether a piece of an unsynced write has reached the disk."""


@dataclass(frozen=True)
class Write:
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    size: int


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class ForgetfulFile:
    """`rostra.log.append.File` with two contents: `cache`, which programs see, and `disk`, which survives the power.

    `write_fault` makes the next write fail after that many bytes. `sync_fault` makes the next sync fail, and lose track
    of what it had to write, as kernels do.
    """

    def __init__(self, content: bytes = b"", lot: Lot = lambda: True) -> None:
        self.cache = bytearray(content)
        self.disk = bytearray(content)
        self.lot = lot
        self.pending: list[Write | Truncate] = []
        self.write_fault: int | None = None
        self.sync_fault = False

    def size(self) -> int:
        return len(self.cache)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.cache[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        fault, self.write_fault = self.write_fault, None
        done = data if fault is None else data[:fault]
        _put(self.cache, offset, done)
        self.pending.append(Write(offset, done))
        if fault is not None:
            raise OSError(28, "No space left on device")

    def truncate(self, size: int) -> None:
        _resize(self.cache, size)
        self.pending.append(Truncate(size))

    def sync(self) -> None:
        fault, self.sync_fault = self.sync_fault, False
        self._reach_disk(self.lot if fault else lambda: True)
        if fault:
            raise OSError(5, "Input/output error")

    def _reach_disk(self, lot: Lot) -> None:
        for step in self.pending:
            if isinstance(step, Truncate):
                if lot():
                    _resize(self.disk, step.size)
                continue
            for at in range(0, len(step.data), SECTOR):
                if lot():
                    _put(self.disk, step.offset + at, step.data[at : at + SECTOR])
        self.pending.clear()

    def lose_power(self) -> None:
        self._reach_disk(self.lot)
        self.cache = bytearray(self.disk)
