"""What stands after a crash.

A fragment is written, then its record; both reach the disk when the kernel likes, in any order and in pieces, until
they are synced. A process that dies loses at most the record it was writing. When the power goes, a record may have
survived its fragment. So the records at the end are checked against the bytes they name, back to where a run of
`CHECKED` stands in a row, and the log ends before the first that fails.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from rostra.kernel.shared.index import RECORD_BYTES, Record
from rostra.log.index import Records

CHECKED: Final = 64
"""40 s of fragments; they are synced each second. A disk that held up a sync for longer makes the check go on."""

BEHIND_MAX: Final = 8
"""Fragments that a rendition may be behind another and still be filled up. More would hold up the live edge for all."""

Read = Callable[[int, int], bytes]
"""(offset, size) → that many bytes of fragments.m4s, fewer at its end."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The first `count` records stand, and with them the first `end` bytes of data; `last` is the last of them."""

    count: int
    end: int
    last: Record | None

    @property
    def index_bytes(self) -> int:
        """Length of the records that stand, without the header before them."""
        return self.count * RECORD_BYTES


def standing(index: bytes, data_size: int, read: Read) -> Standing:
    """How much of a log may be trusted. `index` is the index behind its header.

    The data file's length proves nothing but what is missing: it was allocated in advance.
    """
    records = Records(index)
    count = len(records)
    at, intact = count - 1, 0
    while at >= 0 and intact < CHECKED:
        record = records[at]
        if record.end <= data_size and crc32(read(record.offset, record.size)) == record.crc:
            intact += 1
        else:
            count, intact = at, 0
        at -= 1
    last = records[count - 1] if count else None
    return Standing(count, last.end if last else 0, last)


def due(last: Mapping[str, Record | None]) -> dict[str, int]:
    """The first fragment number that each rendition lacks, given its last.

    A crash leaves the renditions at most a fragment or two apart, and the shorter is filled up. One that a failing
    disk left far behind goes on beside the others, with a hole.
    """
    own = {name: record.number + 1 if record else 0 for name, record in last.items()}
    newest = max(own.values())
    return {name: max(number, newest - BEHIND_MAX) for name, number in own.items()}
