"""What a stage costs: CPU of a core and lateness of the tick for some speakers, each hearing the others.

    python bench/stage_speakers.py [--for SECONDS] [SPEAKERS …]

The speakers are aiortc connections of one other process that send packets encoded beforehand; Linux counts the stage's
time (user and system, threads included) from /proc. All talk without a pause and hear a mix of their own; in the last
row all but three are muted, as on most stages. The floor is libopus alone, in the same run: decoding every speaker and
encoding for every listener.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import floors
import machine
import table

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


@dataclass
class Row:
    """One situation; CPU as a share of a core."""

    name: str
    cpu: float
    floor: float
    late_ms: float
    encoders: int
    lost: int


async def settle(stage: Stage, speakers: int, muted: int) -> None:
    for number in range(speakers):
        while not stage.seat(f"seat-{number}").get("connected"):
            await asyncio.sleep(0.1)
        stage.call("arm", seat=f"seat-{number}")
        stage.call("mute" if number < muted else "unmute", seat=f"seat-{number}")
    await asyncio.sleep(3)


async def measure(stage: Stage, speakers: int, muted: int, seconds: float) -> Row:
    await settle(stage, speakers, muted)
    before, began, lost = cpu_s(stage.process.pid), time.monotonic(), stage.counters()["lost"]
    await asyncio.sleep(seconds)
    used = (cpu_s(stage.process.pid) - before) / (time.monotonic() - began)
    counted = stage.counters()
    name = f"{speakers}" + (f", {muted} of them muted" if muted else "")
    late_ms, lost = counted["late_ns_p99"] / 1e6, counted["lost"] - lost
    return Row(name, used, floors.stage(speakers) / 100, late_ms, counted["encoders"], lost)


async def run(counts: list[int], seconds: float) -> list[Row]:
    encoder, pcm = Encoder(), voice(4, 1)
    packets = [encoder.encode(pcm[at : at + 960]) for at in range(0, len(pcm), 960)]
    rows = []
    with tempfile.TemporaryDirectory() as root, running(Path(root)) as stage:
        peers: list[RTCPeerConnection] = []
        for count in sorted(counts):
            peers += [await join(stage, f"seat-{number}", packets) for number in range(len(peers), count)]
            rows.append(await measure(stage, count, 0, seconds))
        if len(peers) > 3:
            rows.append(await measure(stage, len(peers), len(peers) - 3, seconds))
        await asyncio.gather(*(peer.close() for peer in peers))
    return rows


def report(rows: list[Row]) -> None:
    table.show(
        ("speakers", "CPU, of a core", "floor", "times", "tick late, p99", "encoders", "packets lost"),
        [
            (
                row.name,
                f"{row.cpu:.1%}",
                f"{row.floor:.1%}",
                f"{row.cpu / row.floor:.1f}",
                f"{row.late_ms:.1f} ms",
                str(row.encoders),
                str(row.lost),
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("speakers", type=int, nargs="*", default=[1, 4, 13, 20])
    parser.add_argument(
        "--for", dest="seconds", type=float, default=12.0, help="seconds a row, lateness of the last 10"
    )
    options = parser.parse_args()
    hooks.offer_loopback()
    print(machine.line(), end="\n\n")
    report(asyncio.run(run(options.speakers, options.seconds)))
