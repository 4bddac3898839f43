"""Our boxes around real packets, decoded by programs that nobody here wrote: libav through PyAV, ffmpeg, mpv."""

import io
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from rostra.kernel.units import FRAGMENT_SAMPLES
from rostra.media.codec import CODECS, Codec
from rostra.media.fragment import emsg, fragment, init_segment
from support.encode import encode, tone

FIRST = 1000
HALF = 4

Pcm = npt.NDArray[np.float32]


def session(codec: Codec, first: int, count: int) -> list[bytes]:
    """`count` fragments of one encoder session, from fragment `first` on."""
    packets = encode(codec, tone((count + 1) * FRAGMENT_SAMPLES, start=first * FRAGMENT_SAMPLES))
    per = codec.packets_per_fragment
    return [
        fragment(
            codec,
            first + at,
            packets[at * per : (at + 1) * per],
            1_800_000_000_000_000_000 + (first + at) * 640_000_000,
            [emsg((first + at) * FRAGMENT_SAMPLES, at, "urn:rostra:notice:1", b'{"type":"state"}')],
        )
        for at in range(count)
    ]


@pytest.fixture(scope="module", params=CODECS, ids=lambda codec: codec.name)
def spliced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two encoder sessions on one timeline, as a writer that was restarted leaves them."""
    codec: Codec = request.param
    path = tmp_path_factory.mktemp("spliced") / f"{codec.name}.mp4"
    path.write_bytes(
        init_segment(codec) + b"".join(session(codec, FIRST, HALF)) + b"".join(session(codec, FIRST + HALF, HALF))
    )
    return path


def decode(path: Path) -> Pcm:
    """What ffmpeg hears; a warning fails the test."""
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg, "ffmpeg is needed (tests/needs.sh)"
    command = [ffmpeg, "-v", "warning", "-i", str(path), "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return np.frombuffer(done.stdout, np.float32)


def wrong(heard: Pcm, wanted: Pcm) -> float:
    return float(np.abs(heard - wanted).max())


def test_two_sessions_decode_without_a_warning_to_exactly_their_samples(spliced: Path) -> None:
    assert len(decode(spliced)) == 2 * HALF * FRAGMENT_SAMPLES


def test_every_sample_is_where_the_grid_says(spliced: Path) -> None:
    """A codec settles within two packets of where its session begins; everywhere else the sine is in phase."""
    heard = decode(spliced)
    wanted = tone(len(heard), start=FIRST * FRAGMENT_SAMPLES)
    settled, half = 2048, HALF * FRAGMENT_SAMPLES
    assert wrong(heard[settled:half], wanted[settled:half]) < 0.05
    assert wrong(heard[half + settled :], wanted[half + settled :]) < 0.05


def test_libav_sees_the_timeline_begin_at_the_first_tfdt(spliced: Path) -> None:
    with av.open(str(spliced)) as container:
        assert container.streams.audio[0].start_time == FIRST * FRAGMENT_SAMPLES
        packets = [packet for packet in container.demux() if packet.size]
    durations = {packet.duration for packet in packets}
    assert len(durations) == 1
    times = [packet.pts for packet in packets]
    assert times == list(range(FIRST * FRAGMENT_SAMPLES, (FIRST + 2 * HALF) * FRAGMENT_SAMPLES, durations.pop()))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_a_listener_may_join_at_any_fragment_and_a_repeated_init_segment_is_harmless(codec: Codec) -> None:
    made = session(codec, FIRST, HALF)
    stream = init_segment(codec) + made[1] + init_segment(codec) + made[2] + made[3]
    with av.open(io.BytesIO(stream), format="mp4") as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples == 3 * FRAGMENT_SAMPLES


def test_mpv_plays_it_without_complaint(spliced: Path) -> None:
    mpv = shutil.which("mpv")
    assert mpv, "mpv is needed (tests/needs.sh)"
    command = [mpv, "--no-config", "--ao=null", "--ao-null-untimed", "--untimed", "--msg-level=all=warn", str(spliced)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (0, "", "")
