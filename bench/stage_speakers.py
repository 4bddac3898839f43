"""What a stage costs: CPU of a core and lateness of the tick for some speakers, each hearing the others.

    python bench/stage_speakers.py [SPEAKERS [SECONDS]]

The speakers are aiortc connections of one other process that send packets encoded beforehand; Linux counts the stage's
time (user and system, threads included) from /proc.
"""

import asyncio
import os
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from e2e.stage.process import Stage, running, voice
from rostra.stage.io import hooks
from rostra.stage.io.opus import Encoder


class Track(MediaStreamTrack):
    kind = "audio"

    def __init__(self, packets: list[bytes]) -> None:
        super().__init__()
        self._packets = packets
        self._sent = 0
        self._began = time.monotonic()

    async def recv(self) -> "av.Packet":  # type: ignore[type-arg]  # PyAV's class takes no argument at run time
        await asyncio.sleep(self._began + self._sent * 0.02 - time.monotonic())
        packet = av.Packet(self._packets[self._sent % len(self._packets)])
        packet.pts, packet.time_base = self._sent * 960, Fraction(1, 48_000)
        self._sent += 1
        return packet


async def join(stage: Stage, seat: str, packets: list[bytes]) -> RTCPeerConnection:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(Track(packets))
    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp
    answer = await asyncio.to_thread(stage.call, "offer", seat=seat, name=seat, role="speaker", sdp=offer)
    await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    return peer


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(stage: Stage, speakers: int, seconds: float) -> None:
    encoder, pcm = Encoder(), voice(4, 1)
    packets = [encoder.encode(pcm[at : at + 960]) for at in range(0, len(pcm), 960)]
    peers = [await join(stage, f"seat-{number}", packets) for number in range(speakers)]
    for number in range(speakers):
        while not stage.seat(f"seat-{number}").get("connected"):
            await asyncio.sleep(0.1)
        stage.call("arm", seat=f"seat-{number}")
    await asyncio.sleep(2)
    before, began = cpu_s(stage.process.pid), time.monotonic()
    await asyncio.sleep(seconds)
    used = (cpu_s(stage.process.pid) - before) / (time.monotonic() - began)
    counted = stage.counters()
    print(f"{speakers} speakers: {used:.1%} of a core, tick late p99 {counted['late_ns_p99'] / 1e6:.2f} ms (last 10 s)")
    print(f"  packets {counted['packets']}, lost {counted['lost']}, stretched {counted['stretched']}", end="")
    print(f"; load of the machine {os.getloadavg()[0]:.1f}")
    await asyncio.gather(*(peer.close() for peer in peers))


if __name__ == "__main__":
    hooks.offer_loopback()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    length = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    with tempfile.TemporaryDirectory() as root, running(Path(root)) as started:
        asyncio.run(measure(started, count, length))
