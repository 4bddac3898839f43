"""Record `chromium.trace` and `ffmpeg.trace` anew.

    PYTHONPATH=src:tests .venv/bin/python tests/unit/stage/traces/record.py

Half a minute of each, on loopback; for ten seconds in the middle, as many processes as the machine has cores and one
more do nothing but count. What is late then is late for want of a processor, at the sender and at us: what a phone with
too much to do, or a stage on too small a machine, looks like. Wants Chromium and ffmpeg.
"""

import asyncio
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket
from playwright.sync_api import sync_playwright

import rostra.ops
from rostra.stage import negotiation
from rostra.stage.io import hooks
from support.browsers import chromium, program
from unit.stage.traces import recorded

SECONDS = 30
VOICE = Path(rostra.ops.__file__).parent / "voices/ben.ogg"
PAGE = """async () => {
  const context = new AudioContext({sampleRate: 48000}), ear = context.createMediaStreamDestination();
  const voice = context.createOscillator(), breath = context.createOscillator(), gain = context.createGain();
  voice.type = 'sawtooth';
  voice.frequency.value = 130;
  breath.frequency.value = 3;
  breath.connect(gain.gain);
  voice.connect(gain).connect(ear);
  voice.start();
  breath.start();
  window.peer = new RTCPeerConnection();
  peer.addTrack(ear.stream.getTracks()[0], ear.stream);
  await peer.setLocalDescription(await peer.createOffer());
  return peer.localDescription.sdp;
}"""

Packets = list[tuple[int, int, int]]


@contextmanager
def busy(after_s: float, seconds: float) -> Iterator[int]:
    """Counting processes, from `after_s` on. Yields how many."""
    count = (os.cpu_count() or 1) + 1
    code = (
        f"import time; time.sleep({after_s}); end = time.time() + {seconds}\nwhile time.time() < end: sum(range(9999))"
    )
    counting = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield count
    finally:
        for process in counting:
            process.wait()


def ffmpeg() -> Packets:
    """Packets of 60 ms."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    listener.settimeout(5)
    target = f"rtp://127.0.0.1:{listener.getsockname()[1]}"
    codec = ["-c:a", "libopus", "-b:a", "32k", "-frame_duration", "60", "-application", "voip"]
    command = [
        program("ffmpeg"),
        "-v",
        "error",
        "-re",
        "-stream_loop",
        "-1",
        "-i",
        str(VOICE),
        *codec,
        "-f",
        "rtp",
        target,
    ]
    sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    packets, end = [], time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            data, at_ns = listener.recv(2048), time.monotonic_ns()
            packets.append((int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:8], "big"), at_ns))
    finally:
        sender.terminate()
        sender.wait()
        listener.close()
    return packets


class Peer:
    """The other end of Chromium's connection, in a thread of its own."""

    def __init__(self) -> None:
        self.packets: Packets = []
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def answer(self, sdp: str) -> str:
        return asyncio.run_coroutine_threadsafe(self._answer(sdp), self._loop).result(20)

    async def _answer(self, sdp: str) -> str:
        offer = negotiation.read_offer(sdp)
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        await self._peer.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        hooks.take_rtp(self._peer.getReceivers()[0], offer.payload_type, self._take)
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        return negotiation.finish_answer(self._peer.localDescription.sdp, offer)

    def _take(self, packet: RtpPacket) -> None:
        self.packets.append((packet.sequence_number, packet.timestamp, time.monotonic_ns()))

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._peer.close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)


def browser() -> Packets:
    """Packets of 20 ms, over SRTP."""
    hooks.offer_loopback()
    peer = Peer()
    with sync_playwright() as playwright, chromium(playwright) as running:
        page = running.new_page()
        answer = peer.answer(page.evaluate(PAGE))
        page.evaluate("async (sdp) => peer.setRemoteDescription({type: 'answer', sdp})", answer)
        page.wait_for_timeout(SECONDS * 1000)
        peer.close()
    return peer.packets


if __name__ == "__main__":
    for name, samples, run in (("chromium", 960, browser), ("ffmpeg", 2880, ffmpeg)):
        with busy(SECONDS / 3, SECONDS / 3) as count:
            packets = run()
        how = f"{name} to a socket on loopback, {SECONDS} s, {count} processes counting from second 10 to 20\n"
        recorded.save(
            name, samples, packets, how + f"{os.cpu_count()} processors, Linux {platform.release().partition('-')[0]}"
        )
        print(name, len(packets))
