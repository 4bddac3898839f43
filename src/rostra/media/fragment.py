"""Init segments and fragments (CMAF, ISO/IEC 23000-19, on ISO/IEC 14496-12).

    init       ftyp moov
    fragment   prft emsg* moof mdat       one chunk, one HLS part; all sizes are known before it is written

libav's muxer cannot do this: it restarts or shifts `tfdt` for each session and flushes when it likes. Everything that
is the same in every fragment is laid down once, as a `struct`; what remains is one pack and one join.
"""

import struct
from collections.abc import Sequence
from typing import Final

from rostra.kernel.units import SAMPLE_RATE, SECOND_NS
from rostra.media.boxes import IDENTITY_MATRIX, box, full_box
from rostra.media.codec import AAC, OPUS, Codec, media_time

TRACK: Final = 1
NTP_EPOCH_S: Final = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 5905)."""

DURATION_UNKNOWN: Final = 0xFFFF_FFFF
_SYNC_SAMPLE: Final = 0x0200_0000  # depends on no other sample, and is none that others wait for

_RUN: Final = 0x00_0201
"""Flags of `trun`: a data offset, and a size for each packet."""

_PRFT: Final = struct.Struct(">I4sIIQQ")
_EMSG: Final = struct.Struct(">I4sIIQII")
_MOOF: Final = struct.Struct(">I4s I4sII I4s I4sII I4sIQ I4sIII")
_MDAT: Final = struct.Struct(">I4s")
_TRAF_AT: Final = 8 + 16


def ntp64(wall_ns: int) -> int:
    """The 64-bit NTP timestamp of a wall-clock time: seconds since 1900 and a 32-bit fraction, rounded down.

    The seconds wrap in February 2036.
    """
    seconds, ns = divmod(wall_ns, SECOND_NS)
    return (seconds + NTP_EPOCH_S & 0xFFFF_FFFF) << 32 | (ns << 32) // SECOND_NS


def wall_of_ntp64(ntp: int) -> int:
    """Wall-clock nanoseconds of an NTP timestamp between 1968 and 2104 (RFC 4330, 3), to the nearest nanosecond."""
    seconds = ntp >> 32
    if seconds < 1 << 31:
        seconds += 1 << 32
    return (seconds - NTP_EPOCH_S) * SECOND_NS + ((ntp & 0xFFFF_FFFF) * SECOND_NS + (1 << 31) >> 32)


def prft(number: int, wall_ns: int) -> bytes:
    """ProducerReferenceTimeBox, version 1 (14496-12, 8.16.5): `wall_ns` is when the fragment's first sample was mixed.

    Flags are 24, "captured": the time the sample came into being, not the time it was encoded.
    """
    return _PRFT.pack(_PRFT.size, b"prft", 1 << 24 | 24, TRACK, ntp64(wall_ns), media_time(number))


def emsg(time: int, identity: int, scheme: str, data: bytes, value: str = "") -> bytes:
    """DASHEventMessageBox, version 1 (ISO/IEC 23009-1, 5.10.3.3): `data` belongs at sample `time` of the timeline.

    Two boxes with the same scheme, value and `identity` are the same event. It lasts until something else is said.
    """
    names = scheme.encode() + b"\0" + value.encode() + b"\0"
    size = _EMSG.size + len(names) + len(data)
    return (
        _EMSG.pack(size, b"emsg", 1 << 24, SAMPLE_RATE, time, DURATION_UNKNOWN, identity & 0xFFFF_FFFF) + names + data
    )


def fragment(codec: Codec, number: int, packets: Sequence[bytes], wall_ns: int, emsgs: Sequence[bytes] = ()) -> bytes:
    """Fragment `number` of a rendition around its packets, in order; `wall_ns` is when its first sample was mixed."""
    count = len(packets)
    assert count == codec.packets_per_fragment, f"a fragment of {count} packets"
    sizes = struct.pack(f">{count}I", *map(len, packets))
    traf_size = 8 + 16 + 20 + 20 + len(sizes)
    moof_size = _TRAF_AT + traf_size
    # fmt: off
    moof = _MOOF.pack(
        moof_size, b"moof",
        16, b"mfhd", 0, number + 1 & 0xFFFF_FFFF,  # sequence numbers begin at 1
        traf_size, b"traf",
        16, b"tfhd", 0x02_0000, TRACK,             # default-base-is-moof; durations and flags are in trex
        20, b"tfdt", 1 << 24, media_time(number),
        20 + len(sizes), b"trun", _RUN, count, moof_size + _MDAT.size,
    )
    # fmt: on
    mdat = _MDAT.pack(_MDAT.size + sum(map(len, packets)), b"mdat")
    return b"".join((prft(number, wall_ns), *emsgs, moof, sizes, mdat, *packets))


def packet_spans(data: bytes | memoryview) -> tuple[int, list[int]]:
    """Where the packets of one of our fragments lie: the offset of the first, and the size of each.

    `data` may end anywhere behind the `moof` box. Raises ValueError when it is none of ours.
    """
    start = 0
    while data[start + 4 : start + 8] != b"moof":
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8 or start + size + 8 > len(data):
            raise ValueError("no moof box")
        start += size
    if len(data) < start + _MOOF.size:
        raise ValueError("a moof box that is cut off")
    fields = _MOOF.unpack_from(data, start)
    kind, shape, count, offset = fields[-4], fields[-3], fields[-2], fields[-1]
    if kind != b"trun" or shape != _RUN or fields[0] != _MOOF.size + 4 * count or len(data) < start + fields[0]:
        raise ValueError("a moof box that Rostra did not write")
    return start + offset, list(struct.unpack_from(f">{count}I", data, start + _MOOF.size))


def init_segment(codec: Codec) -> bytes:
    """The CMAF header of a rendition: `ftyp`, and a `moov` whose tables are empty."""
    tables = box(
        b"stbl",
        sample_description(codec),
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    trex = full_box(b"trex", 0, 0, struct.pack(">5I", TRACK, 1, codec.packet_samples, 0, _SYNC_SAMPLE))
    moov = box(b"moov", movie_header(0), track(tables, 0, 0), box(b"mvex", trex))
    return box(b"ftyp", b"iso6", bytes(4), b"iso6cmfcmp41dash") + moov


def movie_header(duration: int) -> bytes:
    """`mvhd` in samples. Version 1, so that it holds more than a day."""
    # fmt: off
    body = (struct.pack(">QQIQ", 0, 0, SAMPLE_RATE, duration), struct.pack(">IH", 0x0001_0000, 0x0100), bytes(10),
            IDENTITY_MATRIX, bytes(24), struct.pack(">I", TRACK + 1))
    # fmt: on
    return full_box(b"mvhd", 1, 0, *body)


def track(tables: bytes, duration: int, media_duration: int, edits: bytes = b"") -> bytes:
    """A `trak` of mono sound: `tables` is its `stbl`, `edits` an `edts` box; durations in samples."""
    # fmt: off
    tkhd = full_box(b"tkhd", 1, 7, struct.pack(">QQIIQ", 0, 0, TRACK, 0, duration), bytes(8),
                    struct.pack(">HHHH", 0, 0, 0x0100, 0), IDENTITY_MATRIX, bytes(8))
    # fmt: on
    language = struct.pack(">HH", 0x55C4, 0)  # "und"
    mdhd = full_box(b"mdhd", 1, 0, struct.pack(">QQIQ", 0, 0, SAMPLE_RATE, media_duration), language)
    hdlr = full_box(b"hdlr", 0, 0, bytes(4), b"soun", bytes(12), b"Rostra\0")
    dref = full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1))
    minf = box(b"minf", full_box(b"smhd", 0, 0, bytes(4)), box(b"dinf", dref), tables)
    return box(b"trak", tkhd, edits, box(b"mdia", mdhd, hdlr, minf))


def sample_description(codec: Codec) -> bytes:
    """`stsd` with the one entry of `codec`."""
    kind, config = _ENTRIES[codec.name]
    entry = bytes(6) + struct.pack(">H8xHHIHH", 1, 1, 16, 0, SAMPLE_RATE, 0)
    return full_box(b"stsd", 0, 0, struct.pack(">I", 1), box(kind, entry, config))


def _opus_config() -> bytes:
    """OpusSpecificBox (Encapsulation of Opus in ISOBMFF, 4.3.2): PreSkip 0, packets begin on the grid."""
    return box(b"dOps", struct.pack(">BBHIhB", 0, 1, 0, SAMPLE_RATE, 0, 0))


def _aac_config(kbit_s: int) -> bytes:
    """`esds` (ISO/IEC 14496-14, 3.1.2) around the AudioSpecificConfig of AAC-LC, 48 kHz, mono, 1,024 samples."""
    audio_specific = (2 << 11 | 3 << 7 | 1 << 3).to_bytes(2, "big")
    decoder = struct.pack(">BB3sII", 0x40, 5 << 2 | 1, bytes(3), kbit_s * 1000, kbit_s * 1000)
    decoder_config = _descriptor(4, decoder + _descriptor(5, audio_specific))
    return full_box(b"esds", 0, 0, _descriptor(3, bytes(3) + decoder_config + _descriptor(6, b"\2")))


def _descriptor(tag: int, body: bytes) -> bytes:
    """An MPEG-4 descriptor (ISO/IEC 14496-1, 8.3.3), its length in the customary four bytes."""
    return struct.pack(">B4B", tag, 0x80, 0x80, 0x80, len(body)) + body


_ENTRIES: Final = {
    OPUS.name: (b"Opus", _opus_config()),
    AAC.name: (b"mp4a", _aac_config(AAC.kbit_s)),
}
