"""Files that must not be found half written, and folders that are nobody else's business."""

import fcntl
import os
from pathlib import Path

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
