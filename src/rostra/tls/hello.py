"""What a connection to a TLS port begins with, and what is said to those who do not speak TLS."""

from enum import Enum, auto
from typing import Final

HANDSHAKE: Final = 0x16
"""The content type of a record with a ClientHello (RFC 8446 5.1)."""


class Speaks(Enum):
    """What the first byte says."""

    TLS = auto()
    HTTP = auto()
    NEITHER = auto()


def speaks(first: bytes) -> Speaks:
    """`first` is at least the first byte. A request begins with its method, in capitals (RFC 9110 9.1)."""
    if first[0] == HANDSHAKE:
        return Speaks.TLS
    return Speaks.HTTP if first[:1].isupper() else Speaks.NEITHER


_TEXT: Final = b"This is HTTPS: write https:// in front of the address.\n"

IS_HTTPS: Final = b"\r\n".join(
    (
        b"HTTP/1.1 400 Bad Request",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(_TEXT),
        b"Connection: close",
        b"",
        _TEXT,
    )
)

_FULL: Final = b"Every place is taken for a moment. Come back in a few seconds.\n"

COME_BACK: Final = b"\r\n".join(
    (
        b"HTTP/1.1 503 Service Unavailable",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(_FULL),
        b"Retry-After: 5",
        b"Connection: close",
        b"",
        _FULL,
    )
)
"""Said within TLS when no worker takes a connection."""
