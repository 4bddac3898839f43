"""A log as one ordinary file: an .m4a head that goes before the bytes of the log, unchanged.

    recording.m4a = ftyp moov mdat-header ‖ fragments.m4s[start:end]

All that lies behind the head is one `mdat`. The sample tables point at the packets inside the fragments' own `mdat`
boxes; `prft`, `emsg` and `moof` between them are bytes that nobody points at. So a recording costs a head of four bytes
a packet (2.7 MB for four hours), no copy, and no second encoding.

The talk begins and ends within a packet, as a rule. The tables name the packets that are needed and no other (`trim`),
since not every player heeds an edit list's end; the edit list cuts to the sample. An AAC packet decodes right only
behind its predecessor: one more is named before the first that sounds, and a `roll` group tells players to do the same
when they seek (14496-12, 10.1).
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rostra.media.boxes import box, full_box
from rostra.media.codec import Codec
from rostra.media.fragment import movie_header, sample_description, track

_MAX_32: Final = 0xFFFF_FFFF
_WIDE_FROM: Final = 1 << 31
"""Bytes of a log from which chunk offsets take 64 bits: early enough that the head before them need not be counted."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Packets that lie side by side in the log: where in the file, when on the timeline (samples), and their sizes."""

    offset: int
    time: int
    sizes: Sequence[int]

    @property
    def end(self) -> int:
        return self.offset + sum(self.sizes)


def trim(codec: Codec, chunks: Iterable[Chunk], from_sample: int, to_sample: int) -> list[Chunk]:
    """The packets that sound in [from_sample, to_sample) of the timeline, and the one before them if it is there."""
    kept = []
    for chunk in chunks:
        first = max(0, (from_sample - chunk.time) // codec.packet_samples - 1)
        after = max(0, -((chunk.time - to_sample) // codec.packet_samples))
        if sizes := chunk.sizes[first:after]:
            offset = chunk.offset + sum(chunk.sizes[:first])
            kept.append(Chunk(offset, chunk.time + first * codec.packet_samples, sizes))
    return kept


def recording_head(codec: Codec, chunks: Sequence[Chunk], from_sample: int, to_sample: int) -> bytes:
    """The head for the log's bytes from the first chunk to the last, playing [from_sample, to_sample) of the timeline.

    Where chunks leave a hole in the timeline, the packet before it lasts until the next one.
    """
    start, end, zero = chunks[0].offset, chunks[-1].end, chunks[0].time
    media_duration = chunks[-1].time + len(chunks[-1].sizes) * codec.packet_samples - zero
    assert zero <= from_sample < to_sample <= zero + media_duration
    ftyp = box(b"ftyp", b"M4A ", bytes(4), b"M4A mp42isomiso2")
    mdat = _mdat_header(end - start)
    tables = (
        sample_description(codec),
        _durations(codec, chunks),
        _sample_to_chunk(chunks),
        _sizes(chunks),
        _roll(sum(len(chunk.sizes) for chunk in chunks)),
    )

    wide = end - start >= _WIDE_FROM

    def moov(shift: int) -> bytes:
        stbl = box(b"stbl", *tables, _offsets([chunk.offset + shift for chunk in chunks], wide))
        edits = _edits(to_sample - from_sample, from_sample - zero)
        sound = track(stbl, to_sample - from_sample, media_duration, edits)
        return box(b"moov", movie_header(to_sample - from_sample), sound)

    size = len(ftyp) + len(moov(-start)) + len(mdat)
    return ftyp + moov(size - start) + mdat


def _mdat_header(payload: int) -> bytes:
    if payload + 8 > _MAX_32:
        return struct.pack(">I4sQ", 1, b"mdat", payload + 16)
    return struct.pack(">I4s", payload + 8, b"mdat")


def _edits(duration: int, media_time: int) -> bytes:
    """`edts` with one edit: from `media_time` on, for `duration` samples, at normal speed."""
    return box(b"edts", full_box(b"elst", 1, 0, struct.pack(">IQqI", 1, duration, media_time, 0x0001_0000)))


def _durations(codec: Codec, chunks: Sequence[Chunk]) -> bytes:
    """`stts`: how long each packet lasts, as runs of equal durations."""
    runs: list[tuple[int, int]] = []
    for chunk, after in zip(chunks, [*chunks[1:], None], strict=True):
        count = len(chunk.sizes)
        hole = after.time - chunk.time - count * codec.packet_samples if after else 0
        assert hole >= 0, "chunks overlap"
        _run(runs, count - bool(hole), codec.packet_samples)
        if hole:
            _run(runs, 1, codec.packet_samples + hole)
    return _table(b"stts", runs)


def _run(runs: list[tuple[int, int]], count: int, value: int) -> None:
    if runs and runs[-1][1] == value:
        runs[-1] = (runs[-1][0] + count, value)
    elif count:
        runs.append((count, value))


def _sample_to_chunk(chunks: Sequence[Chunk]) -> bytes:
    """`stsc`: (first chunk, packets a chunk, description) wherever the number of packets changes."""
    rows = []
    first = 1
    for count, same in groupby(len(chunk.sizes) for chunk in chunks):
        rows.append((first, count, 1))
        first += sum(1 for _ in same)
    return _table(b"stsc", rows)


def _sizes(chunks: Sequence[Chunk]) -> bytes:
    sizes = [size for chunk in chunks for size in chunk.sizes]
    return full_box(b"stsz", 0, 0, struct.pack(f">II{len(sizes)}I", 0, len(sizes), *sizes))


def _offsets(offsets: Sequence[int], wide: bool) -> bytes:
    kind, letter = (b"co64", "Q") if wide else (b"stco", "I")
    return full_box(kind, 0, 0, struct.pack(f">I{len(offsets)}{letter}", len(offsets), *offsets))


def _roll(samples: int) -> bytes:
    """`sgpd` and `sbgp`: to start anywhere, decode one packet before it."""
    description = full_box(b"sgpd", 1, 0, b"roll", struct.pack(">IIh", 2, 1, -1))
    return description + full_box(b"sbgp", 0, 0, b"roll", struct.pack(">III", 1, samples, 1))


def _table(kind: bytes, rows: Iterable[tuple[int, ...]]) -> bytes:
    rows = list(rows)
    return full_box(kind, 0, 0, struct.pack(">I", len(rows)), *(struct.pack(f">{len(row)}I", *row) for row in rows))
