"""ISO base media boxes (ISO/IEC 14496-12, 4.2): making them, and walking over them."""

import struct
from collections.abc import Iterator
from typing import Final

_HEADER: Final = struct.Struct(">I4s")
_LARGE: Final = struct.Struct(">Q")
IDENTITY_MATRIX: Final = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of `kind` around `parts`."""
    body = b"".join(parts)
    return _HEADER.pack(_HEADER.size + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box that begins with a version and flags (14496-12, 4.2.2)."""
    return box(kind, (version << 24 | flags).to_bytes(4, "big"), *parts)


def walk(data: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of body, end) of each box in `data[start:end]`.

    Raises ValueError when a box does not fit in what surrounds it.
    """
    end = len(data) if end is None else end
    while start < end:
        if end - start < _HEADER.size:
            raise ValueError(f"{end - start} stray bytes after the last box")
        size, kind = _HEADER.unpack_from(data, start)
        body = start + _HEADER.size
        if size == 1 and end - body >= _LARGE.size:
            (size,) = _LARGE.unpack_from(data, body)
            body += _LARGE.size
        if size < body - start or size > end - start:
            raise ValueError(f"a {kind!r} box of {size} bytes does not fit")
        yield kind, body, start + size
        start += size


def find(data: bytes | memoryview, path: tuple[bytes, ...]) -> tuple[int, int]:
    """(start, end) of the body of the first box at `path`, such as (b"moof", b"traf", b"trun").

    Raises ValueError when there is none.
    """
    start, end = 0, len(data)
    for wanted in path:
        for kind, body, after in walk(data, start, end):
            if kind == wanted:
                start, end = body, after
                break
        else:
            raise ValueError(f"no {wanted!r} box")
    return start, end
