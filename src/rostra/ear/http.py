"""The answer to one HTTP/1.1 request, read as it comes (RFC 9112).

Its own reader rather than `http.client`, because a listener must know when each byte of an endless body came, and
must tell a clean end (the last chunk) from a connection that broke.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from rostra.kernel.errors import PeerError

HEAD_BYTES_MAX: Final = 64 * 1024
"""What nginx, Apache and proxies send stays below 16 kB."""

LINE_BYTES_MAX: Final = 4096
"""A chunk's size line, with extensions nobody uses."""


def malformed(what: str) -> PeerError:
    """The error of a server that does not speak HTTP."""
    return PeerError(
        "http.malformed", f"The answer is not HTTP/1.1: {what}.", "Check that the address is a Rostra audience's."
    )


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and header fields; names in lower case, repeated fields joined by commas."""

    status: int
    fields: dict[str, str]


class _Body(Enum):
    CHUNKED = auto()
    LENGTH = auto()
    UNTIL_CLOSE = auto()


class _Want(Enum):
    HEAD = auto()
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    NOTHING = auto()


@dataclass(slots=True)
class Response:
    """Feed it what the socket gives; it gives back the bytes of the body. `ended` is the clean end.

    `head` is None until it is complete. A body that is delimited by the end of the connection never ends cleanly
    here: `close` decides.
    """

    head: Head | None = None
    ended: bool = False
    _want: _Want = _Want.HEAD
    _body: _Body = _Body.UNTIL_CLOSE
    _left: int = 0
    _pending: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`. Raises PeerError `http.malformed`; bytes after the end are one such error."""
        if self._want is _Want.NOTHING and data:
            raise malformed("bytes follow the end of the body")
        self._pending += data
        out = bytearray()
        while self._step(out):
            pass
        return bytes(out)

    def close(self) -> bool:
        """The connection was closed: whether the answer was whole."""
        if self.head is not None and self._want is _Want.DATA and self._body is _Body.UNTIL_CLOSE:
            self._end()
        return self.ended

    def _end(self) -> None:
        self.ended, self._want = True, _Want.NOTHING

    def _step(self, out: bytearray) -> bool:
        """One move; False when more bytes are needed."""
        match self._want:
            case _Want.HEAD:
                return self._read_head()
            case _Want.SIZE:
                return self._read_size()
            case _Want.DATA:
                return self._read_data(out)
            case _Want.DATA_END:
                return self._read_data_end()
            case _Want.TRAILER:
                return self._read_trailer()
            case _Want.NOTHING:
                if self._pending:
                    raise malformed("bytes follow the end of the body")
                return False

    def _read_head(self) -> bool:
        end = self._pending.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX + 4)
        if end < 0:
            if len(self._pending) > HEAD_BYTES_MAX:
                raise malformed("its header does not end")
            if not b"HTTP/1.".startswith(self._pending[:7]):
                raise malformed("it begins with something else")
            return False
        head = parse_head(bytes(self._pending[:end]))
        del self._pending[: end + 4]
        if 100 <= head.status < 200:
            return True
        self.head = head
        self._plan(head)
        return True

    def _plan(self, head: Head) -> None:
        """How long the body is (RFC 9112, 6.3)."""
        if head.status in (204, 304):
            self._end()
        elif "transfer-encoding" in head.fields:
            if head.fields["transfer-encoding"].strip().lower() != "chunked":
                raise malformed("its transfer coding is not chunked")
            self._body, self._want = _Body.CHUNKED, _Want.SIZE
        elif (length := head.fields.get("content-length")) is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 19):
                raise malformed("its length is not a number")
            self._body, self._want, self._left = _Body.LENGTH, _Want.DATA, int(length)
            if self._left == 0:
                self._end()
        else:
            self._want = _Want.DATA

    def _line(self) -> bytes | None:
        end = self._pending.find(b"\r\n", 0, LINE_BYTES_MAX + 2)
        if end < 0:
            if len(self._pending) > LINE_BYTES_MAX:
                raise malformed("a line does not end")
            return None
        line = bytes(self._pending[:end])
        del self._pending[: end + 2]
        return line

    def _read_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        digits = line.split(b";", 1)[0].strip(b" \t")
        if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise malformed(f"{digits[:20]!r} is not a chunk's size")
        self._left = int(digits, 16)
        self._want = _Want.DATA if self._left else _Want.TRAILER
        return True

    def _read_data(self, out: bytearray) -> bool:
        if not self._pending:
            return False
        if self._body is _Body.UNTIL_CLOSE:
            out += self._pending
            self._pending.clear()
            return False
        taken = self._pending[: self._left]
        out += taken
        del self._pending[: len(taken)]
        self._left -= len(taken)
        if self._left == 0:
            if self._body is _Body.CHUNKED:
                self._want = _Want.DATA_END
            else:
                self._end()
        return True

    def _read_data_end(self) -> bool:
        if len(self._pending) < 2:
            return False
        if self._pending[:2] != b"\r\n":
            raise malformed("a chunk is longer than it said")
        del self._pending[:2]
        self._want = _Want.SIZE
        return True

    def _read_trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line == b"":
            self._end()
        return True


def parse_head(data: bytes) -> Head:
    """The head of an answer, without the empty line that ends it. Raises PeerError `http.malformed`."""
    status_line, *lines = data.split(b"\r\n")
    parts = status_line.split(b" ", 2)
    if len(parts) < 2 or parts[0] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise malformed("it begins with something else")
    if len(parts[1]) != 3 or not parts[1].isdigit() or parts[1] < b"100":
        raise malformed("its status is not a number")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise malformed("a header field has no name")
        key, text = name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return Head(int(parts[1]), fields)
