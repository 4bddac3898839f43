"""The log as files: the programme's `Writer`, everybody's `Reader`.

    <programme>/lock                        flock(2): one writer
    <programme>/epoch                       the number of the last writer that was let in
    <programme>/<rendition>/init.mp4
                            fragments.m4s   appended to
                            fragments.idx   header and records (`rostra.kernel.shared.index`)

The writer has two threads: one appends, one syncs. Appending goes to the page cache, where readers see it at once; a
disk that takes its time over a sync holds up nobody. The tick hands fragments over through a bounded queue.
"""

import ctypes
import errno
import os
import shutil
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from rostra.kernel.clock import Anchor
from rostra.kernel.errors import Unavailable
from rostra.kernel.io.files import Lock, make_private, replace, sync_folder, unwritable
from rostra.kernel.shared.index import HEADER_BYTES, RECORD_BYTES, Header, Record
from rostra.kernel.units import FRAGMENT_NS, SECOND_NS
from rostra.log.append import Appender
from rostra.log.index import Records, Sealed
from rostra.log.recovery import due
from rostra.media.codec import BY_NAME

INIT: Final = "init.mp4"
DATA: Final = "fragments.m4s"
INDEX: Final = "fragments.idx"
LOCK: Final = "lock"
EPOCH: Final = "epoch"

SYNC_S: Final = 1.0
"""What a power cut may cost. A sync of two small tails a second is nothing to any disk."""

RETRY_S: Final = 0.5
"""How soon a failed write is tried again."""

QUEUE_MAX: Final = 1024
"""Fragments waiting for a disk that does not answer: 5 minutes of two renditions, 4 MB. Beyond, the oldest go."""

BUFFER_FRAGMENTS: Final = -(-120 * SECOND_NS // FRAGMENT_NS)
"""What is kept of a Space that is not recorded: two minutes, for laggards and for those who come back."""

FRAGMENT_OVERHEAD_BYTES: Final = 700
"""Boxes and notices around a fragment's packets, for allocating in advance."""

_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2
_BLOCK: Final = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_log = structlog.get_logger()


def _fallocate(descriptor: int, mode: int, offset: int, size: int) -> None:
    """fallocate(2), which Python lacks. Unlike posix_fallocate(3) it never falls back on writing zeros."""
    arguments = (ctypes.c_int(descriptor), ctypes.c_int(mode), ctypes.c_int64(offset), ctypes.c_int64(size))
    if _libc.fallocate(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _pread(descriptor: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes; fewer only at the end of the file."""
    data = os.pread(descriptor, size, offset)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
        data += more
    return data


class Disk:
    """`rostra.log.append.File` over a file that is made if need be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        return _pread(self.descriptor, offset, size)

    def write(self, offset: int, data: bytes) -> None:
        done = os.pwrite(self.descriptor, data, offset)
        while done < len(data):
            done += os.pwrite(self.descriptor, data[done:], offset + done)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.descriptor, size)

    def sync(self) -> None:
        os.fdatasync(self.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)


class _Rendition:
    """One rendition's folder, open for writing."""

    def __init__(self, folder: Path, header: Header, init: bytes) -> None:
        self.folder = make_private(folder)
        if not (folder / INDEX).exists():
            # The index comes last and whole: a reader that finds one finds the rest.
            (folder / DATA).touch(mode=0o600)
            replace(folder / INIT, init, sync=True)
            replace(folder / INDEX, header.encode(), sync=True)
        self.data = Disk(folder / DATA)
        self.index = Disk(folder / INDEX)
        self.header = Header.decode(self.index.read(0, HEADER_BYTES))
        self.appender = Appender(self.index, self.data)
        self._punched = 0

    def allocate(self, planned_s: int) -> None:
        """Reserve blocks for `planned_s` seconds, all or none: a disk that fills up later takes nothing from this log.

        The index keeps its length, which says how many records there are.
        """
        fragments = planned_s * SECOND_NS // FRAGMENT_NS
        size = planned_s * BY_NAME[self.folder.name].kbit_s * 125 + fragments * FRAGMENT_OVERHEAD_BYTES
        try:
            _fallocate(self.data.descriptor, 0, 0, size)
            _fallocate(self.index.descriptor, _KEEP_SIZE, 0, HEADER_BYTES + fragments * RECORD_BYTES)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                return  # a file system that cannot; the log grows as it is written
            self.data.truncate(self.appender.end)
            raise

    def punch(self) -> None:
        """Give back the blocks of what is older than the buffer; its records stay, and name zeros."""
        at = self.appender.count - BUFFER_FRAGMENTS
        if at <= 0:
            return
        record = Record.decode(self.index.read(HEADER_BYTES + at * RECORD_BYTES, RECORD_BYTES))
        assert record is not None
        keep_from = record.offset // _BLOCK * _BLOCK
        if keep_from > self._punched:
            _fallocate(self.data.descriptor, _PUNCH_HOLE | _KEEP_SIZE, self._punched, keep_from - self._punched)
            self._punched = keep_from

    def close(self) -> None:
        self.data.close()
        self.index.close()


class Writer:
    """A programme's log, open for writing (`Writer.open`).

    `anchor` is the log's own, whoever made it; `due` names the first fragment each rendition lacks, and `new` says that
    there was none at all. `errors` counts what the disk refused and `dropped` the fragments lost to that; `fault` is
    the sentence for the operator while it lasts, and empty when all is well.
    """

    def __init__(self, programme: Path, lock: Lock, renditions: dict[str, _Rendition], epoch: int, keep: bool) -> None:
        last = {name: rendition.appender.last for name, rendition in renditions.items()}
        self.epoch = epoch
        self.anchor = next(iter(renditions.values())).header.anchor
        self.due = due(last)
        self.new = not any(last.values())
        self.errors = 0
        self.dropped = 0
        self._faults: dict[str, str] = {}
        self._programme = programme
        self._lock = lock
        self._renditions = renditions
        self._keep = keep
        self._punches = not keep
        self._queue: deque[Sealed] = deque()
        self._busy = False
        self._stopping = False
        self._turn = threading.Condition()
        self._sync_asked = 0
        self._sync_done = 0
        self._threads = [
            threading.Thread(target=self._append_all, name="log-append", daemon=True),
            threading.Thread(target=self._sync_all, name="log-sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def open(
        programme: Path, anchor: Anchor, inits: Mapping[str, bytes], *, planned_s: int = 0, keep: bool = True
    ) -> "Writer":
        """Open the log in `programme`, or begin one with `anchor`; `inits` holds each rendition's init segment.

        `planned_s` seconds are allocated in advance. Without `keep` the log is a buffer of two minutes, and `finish`
        removes it.

        Raises:
            Unavailable: `log.held` while another process writes this log.
            OperatorError: `data.unwritable`, or `index.version` for a log this version cannot go on with.
        """
        try:
            lock = _hold(make_private(programme))
        except OSError as error:
            raise unwritable(programme, error) from None
        renditions: dict[str, _Rendition] = {}
        try:
            for name, init in inits.items():
                renditions[name] = _Rendition(programme / name, Header(name, anchor), init)
                anchor = renditions[name].header.anchor
            epoch = _next_epoch(programme, [rendition.appender.last for rendition in renditions.values()])
            replace(programme / EPOCH, b"%d\n" % epoch, sync=True)
        except BaseException as error:
            for rendition in renditions.values():
                rendition.close()
            lock.release()
            if isinstance(error, OSError):
                raise unwritable(programme, error) from None
            raise
        writer = Writer(programme, lock, renditions, epoch, keep)
        if keep and planned_s > 0:
            writer._allocate(planned_s)
        return writer

    # What the tick calls.

    @property
    def depth(self) -> int:
        """Fragments that wait to be written."""
        return len(self._queue)

    @property
    def fault(self) -> str:
        return next(iter(self._faults.values()), "")

    def append(self, sealed: Sealed) -> None:
        """Hand over a fragment. Never waits and never fails; see `errors` and `dropped`."""
        with self._turn:
            if len(self._queue) >= QUEUE_MAX:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(sealed)
            self._turn.notify_all()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all that was appended before is written and synced. False when the disk did not manage it."""
        with self._turn:
            if not self._turn.wait_for(lambda: not self._queue and not self._busy, timeout_s):
                return False
            self._sync_asked += 1
            mine = self._sync_asked
            self._turn.notify_all()
            return self._turn.wait_for(lambda: self._sync_done >= mine, timeout_s)

    def close(self) -> bool:
        """Write and sync what is there, and let a successor in. False when the disk did not manage it."""
        flushed = self.flush()
        if not self._stop():
            return False
        self._release()
        return flushed

    def finish(self) -> bool:
        """As `close`, at the end of a Space: data files are cut to their content, and what is not kept is removed."""
        flushed = self.flush()
        if not self._stop():
            return False
        try:
            for rendition in self._renditions.values():
                if self._keep:
                    rendition.appender.finish()
                else:
                    shutil.rmtree(rendition.folder)
            sync_folder(self._programme)
        except OSError as error:
            self._failed("finish", error)
            flushed = False
        self._release()
        return flushed

    def _stop(self) -> bool:
        """End the threads. False when one is stuck in the kernel: files and lock then stay until the process ends."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        for thread in self._threads:
            thread.join(5.0)
        return not any(thread.is_alive() for thread in self._threads)

    def _release(self) -> None:
        for rendition in self._renditions.values():
            rendition.close()
        self._lock.release()

    # The thread that appends.

    def _append_all(self) -> None:
        while (sealed := self._take()) is not None:
            self._write_at_last(sealed)
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def _take(self) -> Sealed | None:
        """The next fragment to write; None at the end."""
        with self._turn:
            self._turn.wait_for(lambda: self._queue or self._stopping)
            if not self._queue:
                return None
            self._busy = True
            return self._queue.popleft()

    def _write_at_last(self, sealed: Sealed) -> None:
        """Write, and try again until it is done: order is kept, and a fragment is only lost when the queue is full."""
        while True:
            try:
                self._renditions[sealed.rendition].appender.append(sealed, self.epoch)
            except OSError as error:
                self._failed("write", error)
            else:
                return self._well("write")
            with self._turn:
                if self._turn.wait_for(lambda: self._stopping, RETRY_S):
                    self.dropped += 1
                    return None

    # The thread that syncs.

    def _sync_all(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._stopping or self._sync_asked > self._sync_done, SYNC_S)
                asked, stopping = self._sync_asked, self._stopping
            synced = self._sync()
            with self._turn:
                if synced:
                    self._sync_done = asked
                    self._turn.notify_all()
                if stopping:
                    return
                if not synced:
                    self._turn.wait_for(lambda: self._stopping, RETRY_S)

    def _sync(self) -> bool:
        try:
            for rendition in self._renditions.values():
                if not rendition.appender.synced:
                    rendition.appender.sync()
        except OSError as error:
            self._failed("sync", error)
            return False
        self._well("sync")
        if self._punches:
            self._punch()
        return True

    def _punch(self) -> None:
        """Some file systems make no holes: then the log keeps its blocks until the end, which is said once."""
        try:
            for rendition in self._renditions.values():
                rendition.punch()
        except OSError as error:
            self._punches = False
            _log.warning("log_keeps_blocks", folder=str(self._programme), reason=error.strerror)

    # Faults.

    def _allocate(self, planned_s: int) -> None:
        try:
            for rendition in self._renditions.values():
                rendition.allocate(planned_s)
        except OSError as error:
            self._failed("allocate", error)

    def _failed(self, doing: str, error: OSError) -> None:
        with self._turn:
            self.errors += 1
            known = doing in self._faults
            self._faults[doing] = str(unwritable(self._programme, error))
        if not known:
            _log.error("log_fault", doing=doing, folder=str(self._programme), reason=error.strerror)

    def _well(self, doing: str) -> None:
        if doing in self._faults:
            with self._turn:
                del self._faults[doing]
            _log.info("log_well_again", doing=doing, folder=str(self._programme))


def _hold(programme: Path) -> Lock:
    lock = Lock(programme / LOCK)
    if not lock.acquire():
        lock.release()
        raise Unavailable(
            "log.held",
            "Another process is writing this Space's programme.",
            "It is let go when that process ends; end it, or wait.",
        )
    return lock


def _read_epoch(programme: Path) -> int:
    """The last epoch that was given out; 0 before the first, or when the file says nothing."""
    try:
        return int((programme / EPOCH).read_bytes())
    except (FileNotFoundError, ValueError):
        return 0


def _next_epoch(programme: Path, last: list[Record | None]) -> int:
    """Later than any that was given out or used, also by logs that were set aside."""
    asides = (path.name.rpartition("-")[2] for path in programme.parent.glob(f"{programme.name}-*"))
    used = [int(epoch) for epoch in asides if epoch.isdecimal()] + [record.epoch for record in last if record]
    return 1 + max(_read_epoch(programme), *used, 0)


def set_aside(programme: Path) -> Path | None:
    """Rename an old log to `<name>-<epoch>`, for a Space that was scheduled anew; None when there is none.

    Readers that have it open keep it, and see by `Reader.replaced` that there is another.
    """
    aside = programme.with_name(f"{programme.name}-{_read_epoch(programme)}")
    try:
        programme.rename(aside)
        sync_folder(programme.parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unwritable(programme, error) from None
    return aside


class Reader:
    """A rendition's log, open for reading: also before it exists (`header` is None then) and while it is written.

    Nothing but the index is trusted. `records` is what `poll` has found so far.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = -1
        self._data = -1
        self._seen = HEADER_BYTES
        self._init = b""
        self._header: Header | None = None
        self.records = Records()
        self._open()

    def _open(self) -> bool:
        try:
            index = os.open(self._folder / INDEX, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            self._header = Header.decode(_pread(index, 0, HEADER_BYTES))
            self._data = os.open(self._folder / DATA, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            os.close(index)
            raise
        self._index = index
        return True

    @property
    def header(self) -> Header | None:
        """The log's header, or None until there is a log. Raises OperatorError `index.version`."""
        return self._header if self._index >= 0 or self._open() else None

    @property
    def last(self) -> Record | None:
        """The newest record found so far."""
        return self.records[-1] if self.records else None

    def poll(self) -> list[Record]:
        """The records written since the last call. When there is none, one lseek(2): a quarter of an fstat(2)."""
        if self._index < 0 and not self._open():
            return []
        size = os.lseek(self._index, 0, os.SEEK_END)
        if size < self._seen + RECORD_BYTES:
            return []
        new = self.records.extend(_pread(self._index, self._seen, size - self._seen))
        self._seen += len(new) * RECORD_BYTES
        return new

    def read(self, record: Record) -> bytes:
        """The bytes of a fragment."""
        return _pread(self._data, record.offset, record.size)

    def init(self) -> bytes:
        """The init segment. Raises FileNotFoundError until there is a log."""
        self._init = self._init or (self._folder / INIT).read_bytes()
        return self._init

    def fileno(self) -> int:
        """The descriptor of fragments.m4s, for sendfile(2) and pread(2)."""
        assert self._data >= 0, "there is no log yet"
        return self._data

    def replaced(self) -> bool:
        """Whether the folder no longer holds the log that is open here: it was set aside, or removed."""
        if self._index < 0:
            return False
        try:
            there = (self._folder / INDEX).stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(self._index)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        for descriptor in (self._index, self._data):
            if descriptor >= 0:
                os.close(descriptor)
        self._index = self._data = -1
