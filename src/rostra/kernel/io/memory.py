"""Shared memory as files: a folder in /dev/shm when there is one, so that it costs no disk and survives a process."""

import hashlib
import mmap
import os
import stat
from pathlib import Path

from rostra.kernel.errors import OperatorError
from rostra.kernel.io.files import make_private


def shared_folder(data: Path) -> Path:
    """The shared-memory folder that belongs to the data directory `data`, made if need be.

    Raises OperatorError `shared.foreign` when another user has made one of that name: what is in it goes on air.
    """
    shm = Path("/dev/shm")  # noqa: S108 — meant: shared memory, in a folder of mode 0700
    name = "rostra-" + hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    folder = make_private((shm if os.access(shm, os.W_OK) else data) / name)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OperatorError("shared.foreign", f"{folder} is not ours alone.", "Remove it; Rostra makes it anew.")
    return folder


def create(path: Path, size: int) -> memoryview:
    """Map `path` for reading and writing, `size` zero bytes when it is new; what it already holds is kept."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, size)
        return memoryview(mmap.mmap(descriptor, size))
    finally:
        os.close(descriptor)


def attach(path: Path) -> memoryview:
    """Map an existing file for reading. Raises FileNotFoundError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)
