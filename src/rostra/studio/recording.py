"""The recording as one file: a head (moov), then a range of the AAC rendition's log, unchanged (DESIGN 7)."""

import json
import re
from dataclasses import dataclass
from typing import Final

from rostra.kernel.errors import OperatorError, PeerError

FOLDER: Final = "floor/aac"
DESCRIPTION: Final = f"{FOLDER}/recording.json"
HEAD: Final = f"{FOLDER}/recording.head"
BODY: Final = f"{FOLDER}/fragments.m4s"
MIME: Final = "audio/mp4"

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Recording:
    """`head_bytes` of recording.head, then the bytes [start, end) of fragments.m4s."""

    head_bytes: int
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.head_bytes + self.end - self.start

    @property
    def etag(self) -> str:
        return f'"{self.head_bytes:x}-{self.start:x}-{self.end:x}"'

    def pieces(self, first: int, last: int) -> list[tuple[str, int, int]]:
        """Where the bytes first..last of the recording lie: (file below `programmes`, offset, length)."""
        head = (HEAD, first, min(last + 1, self.head_bytes) - first)
        begin = max(first - self.head_bytes, 0)
        body = (BODY, self.start + begin, last + 1 - self.head_bytes - begin)
        return [piece for piece in (head, body) if piece[2] > 0]


def decode(data: bytes) -> Recording:
    """Raises OperatorError `recording.unreadable`."""
    try:
        document = json.loads(data)
        if document["v"] != 1:
            raise ValueError(f"version {document['v']}")
        return Recording(int(document["head_bytes"]), int(document["start"]), int(document["end"]))
    except (ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            "recording.unreadable", f"A recording.json cannot be read ({error}).", "Restore it from a backup."
        ) from None


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a single range (RFC 9110 14.1.2), or None to send everything.

    Several ranges, other units and nonsense are ignored, as the RFC allows.

    Raises PeerError `range.unsatisfiable`.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return None
    begin = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if begin > end:
        raise PeerError("range.unsatisfiable", f"The recording has {size} bytes.", "Ask for bytes within it.")
    return begin, end
