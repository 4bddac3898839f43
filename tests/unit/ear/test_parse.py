"""The ear's reader of MP4, on streams that FFmpeg wrote, on Rostra's own, and on rubbish."""

import contextlib
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rostra.ear.io.decode import Decoder
from rostra.ear.parse import BOX_BYTES_MAX, Box, Boxes, Event, Fragment, Init, Said, Track
from rostra.kernel.errors import PeerError
from rostra.media import fragment as writer
from rostra.media.codec import AAC, CODECS, OPUS, Codec
from support.streams import boxes, ffmpeg_stream


def read(stream: bytes) -> list[Said]:
    track = Track()
    return [said for box in Boxes().feed(stream) if (said := track.feed(box)) is not None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


@pytest.mark.parametrize(
    ("codec", "options", "flags", "name", "rate", "pre_skip"),
    [
        ("libopus", ("-ac", "1"), "+empty_moov+default_base_moof+cmaf", "opus", 48_000, 312),
        ("libopus", ("-ac", "2"), "+empty_moov", "opus", 48_000, 312),
        ("aac", ("-ac", "1"), "+empty_moov+default_base_moof+cmaf", "mp4a.40.2", 48_000, 0),
        ("aac", ("-ac", "2"), "+empty_moov+omit_tfhd_offset+separate_moof", "mp4a.40.2", 48_000, 0),
        ("aac", ("-ac", "1", "-ar", "44100"), "+empty_moov", "mp4a.40.2", 44_100, 0),
    ],
)
def test_streams_by_ffmpeg_are_read_and_decoded_whole(
    folder: Path, codec: str, options: tuple[str, ...], flags: str, name: str, rate: int, pre_skip: int
) -> None:
    init, *rest = read(ffmpeg_stream(folder / "s.mp4", codec, *options, seconds=5, flags=flags))
    assert isinstance(init, Init)
    assert (init.codec, init.timescale, init.sample_rate, init.pre_skip) == (name, rate, rate, pre_skip)
    fragments = [said for said in rest if isinstance(said, Fragment)]
    assert 7 <= len(fragments) <= 9
    for before, after in pairwise(fragments):
        assert (after.sequence, after.time) == (before.sequence + 1, before.time + before.duration)
    decoder = Decoder(init)
    sound = np.concatenate([decoder.decode(each.packets) for each in fragments])
    assert len(sound) == pytest.approx(5 * 48_000, abs=2100)
    middle = sound[48_000 : 4 * 48_000]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) / 3 == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(1 / 8 / np.sqrt(2), rel=0.35)  # lavfi's sine is at 1/8


def test_prft_by_ffmpeg_is_the_time_of_day(folder: Path) -> None:
    said = read(ffmpeg_stream(folder / "p.mp4", "libopus", "-write_prft", "wallclock", seconds=2))
    times = [each.wall_ns for each in said if isinstance(each, Fragment)]
    assert all(
        time is not None and time / 1e9 == pytest.approx((folder / "p.mp4").stat().st_mtime, abs=30) for time in times
    )


@given(
    codec=st.sampled_from(CODECS),
    number=st.integers(0, 2**40),
    wall_ns=st.integers(0, 4 * 10**18 // 2),
    data=st.data(),
    notices=st.lists(st.tuples(st.integers(0, 2**50), st.binary(max_size=80)), max_size=3),
)
def test_our_own_fragments_say_what_was_put_in(
    codec: Codec, number: int, wall_ns: int, data: st.DataObject, notices: list[tuple[int, bytes]]
) -> None:
    count = codec.packets_per_fragment
    packets = data.draw(st.lists(st.binary(max_size=40), min_size=count, max_size=count))
    emsgs = [writer.emsg(time, k, "urn:x", text, "v") for k, (time, text) in enumerate(notices)]
    init, *events, heard = read(writer.init_segment(codec) + writer.fragment(codec, number, packets, wall_ns, emsgs))
    assert isinstance(init, Init)
    assert init.codec == {OPUS: "opus", AAC: "mp4a.40.2"}[codec]
    assert (init.channels, init.sample_rate, init.pre_skip) == (1, 48_000, 0)
    assert events == [Event("urn:x", "v", k, 48_000, time, 0xFFFF_FFFF, text) for k, (time, text) in enumerate(notices)]
    assert isinstance(heard, Fragment)
    assert (heard.sequence, heard.time, heard.duration) == (number + 1 & 0xFFFF_FFFF, number * 30_720, 30_720)
    assert heard.packets == tuple(packets)
    assert heard.wall_ns is not None
    assert abs(heard.wall_ns - wall_ns) <= 1


@pytest.fixture(scope="module")
def sample(folder: Path) -> bytes:
    ours = writer.init_segment(OPUS) + writer.fragment(
        OPUS, 3, [b"x" * 9] * 32, 10**18, [writer.emsg(1, 2, "u", b"{}")]
    )
    theirs = ffmpeg_stream(folder / "m.mp4", "aac", "-b:a", "8k", "-write_prft", "wallclock", seconds=1)
    return ours + theirs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_a_stream_the_only_error_is_the_peers(sample: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sample)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(sample) - 1), st.integers(0, 255)), max_size=8)):
        damaged[at] = value
    start = data.draw(st.integers(0, len(damaged)))
    del damaged[start : start + data.draw(st.integers(0, 50))]
    damage_read(bytes(damaged))


@given(
    st.lists(
        st.tuples(st.sampled_from([b"moov", b"moof", b"mdat", b"prft", b"emsg", b"trak"]), st.binary(max_size=120))
    )
)
def test_boxes_full_of_rubbish_raise_only_the_peers_error(parts: list[tuple[bytes, bytes]]) -> None:
    damage_read(b"".join(struct.pack(">I4s", len(body) + 8, kind) + body for kind, body in parts))


@given(st.binary(max_size=400))
def test_rubbish_raises_only_the_peers_error(data: bytes) -> None:
    damage_read(data)


def damage_read(stream: bytes) -> None:
    with contextlib.suppress(PeerError):
        for said in read(stream):
            assert not isinstance(said, Fragment) or max(map(len, said.packets), default=0) <= len(stream)


@given(st.data())
def test_boxes_are_the_same_however_the_stream_is_cut(data: st.DataObject) -> None:
    bodies = data.draw(st.lists(st.binary(max_size=60), max_size=6))
    stream = b"".join(struct.pack(">I4sQ", 1, b"free", len(body) + 16) + body for body in bodies)
    reader, found, at = Boxes(), list[Box](), 0
    while at < len(stream):
        step = data.draw(st.integers(1, 40))
        found += reader.feed(stream[at : at + step])
        at += step
    assert [box.data[box.body :] for box in found] == bodies
    assert not reader.torn


def test_a_box_too_large_for_live_sound_is_refused_before_it_is_kept() -> None:
    with pytest.raises(PeerError, match="not live sound"):
        boxes(struct.pack(">I4s", BOX_BYTES_MAX + 1, b"mdat"))


def test_a_run_of_countless_empty_packets_is_refused() -> None:
    init, one = writer.init_segment(OPUS), bytearray(writer.fragment(OPUS, 0, [b""] * 32, 0))
    at = one.find(b"trun")
    one[at + 4 : at + 12] = struct.pack(">II", 0, 0xFFFF_FFFF)
    with pytest.raises(PeerError, match="packets"):
        read(init + bytes(one))


def test_video_alone_is_no_sound(folder: Path) -> None:
    stream = bytearray(ffmpeg_stream(folder / "v.mp4", "aac", seconds=1))
    at = stream.find(b"soun")
    stream[at : at + 4] = b"vide"
    with pytest.raises(PeerError, match="no sound"):
        read(bytes(stream))
