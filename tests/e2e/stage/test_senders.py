"""Tools that only send: FFmpeg's WHIP muxer, through the real studio, is heard in the mix."""

import time
from pathlib import Path

from e2e.stage.process import likeness, samples
from rostra.kernel.io import memory
from rostra.kernel.shared.ring import Pcm, Ring
from rostra.kernel.units import FRAME_NS
from rostra.space.io.folder import Folder
from support.ffmpeg_whip import publishing
from support.server import Server, Space, wait_for
from support.voices import read_wav

LATE_FRAMES = 10
WINDOW_S = 3.0


def mixed(space: Space) -> Pcm:
    """What the stage mixes in the next seconds."""
    ring = Ring(memory.attach(Folder(space.server.data, memory.shared_folder(space.server.data), space.id).mix_ring))
    number, frames = time.monotonic_ns() // FRAME_NS, []
    for at in range(number, number + round(WINDOW_S * 50)):
        time.sleep(max(0, (at + LATE_FRAMES) * FRAME_NS - time.monotonic_ns()) / 1e9)
        frames.append(ring.read(at))
    return samples(frames)


def test_ffmpeg_is_heard_whichever_end_begins_the_handshake(
    server: Server, voices: dict[str, Path], tmp_path: Path
) -> None:
    """Its offer is `sendonly`, without candidates, with `a=setup:passive` (or `active`), and it hears nothing."""
    space = server.create(starts_in_s=3000, doors_s=2990)
    wait_for(lambda: space.get("/stage")["connected"], 30, "the stage")
    token = space.links["speaker"].partition("#")[2]
    url = f"http://127.0.0.1:{server.studio_port}/whip/{space.id}"
    a, b = voices["Voice A"], voices["Voice B"]
    with (
        publishing(f"{url}?seat=a&name=Passive", token, a, tmp_path / "a"),
        publishing(f"{url}?seat=b&name=Active", token, b, tmp_path / "b", flags="dtls_active"),
    ):
        space.await_seats("Passive", "Active", timeout_s=40)
        for name, file in (("Passive", a), ("Active", b)):
            said, seat = read_wav(file), space.seats()[name]["id"]
            space.post(f"/seats/{seat}", {"armed": True})
            wait_for(lambda said=said: likeness(mixed(space), said) > 0.85, 40, f"{name} in the mix")  # type: ignore[misc]
            space.post(f"/seats/{seat}", {"armed": False})
        assert not space.seats()["Passive"]["armed"]
