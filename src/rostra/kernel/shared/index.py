"""The layout of `fragments.idx`: a versioned header, then one fixed-size record a fragment.

    header   128 bytes   magic, version, rendition, anchor (wall, monotonic, boot id), CRC-32
    record    48 bytes   number, offset, size, epoch, flags, wall clock, CRC-32 of the fragment, CRC-32 of the record

All integers are little-endian. A record is written after its fragment, whole; a reader that finds a record may trust
that the bytes it names are there (the page cache keeps that order), and recovery after a power cut checks the two
checksums (`rostra.log.recovery`).
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, NamedTuple

from rostra.kernel.clock import Anchor
from rostra.kernel.errors import OperatorError

MAGIC: Final = b"RSTRINDX"
VERSION: Final = 1

_HEADER: Final = struct.Struct("<8sI4x16sqq40s36xI")
_RECORD: Final = struct.Struct("<QQIIIIqI")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size
RECORD_BYTES: Final = _RECORD.size + _CRC.size


class Flag(IntFlag):
    """What a fragment holds. A fragment in which the programme changed carries both ON_AIR and HOLD."""

    ON_AIR = 1
    HOLD = 2
    FILLED = 4


_FLAGS: Final = {flags: Flag(flags) for flags in range(8)}  # making a Flag costs more than all else in a record


@dataclass(frozen=True, slots=True)
class Header:
    """The start of an index: which rendition it lists, and the anchor of its timeline."""

    rendition: str
    anchor: Anchor

    def encode(self) -> bytes:
        anchor = self.anchor
        body = _HEADER.pack(
            MAGIC,
            VERSION,
            self.rendition.encode(),
            anchor.wall_ns,
            anchor.mono_ns,
            anchor.boot_id.encode(),
            0,
        )[:-4]
        return body + _CRC.pack(zlib.crc32(body))

    @staticmethod
    def decode(data: bytes) -> "Header":
        """Raises OperatorError `index.version` when the bytes are no index this version can read."""
        if len(data) >= HEADER_BYTES:
            magic, version, rendition, wall, mono, boot, crc = _HEADER.unpack_from(data)
            if magic == MAGIC and version == VERSION and crc == zlib.crc32(data[: HEADER_BYTES - 4]):
                anchor = Anchor(wall, mono, boot.rstrip(b"\0").decode())
                return Header(rendition.rstrip(b"\0").decode(), anchor)
        raise OperatorError(
            "index.version",
            "A programme's index is damaged or was written by another version of Rostra.",
            "Keep the folder, and move it aside if the Space must start anew.",
        )


class Record(NamedTuple):
    """One fragment: `offset` and `size` in bytes within fragments.m4s, `wall_ns` when its first sample was mixed.

    A tuple, because a worker that starts in the fourth hour reads 22,500 of them before it serves anybody.
    """

    number: int
    epoch: int
    offset: int
    size: int
    flags: Flag
    wall_ns: int
    crc: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    def encode(self) -> bytes:
        body = _RECORD.pack(self.number, self.offset, self.size, self.epoch, self.flags, 0, self.wall_ns, self.crc)
        return body + _CRC.pack(zlib.crc32(body))

    @staticmethod
    def decode(data: bytes | memoryview) -> "Record | None":
        """The record in the first `RECORD_BYTES` of `data`, or None if it is torn."""
        if len(data) < RECORD_BYTES or _CRC.unpack_from(data, _RECORD.size)[0] != zlib.crc32(data[: _RECORD.size]):
            return None
        number, offset, size, epoch, flags, _, wall_ns, crc = _RECORD.unpack_from(data)
        return Record(number, epoch, offset, size, _FLAGS.get(flags) or Flag(flags), wall_ns, crc)
