"""The index of a rendition in memory: `fragments.idx` without its header, as bytes, parsed where it is looked at.

Four hours are 22,500 records. As objects they would cost each worker 7 MB a rendition; as the bytes they are, 1 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from rostra.kernel.shared.index import RECORD_BYTES, Flag, Record


@dataclass(frozen=True, slots=True)
class Sealed:
    """A fragment that is ready for the log. Where it will lie, and in which epoch, the log says."""

    rendition: str
    number: int
    flags: Flag
    wall_ns: int
    data: bytes


class Records(Sequence[Record]):
    """Records in order of number. Numbers ascend; one is left out where a fragment could not be written."""

    def __init__(self, data: bytes | bytearray = b"") -> None:
        self._data = bytearray()
        self.extend(data)

    def extend(self, data: bytes | bytearray | memoryview) -> list[Record]:
        """Take up the whole, undamaged records at the start of `data`, and return them.

        A record that is torn, or does not follow from the one before it, ends the reading: what is behind it may not
        have been written yet. Read it again from `len(self) * RECORD_BYTES` later.
        """
        new: list[Record] = []
        previous = self[-1] if self else None
        view = memoryview(data)
        for at in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
            record = Record.decode(view[at : at + RECORD_BYTES])
            if record is None or not follows(record, previous):
                break
            new.append(record)
            previous = record
        self._data += view[: len(new) * RECORD_BYTES]
        return new

    def __len__(self) -> int:
        return len(self._data) // RECORD_BYTES

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        start = (at % len(self)) * RECORD_BYTES
        record = Record.decode(bytes(self._data[start : start + RECORD_BYTES]))
        assert record is not None
        return record

    def place(self, number: int) -> int:
        """The position of the first record whose number is at least `number`; `len(self)` when there is none."""
        low, high = 0, len(self)
        if high and (guess := number - self._number(0)) < high and guess >= 0 and self._number(guess) == number:
            return guess  # no number is left out before it: by far the usual case
        while low < high:
            middle = (low + high) // 2
            if self._number(middle) < number:
                low = middle + 1
            else:
                high = middle
        return low

    def find(self, number: int) -> Record | None:
        """The record of fragment `number`, or None when it is not in the log."""
        at = self.place(number)
        return self[at] if at < len(self) and self._number(at) == number else None

    def _number(self, at: int) -> int:
        return int.from_bytes(self._data[at * RECORD_BYTES : at * RECORD_BYTES + 8], "little")


def follows(record: Record, previous: Record | None) -> bool:
    """Whether `record` may stand behind `previous`: a later number, the next byte, no earlier epoch.

    What an older writer left behind in the blocks of the file can pass its checksum; it cannot pass this.
    """
    if previous is None:
        return record.offset == 0
    return record.number > previous.number and record.offset == previous.end and record.epoch >= previous.epoch
