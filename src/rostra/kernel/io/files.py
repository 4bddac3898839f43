"""Files that must not be found half written, and folders that are nobody else's business."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rostra.kernel.errors import OperatorError


def make_private(folder: Path) -> Path:
    """Make `folder` and its parents, readable by us alone. Raises OperatorError `data.unwritable`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder


def unwritable(path: Path, error: OSError) -> OperatorError:
    """What to tell the operator when `path` cannot be written."""
    return OperatorError(
        "data.unwritable",
        f"{path} cannot be written: {error.strerror}.",
        "Give the user that runs Rostra write access to it, free some space, or name another folder with --data.",
    )


Stamp = tuple[int, int, int]
ABSENT: Final[Stamp] = (0, 0, 0)


def stamp(path: Path) -> Stamp:
    """Differs whenever the file does; `ABSENT` when there is none.

    The size tells appends apart that fall into one tick of the file system's clock (4 ms), the inode replacements.
    Take it *before* reading: what is written in between then shows at the next look.
    """
    try:
        found = path.stat()
    except OSError:
        return ABSENT
    return found.st_mtime_ns, found.st_ino, found.st_size


class Follower:
    """Files that are read when they have changed, at first too. One that could not be read is tried again."""

    def __init__(self) -> None:
        self._stamps: dict[Path, Stamp] = {}

    def follow(self, path: Path, read: Callable[[], None]) -> None:
        """Call `read` if `path` is not what it was when it was last read. What `read` raises goes through."""
        found = stamp(path)
        if found != self._stamps.get(path):
            read()
            self._stamps[path] = found


def replace(path: Path, data: bytes, *, sync: bool = False, mode: int = 0o600) -> None:
    """Replace `path` by `data` so that a reader sees the old or the new, never a mixture (rename(2))."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    if sync:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """An exclusive flock(2) on `path`, held until the process ends or `release` is called."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self) -> bool:
        """Whether the lock is ours now. Never waits."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        os.close(self._descriptor)
