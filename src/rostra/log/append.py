"""Writing a rendition's log: the order of writes and syncs that `rostra.log.recovery` relies on.

Files are a port, so that tests can put this code, as it is, on a disk that forgets. Appending and syncing may happen in
two threads, one each: whoever appends is never behind a disk that takes its time.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol
from zlib import crc32

from rostra.kernel.shared.index import HEADER_BYTES, RECORD_BYTES, Record
from rostra.log.index import Sealed
from rostra.log.recovery import CHECKED, standing


class File(Protocol):
    """A file as the log uses it. Every method may raise OSError; a failed write may have been done in part."""

    def size(self) -> int: ...
    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end of the file."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """All of `data`."""
        ...

    def truncate(self, size: int) -> None: ...
    def sync(self) -> None:
        """Returns when everything written before is on the disk."""
        ...


_KEPT_MAX: Final = 4 * CHECKED
"""Fragments kept in memory until they are synced; beyond that the disk has been failing for minutes."""


class Appender:
    """A rendition's data and index, recovered on opening: `count` records stand, `last` is the last of them."""

    def __init__(self, index: File, data: File) -> None:
        self._index = index
        self._data = data
        records = index.read(HEADER_BYTES, max(0, index.size() - HEADER_BYTES))
        stands = standing(records, data.size(), data.read)
        self.count = stands.count
        self.end = stands.end
        self.last = stands.last
        self._unsynced: deque[tuple[int, Record, bytes]] = deque(self._tail(records), maxlen=_KEPT_MAX)
        self._suspect = bool(self._unsynced)
        if len(records) > stands.index_bytes:
            # Readers would refuse what is left here (its epoch is too early), but look at it again with every poll.
            index.truncate(HEADER_BYTES + stands.index_bytes)

    def _tail(self, records: bytes) -> Iterator[tuple[int, Record, bytes]]:
        """What the writer before us may have left unsynced, and suspect: its last sync may have failed (`sync`)."""
        for at in range(max(0, self.count - CHECKED), self.count):
            record = Record.decode(records[at * RECORD_BYTES : (at + 1) * RECORD_BYTES])
            assert record is not None
            yield at, record, self._data.read(record.offset, record.size)

    def append(self, sealed: Sealed, epoch: int) -> Record:
        """Write a fragment, then its record. When this raises, nothing was appended; the same may be tried again."""
        record = Record(
            number=sealed.number,
            epoch=epoch,
            offset=self.end,
            size=len(sealed.data),
            flags=sealed.flags,
            wall_ns=sealed.wall_ns,
            crc=crc32(sealed.data),
        )
        self._put(self.count, record, sealed.data)
        self._unsynced.append((self.count, record, sealed.data))
        self.count += 1
        self.end = record.end
        self.last = record
        return record

    def _put(self, at: int, record: Record, data: bytes) -> None:
        self._data.write(record.offset, data)
        self._index.write(HEADER_BYTES + at * RECORD_BYTES, record.encode())

    def sync(self) -> None:
        """Make what was appended before this call durable: the data, then the records that name it.

        After a sync that failed the kernel may count pages as clean that never reached the disk (fsyncgate), so what is
        not known to be there is written anew before the next.
        """
        count = self.count
        if self._suspect:
            for at, record, data in list(self._unsynced):
                self._put(at, record, data)
        self._suspect = True
        self._data.sync()
        self._index.sync()
        self._suspect = False
        while self._unsynced and self._unsynced[0][0] < count:
            self._unsynced.popleft()

    @property
    def synced(self) -> bool:
        """Whether everything appended is known to be on the disk."""
        return not self._unsynced

    def finish(self) -> None:
        """Give back what was allocated in advance, and sync."""
        self._data.truncate(self.end)
        self._index.truncate(HEADER_BYTES + self.count * RECORD_BYTES)
        self.sync()
