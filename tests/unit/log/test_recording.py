"""The recording cut from a log, as programs that nobody here wrote play it."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rostra.kernel.clock import Anchor
from rostra.kernel.shared.index import Flag
from rostra.kernel.units import FRAGMENT_FRAMES, FRAGMENT_SAMPLES, FRAME_SAMPLES, SAMPLE_RATE
from rostra.log.index import Sealed
from rostra.log.io.files import Writer
from rostra.log.io.recording import Recording, write_recording
from rostra.media.codec import AAC
from rostra.media.fragment import fragment, init_segment
from support.encode import encode

FRAGMENTS = 24
START, END = 5 * FRAGMENT_FRAMES + 13, 18 * FRAGMENT_FRAMES + 5
"""On air in frames [START, END): both within a fragment, and within an AAC packet."""

Pcm = npt.NDArray[np.float32]


def sweep() -> Pcm:
    """A tone that rises all the time, so that a place in it is heard to the sample."""
    at = np.arange((FRAGMENTS + 1) * FRAGMENT_SAMPLES) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * (300 * at + 40 * at * at))).astype(np.float32)


def flags(number: int) -> Flag:
    frames = range(number * FRAGMENT_FRAMES, (number + 1) * FRAGMENT_FRAMES)
    on_air = [START <= frame < END for frame in frames]
    return (Flag.ON_AIR if any(on_air) else Flag(0)) | (Flag.HOLD if not all(on_air) else Flag(0))


def write_log(programme: Path, numbers: Iterable[int], packets: list[bytes]) -> None:
    writer = Writer.open(programme, Anchor(0, 0), {AAC.name: init_segment(AAC)})
    for number in numbers:
        first = AAC.first_packet(number)
        data = fragment(AAC, number, packets[first : first + AAC.packets_per_fragment], number * 640_000_000)
        writer.append(Sealed(AAC.name, number, flags(number), number * 640_000_000, data))
    assert writer.finish()


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return encode(AAC, sweep())


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory, packets: list[bytes]) -> Path:
    programme = tmp_path_factory.mktemp("recorded") / "floor"
    write_log(programme, range(FRAGMENTS), packets)
    return programme


@pytest.fixture(scope="module")
def recording(programme: Path) -> Recording:
    recording = write_recording(programme, START, END)
    assert recording is not None
    return recording


@pytest.fixture(scope="module")
def m4a(programme: Path, recording: Recording) -> Path:
    """What the edge sends: the head, and the log's bytes as they are."""
    return assemble(programme, recording)


def assemble(programme: Path, recording: Recording) -> Path:
    head = (programme / "aac" / "recording.head").read_bytes()
    log = (programme / "aac" / "fragments.m4s").read_bytes()
    path = programme / "recording.m4a"
    path.write_bytes(head + log[recording.start : recording.end])
    return path


def run(program: str, *arguments: str) -> bytes:
    """Standard output; a word of complaint fails the test."""
    found = shutil.which(program)
    assert found, f"{program} is needed (tests/needs.sh)"
    done = subprocess.run([found, *arguments], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout


def probe(path: Path) -> dict[str, str]:
    entries = "stream=codec_name,profile,start_time,duration,nb_frames:format=start_time,duration"
    shown = json.loads(run("ffprobe", "-v", "warning", "-show_entries", entries, "-of", "json", str(path)))
    stream: dict[str, str] = shown["streams"][0]
    return stream


def decode(path: Path, *seek: str) -> Pcm:
    return np.frombuffer(run("ffmpeg", "-v", "warning", *seek, "-i", str(path), "-f", "f32le", "-"), np.float32)


def test_its_duration_is_exact_to_the_frame(recording: Recording, m4a: Path) -> None:
    seconds = (END - START) * FRAME_SAMPLES / SAMPLE_RATE
    shown = probe(m4a)
    assert recording.duration_s == pytest.approx(seconds, abs=1e-9)
    assert float(shown["duration"]) == pytest.approx(seconds, abs=1e-6)
    assert (shown["codec_name"], shown["profile"], float(shown["start_time"])) == ("aac", "LC", 0.0)


def packets_heard() -> int:
    """Packets that sound in the talk: not every player heeds the end of an edit list, so no other may be named."""
    return -(-END * FRAME_SAMPLES // AAC.packet_samples) - START * FRAME_SAMPLES // AAC.packet_samples


def test_it_names_the_packets_that_sound_and_the_one_before_them(recording: Recording, m4a: Path) -> None:
    assert (recording.first, recording.last) == (5, 18)
    assert int(probe(m4a)["nb_frames"]) == packets_heard() + 1


def test_it_begins_with_the_first_sample_on_air_already_decoded_right(m4a: Path) -> None:
    heard, wanted = decode(m4a), sweep()[START * FRAME_SAMPLES : END * FRAME_SAMPLES]
    assert 0 <= len(heard) - len(wanted) < AAC.packet_samples  # ffmpeg 5 ends with the packet
    assert float(np.abs(heard[: len(wanted)] - wanted).max()) < 0.01


@pytest.mark.parametrize("seconds", ["0.02", "3", "7.5"])
def test_a_seek_lands_on_its_sample(m4a: Path, seconds: str) -> None:
    heard = decode(m4a, "-ss", seconds)
    start = START * FRAME_SAMPLES + round(float(seconds) * SAMPLE_RATE)
    wanted = sweep()[start : END * FRAME_SAMPLES]
    settled = AAC.packet_samples
    assert float(np.abs(heard[settled : len(wanted)] - wanted[settled:]).max()) < 0.01


def test_mpv_plays_it_and_seeks_without_complaint(m4a: Path) -> None:
    quiet = ["--no-config", "--ao=null", "--ao-null-untimed", "--untimed", "--msg-level=all=warn"]
    assert run("mpv", *quiet, "--start=6", str(m4a)) == b""


def test_the_facts_beside_it_say_how_to_put_it_together(programme: Path, recording: Recording) -> None:
    facts = json.loads((programme / "aac" / "recording.json").read_bytes())
    assert facts == {
        "v": 1,
        "head_bytes": (programme / "aac" / "recording.head").stat().st_size,
        "start": recording.start,
        "end": recording.end,
        "duration_s": recording.duration_s,
        "first": recording.first,
        "last": recording.last,
    }


def test_without_frames_it_is_whole_fragments(tmp_path: Path, packets: list[bytes]) -> None:
    write_log(tmp_path / "floor", range(FRAGMENTS), packets)
    recording = write_recording(tmp_path / "floor", None, None)
    assert recording is not None
    assert recording.duration_s == pytest.approx(14 * 0.64)


def test_a_hole_in_the_log_keeps_its_time_in_the_recording(tmp_path: Path, packets: list[bytes]) -> None:
    write_log(tmp_path / "floor", [n for n in range(FRAGMENTS) if n not in (9, 10)], packets)
    recording = write_recording(tmp_path / "floor", START, END)
    assert recording is not None
    path = assemble(tmp_path / "floor", recording)
    assert float(probe(path)["duration"]) == pytest.approx((END - START) * FRAME_SAMPLES / SAMPLE_RATE, abs=1e-6)
    behind = 12 * FRAGMENT_SAMPLES - START * FRAME_SAMPLES
    heard = decode(path, "-ss", f"{behind / SAMPLE_RATE}")
    wanted = sweep()[12 * FRAGMENT_SAMPLES : END * FRAME_SAMPLES]
    assert float(np.abs(heard[2048 : len(wanted)] - wanted[2048:]).max()) < 0.01


def test_a_talk_from_the_very_first_fragment_has_no_packet_before_it(tmp_path: Path, packets: list[bytes]) -> None:
    write_log(tmp_path / "floor", range(5, FRAGMENTS), packets)
    start = 5 * FRAGMENT_FRAMES
    recording = write_recording(tmp_path / "floor", start, END)
    assert recording is not None
    path = assemble(tmp_path / "floor", recording)
    first = start * FRAME_SAMPLES // AAC.packet_samples
    assert int(probe(path)["nb_frames"]) == -(-END * FRAME_SAMPLES // AAC.packet_samples) - first
    heard = decode(path)
    wanted = sweep()[start * FRAME_SAMPLES : END * FRAME_SAMPLES]
    assert float(np.abs(heard[2048 : len(wanted)] - wanted[2048:]).max()) < 0.01


def test_a_programme_that_was_never_on_air_has_no_recording(tmp_path: Path, packets: list[bytes]) -> None:
    write_log(tmp_path / "floor", range(4), packets)
    assert write_recording(tmp_path / "floor", None, None) is None
    assert not (tmp_path / "floor" / "aac" / "recording.head").exists()
