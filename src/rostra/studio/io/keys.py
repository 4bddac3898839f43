"""The key that signs links, `<data>/keys/links.key`: 32 random bytes, made once, of mode 0600."""

import contextlib
import os
from pathlib import Path

from rostra.kernel.errors import OperatorError
from rostra.kernel.io.files import make_private, sync_folder, unwritable
from rostra.studio.links import KEY_BYTES


def links_key(data: Path) -> bytes:
    """The key, made on first use; two processes that make it at once end up with the same one (link(2) is atomic).

    Raises OperatorError `data.unwritable`, or `links.key` for a file that is no key.
    """
    path = make_private(data / "keys") / "links.key"
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise unwritable(path, error) from None
    if len(key) != KEY_BYTES:
        raise OperatorError(
            "links.key",
            f"{path} is not a key of {KEY_BYTES} bytes.",
            "Restore it from a backup; or remove it, and every link that was given out becomes invalid.",
        )
    return key


def _make(path: Path) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, os.urandom(KEY_BYTES))
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.close(descriptor)
        beside.unlink()
    sync_folder(path.parent)
