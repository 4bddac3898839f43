import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymp4.parser import Box

from rostra.kernel.units import SAMPLE_RATE, SECOND_NS
from rostra.media.boxes import find, walk
from rostra.media.codec import AAC, CODECS, OPUS, Codec, media_time
from rostra.media.fragment import (
    NTP_EPOCH_S,
    emsg,
    fragment,
    init_segment,
    ntp64,
    packet_spans,
    wall_of_ntp64,
)

numbers = st.integers(0, 2**31)
codecs = st.sampled_from(CODECS)
walls = st.integers(0, 4_233_000_000 * SECOND_NS)  # to 2104, beyond the wrap of NTP's seconds


@st.composite
def fragments(draw: st.DrawFn) -> tuple[Codec, int, list[bytes], int, list[bytes]]:
    codec = draw(codecs)
    count = codec.packets_per_fragment
    packets = draw(st.lists(st.binary(min_size=1, max_size=40), min_size=count, max_size=count))
    notices = draw(st.lists(st.binary(max_size=60), max_size=3))
    emsgs = [emsg(draw(numbers), at, "urn:test", data) for at, data in enumerate(notices)]
    return codec, draw(numbers), packets, draw(walls), emsgs


def boxes(data: bytes) -> list[bytes]:
    return [kind for kind, _, _ in walk(data)]


def parse(data: bytes) -> list[Box]:
    """What an independent parser makes of it (pymp4)."""
    stream, found = io.BytesIO(data), []
    while stream.tell() < len(data):
        found.append(Box.parse_stream(stream))
    return found


def one(parent: Box, *path: bytes) -> Box:
    for kind in path:
        (parent,) = [child for child in parent.children if child.type == kind]
    return parent


@given(fragments())
def test_a_fragment_is_prft_notices_moof_mdat(given_: tuple[Codec, int, list[bytes], int, list[bytes]]) -> None:
    codec, number, packets, wall_ns, emsgs = given_
    data = fragment(codec, number, packets, wall_ns, emsgs)
    assert boxes(data) == [b"prft", *[b"emsg"] * len(emsgs), b"moof", b"mdat"]


@given(fragments())
def test_another_parser_finds_every_packet_where_the_boxes_say(
    given_: tuple[Codec, int, list[bytes], int, list[bytes]],
) -> None:
    codec, number, packets, wall_ns, emsgs = given_
    data = fragment(codec, number, packets, wall_ns, emsgs)
    moof = next(box for box in parse(data) if box.type == b"moof")
    run = one(moof, b"traf", b"trun")
    at = moof.offset + run.data_offset
    for info, packet in zip(run.sample_info, packets, strict=True):
        assert data[at : at + info.sample_size] == packet
        at += info.sample_size
    assert at == len(data)
    assert one(moof, b"traf", b"tfhd").flags.default_base_is_moof
    assert one(moof, b"traf", b"tfdt").baseMediaDecodeTime == media_time(number)
    assert one(moof, b"mfhd").sequence_number == number + 1


@given(fragments())
def test_our_own_reading_of_a_fragment_finds_its_packets(
    given_: tuple[Codec, int, list[bytes], int, list[bytes]],
) -> None:
    codec, number, packets, wall_ns, emsgs = given_
    data = fragment(codec, number, packets, wall_ns, emsgs)
    offset, sizes = packet_spans(data)
    assert data[offset:] == b"".join(packets)
    assert sizes == [len(packet) for packet in packets]


@given(st.binary(max_size=400))
def test_bytes_that_are_no_fragment_are_refused_with_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        packet_spans(data)


@given(numbers, walls)
def test_prft_carries_the_wall_clock_and_the_media_time_of_the_first_sample(number: int, wall_ns: int) -> None:
    data = fragment(OPUS, number, [b"x"] * 32, wall_ns)
    size, kind, version, flags_high, flags_low, track, ntp, time = struct.unpack_from(">I4sBBHIQQ", data)
    assert (size, kind, version, flags_high, flags_low, track) == (32, b"prft", 1, 0, 24, 1)
    assert time == media_time(number)
    assert abs(wall_of_ntp64(ntp) - wall_ns) <= 1


@given(walls)
def test_ntp_time_keeps_the_nanosecond(wall_ns: int) -> None:
    assert abs(wall_of_ntp64(ntp64(wall_ns)) - wall_ns) <= 1


def test_ntp_time_of_a_known_instant() -> None:
    assert ntp64(1_723_507_200 * SECOND_NS + SECOND_NS // 2) == (1_723_507_200 + NTP_EPOCH_S) << 32 | 1 << 31


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.text(max_size=40))
def test_emsg_is_version_1_with_absolute_time_in_samples(time: int, identity: int, text: str) -> None:
    payload = json.dumps({"type": text}).encode()
    data = emsg(time, identity, "urn:rostra:notice:1", payload)
    ((kind, body, end),) = walk(data)
    version, scale, at, duration, number = struct.unpack_from(">IIQII", data, body)
    scheme, value, message = data[body + 24 : end].split(b"\0", 2)
    assert (kind, version >> 24, scale, at) == (b"emsg", 1, SAMPLE_RATE, time)
    assert (duration, number) == (0xFFFF_FFFF, identity & 0xFFFF_FFFF)
    assert (scheme, value, message) == (b"urn:rostra:notice:1", b"", payload)


@pytest.mark.parametrize("codec", CODECS)
def test_another_parser_reads_the_init_segment(codec: Codec) -> None:
    ftyp, moov = parse(init_segment(codec))
    assert ftyp.major_brand == b"iso6"
    assert b"cmfc" in ftyp.compatible_brands
    assert one(moov, b"mvhd").timescale == SAMPLE_RATE
    assert one(moov, b"trak", b"mdia", b"mdhd").timescale == SAMPLE_RATE
    assert one(moov, b"trak", b"mdia", b"hdlr").handler_type == b"soun"
    assert one(moov, b"mvex", b"trex").default_sample_duration == codec.packet_samples
    tables = one(moov, b"trak", b"mdia", b"minf", b"stbl")
    assert one(tables, b"stsz").sample_count == 0
    assert not one(tables, b"stts").entries


def test_opus_is_described_with_no_pre_skip() -> None:
    data = init_segment(OPUS)
    start, _ = find(data, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"))
    entry = data[start + 8 :]
    assert entry[4:8] == b"Opus"
    version, channels, pre_skip, rate, gain, family = struct.unpack_from(">BBHIhB", entry, 8 + 28 + 8)
    assert (version, channels, pre_skip, rate, gain, family) == (0, 1, 0, 48_000, 0, 0)


def test_aac_is_described_as_low_complexity_48_khz_mono() -> None:
    data = init_segment(AAC)
    assert bytes.fromhex("05 80 80 80 02 11 88") in data  # AudioSpecificConfig: object type 2, rate index 3, 1 channel
    assert data.index(b"mp4a") < data.index(b"esds")


@given(st.binary(max_size=64))
def test_walking_over_anything_ends_with_boxes_or_a_value_error(data: bytes) -> None:
    try:
        for _, start, end in walk(data):
            assert 0 <= start <= end <= len(data)
    except ValueError:
        pass
