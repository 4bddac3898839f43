import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymp4.parser import Box

from rostra.kernel.units import FRAGMENT_SAMPLES
from rostra.media.boxes import find, walk
from rostra.media.codec import AAC
from rostra.media.progressive import Chunk, recording_head, trim

STBL = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
PACKET = AAC.packet_samples


@st.composite
def logs(draw: st.DrawFn) -> list[Chunk]:
    """Chunks as a log has them: in order, with boxes between them, now and then a fragment missing."""
    offset = draw(st.integers(0, 2**34))
    number = draw(st.integers(0, 2**20))
    chunks = []
    for count in draw(st.lists(st.integers(1, 30), min_size=1, max_size=12)):
        sizes = draw(st.lists(st.integers(1, 400), min_size=count, max_size=count))
        chunks.append(Chunk(offset, number * FRAGMENT_SAMPLES, sizes))
        offset += sum(sizes) + draw(st.integers(200, 700))
        number += draw(st.sampled_from([1, 1, 1, 3]))
    return chunks


def whole(chunks: list[Chunk]) -> tuple[int, int]:
    return chunks[0].time, chunks[-1].time + len(chunks[-1].sizes) * PACKET


def table(head: bytes, kind: bytes, row: str) -> list[tuple[int, ...]]:
    start, _ = find(head, (*STBL, kind))
    (count,) = struct.unpack_from(">I", head, start + 4)
    size = struct.calcsize(">" + row)
    return [struct.unpack_from(">" + row, head, start + 8 + at * size) for at in range(count)]


def sample_places(head: bytes, offsets: list[int]) -> list[tuple[int, int]]:
    """(offset, size) of every sample, by the rules of 14496-12, 8.7."""
    start, _ = find(head, (*STBL, b"stsz"))
    (count,) = struct.unpack_from(">I", head, start + 8)
    sizes = iter(struct.unpack_from(f">{count}I", head, start + 12))
    runs = table(head, b"stsc", "III")
    places = []
    for chunk, offset in enumerate(offsets, 1):
        per = next(run[1] for run in reversed(runs) if run[0] <= chunk)
        at = offset
        for _ in range(per):
            size = next(sizes)
            places.append((at, size))
            at += size
    assert next(sizes, None) is None
    return places


@given(logs())
def test_every_sample_points_at_its_packet_in_the_log(chunks: list[Chunk]) -> None:
    head = recording_head(AAC, chunks, *whole(chunks))
    offsets = [row[0] for row in table(head, b"stco", "I")]
    wanted = [
        (chunk.offset + sum(chunk.sizes[:at]) - chunks[0].offset + len(head), size)
        for chunk in chunks
        for at, size in enumerate(chunk.sizes)
    ]
    assert sample_places(head, offsets) == wanted


@given(logs())
def test_every_packet_begins_at_its_time_also_behind_a_hole(chunks: list[Chunk]) -> None:
    head = recording_head(AAC, chunks, *whole(chunks))
    durations = [value for count, value in table(head, b"stts", "II") for _ in range(count)]
    starts, at = [], chunks[0].time
    for duration in durations:
        starts.append(at)
        at += duration
    wanted_starts = [chunk.time + k * PACKET for chunk in chunks for k in range(len(chunk.sizes))]
    assert starts == wanted_starts
    assert at == whole(chunks)[1]


@given(logs(), st.data())
def test_the_edit_list_plays_exactly_what_was_asked_for(chunks: list[Chunk], data: st.DataObject) -> None:
    low, high = whole(chunks)
    start = data.draw(st.integers(low, high - 1))
    stop = data.draw(st.integers(start + 1, high))
    head = recording_head(AAC, chunks, start, stop)
    at, _ = find(head, (b"moov", b"trak", b"edts", b"elst"))
    version, count, duration, media_time, rate = struct.unpack_from(">IIQqI", head, at)
    assert (version >> 24, count, rate) == (1, 1, 0x10000)
    assert (duration, media_time) == (stop - start, start - low)
    moov = next(box for box in parse(head) if box.type == b"moov")
    assert moov.children[0].duration == stop - start


@given(logs(), st.data())
def test_no_packet_is_named_that_does_not_sound_but_the_one_before_the_first(
    chunks: list[Chunk], data: st.DataObject
) -> None:
    low, high = whole(chunks)
    start = data.draw(st.integers(low, high - 1))
    stop = data.draw(st.integers(start + 1, high))
    packets = [
        (chunk.time + at * PACKET, chunk.offset + sum(chunk.sizes[:at]), size)
        for chunk in chunks
        for at, size in enumerate(chunk.sizes)
    ]
    wanted = [packet for packet in packets if start - 2 * PACKET < packet[0] < stop]
    kept = [
        (chunk.time + at * PACKET, chunk.offset + sum(chunk.sizes[:at]), size)
        for chunk in trim(AAC, chunks, start, stop)
        for at, size in enumerate(chunk.sizes)
    ]
    assert kept == wanted


def parse(head: bytes) -> list[Box]:
    """The boxes before the mdat header, read by an independent parser (pymp4)."""
    boxes, at = [], 0
    while head[at + 4 : at + 8] != b"mdat":
        boxes.append(Box.parse(head[at:]))
        at += boxes[-1].end
    return boxes


@given(logs())
def test_the_head_is_ftyp_moov_and_an_mdat_that_takes_in_all_of_the_log(chunks: list[Chunk]) -> None:
    head = recording_head(AAC, chunks, *whole(chunks))
    mdat = len(head) - 8
    assert [box.type for box in parse(head)] == [b"ftyp", b"moov"]
    assert struct.unpack_from(">I4s", head, mdat) == (8 + chunks[-1].end - chunks[0].offset, b"mdat")
    kinds = [kind for kind, _, _ in walk(head + bytes(chunks[-1].end - chunks[0].offset))]
    assert kinds == [b"ftyp", b"moov", b"mdat"]


@pytest.mark.parametrize(("gigabytes", "offsets", "header"), [(1, b"stco", 8), (3, b"co64", 8), (5, b"co64", 16)])
def test_a_log_of_many_gigabytes_has_wide_offsets_and_a_wide_mdat(gigabytes: int, offsets: bytes, header: int) -> None:
    far = gigabytes * 2**30
    chunks = [Chunk(100, 0, [7] * 30), Chunk(100 + far, FRAGMENT_SAMPLES, [7] * 30)]
    head = recording_head(AAC, chunks, 0, 2 * FRAGMENT_SAMPLES)
    rows = table(head, offsets, "Q" if offsets == b"co64" else "I")
    assert [row[0] for row in rows] == [len(head), len(head) + far]
    size = far + 210 + header
    tail = head[-header:]
    assert tail == (struct.pack(">I4sQ", 1, b"mdat", size) if header == 16 else struct.pack(">I4s", size, b"mdat"))


def test_players_are_told_to_decode_one_packet_before_where_they_seek() -> None:
    head = recording_head(AAC, [Chunk(0, 0, [7] * 30)], 0, FRAGMENT_SAMPLES)
    start, _ = find(head, (*STBL, b"sgpd"))
    assert struct.unpack_from(">I4sIIh", head, start) == (1 << 24, b"roll", 2, 1, -1)
    start, _ = find(head, (*STBL, b"sbgp"))
    assert struct.unpack_from(">I4sIII", head, start) == (0, b"roll", 1, 30, 1)
