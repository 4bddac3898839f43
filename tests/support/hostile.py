"""Peers of a stage in this process, on a loop of their own: one that talks, and one that sends whatever it is told."""

import asyncio
import contextlib
import random
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, TypeVar

import av
import numpy as np
import pylibsrtp
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from rostra.kernel.units import SAMPLE_RATE
from rostra.stage.io import hooks

T = TypeVar("T")
TONE_HZ = 440


class Tone(MediaStreamTrack):
    """A sine, 20 ms a frame, paced as aiortc paces silence."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._pace = AudioStreamTrack()
        self._at = 0

    async def recv(self) -> av.AudioFrame:
        await self._pace.recv()
        at = np.arange(self._at, self._at + 960)
        pcm = (8000 * np.sin(2 * np.pi * TONE_HZ * at / SAMPLE_RATE)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._at, Fraction(1, SAMPLE_RATE)
        self._at += 960
        return frame


class Peer:
    """One WebRTC peer, connected. Every method may be called from the test's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.connection: RTCPeerConnection

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def connect(self, offer: Callable[[str], str]) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTrack(Tone())
        await self.connection.setLocalDescription(await self.connection.createOffer())
        answer = await asyncio.to_thread(offer, self.connection.localDescription.sdp)
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    @property
    def dtls(self) -> Any:
        return self.connection.getTransceivers()[0].receiver.transport

    @property
    def stage_address(self) -> tuple[str, int]:
        """Where the stage listens for this peer."""
        (pair,) = self.dtls.transport._connection._nominated.values()
        return (pair.remote_addr[0], pair.remote_addr[1])

    @property
    def ssrc(self) -> int:
        return int(self.connection.getSenders()[0]._ssrc)

    @property
    def return_ssrc(self) -> int:
        """The stage's own stream to this peer."""
        return next(iter(self.connection.getReceivers()[0]._RTCRtpReceiver__remote_streams), 1)  # type: ignore[attr-defined]

    async def send(self, packets: list[bytes], *, per_s: int = 0) -> None:
        """Send RTP and RTCP as they are, protected by SRTP; what libsrtp itself will not protect is left out."""
        for number, packet in enumerate(packets):
            with contextlib.suppress(pylibsrtp.Error, ConnectionError, ValueError):
                await self.dtls._send_rtp(packet)
            if per_s and number % 50 == 49:
                await asyncio.sleep(50 / per_s)

    async def send_raw(self, datagrams: list[bytes]) -> None:
        """Send datagrams without SRTP, from the very address that ICE has chosen."""
        for number, datagram in enumerate(datagrams):
            with contextlib.suppress(ConnectionError):
                await self.dtls.transport._send(datagram)
            if number % 20 == 19:
                await asyncio.sleep(0.01)


@contextmanager
def peers() -> Iterator[Callable[[Callable[[str], str]], Peer]]:
    """Makes peers from whatever answers an offer; all are closed at the end."""
    hooks.offer_loopback()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made: list[Peer] = []

    def connect(offer: Callable[[str], str]) -> Peer:
        made.append(Peer(loop))
        made[-1].run(made[-1].connect(offer))
        return made[-1]

    async def close() -> None:
        for peer in made:
            await hooks.abandon(peer.connection)  # whatever state it is in
            with contextlib.suppress(Exception):
                await asyncio.wait_for(peer.connection.close(), 5)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # type: ignore[arg-type]
            task.cancel()

    try:
        yield connect
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def rtp(ssrc: int, sequence: int, timestamp: int, payload: bytes, *, kind: int = 96, first: int = 0x80) -> bytes:
    return struct.pack("!BBHII", first, kind, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, ssrc) + payload


def rtcp(kind: int, count: int, body: bytes, *, words: int | None = None) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4 if words is None else words) + body


def extension(profile: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    return struct.pack("!HH", profile, len(padded) // 4) + padded


def bad_media(chance: random.Random, ssrc: int, kind: int) -> list[bytes]:
    """RTP that is authentic and wrong: extensions, padding, payloads, types, sequence and time."""
    made = []
    for number in range(400):
        sequence, timestamp, payload = chance.getrandbits(16), chance.getrandbits(32), chance.randbytes(60)
        odd = bytes([chance.randrange(1, 15) << 4 | chance.randrange(16)]) + chance.randbytes(chance.randrange(17))
        made += [
            rtp(ssrc, number, timestamp, chance.randbytes(chance.randrange(1200)), kind=kind),
            rtp(ssrc, sequence, number * 960, bytes([chance.randrange(32) << 3 | 3, 48]) + payload, kind=kind),
            rtp(ssrc, number, number * 5760, bytes([0xF9 if number % 2 else 0x19]) + payload, kind=kind),
            rtp(ssrc, number, number * 960, b"", kind=kind),
            rtp(ssrc, number, (number % 2) * 0xFFFF_FFFF, b"\x78" + payload, kind=kind),
            rtp(ssrc, number, number * 960, payload, kind=chance.randrange(35, 64)),
            rtp(ssrc, number, number * 960, extension(0xBEDE, odd) + payload, kind=kind, first=0x90),
            rtp(ssrc, number, number * 960, extension(0x1000, odd + odd) + payload, kind=kind, first=0x90),
            rtp(ssrc, number, number * 960, payload + bytes([chance.randrange(256)]), kind=kind, first=0xA0),
            rtp(ssrc, number, number * 960, chance.randbytes(4 * 15) + payload, kind=kind, first=0x8F),
        ]
    return made


def bad_reports(chance: random.Random, own: int, theirs: int) -> list[bytes]:
    """RTCP that is authentic and wrong."""
    made = []
    both = struct.pack("!II", own, theirs)
    for _ in range(60):
        made += [
            rtcp(
                206, 15, struct.pack("!II", own, 0) + b"REMB" + bytes([255, 3, 255, 255])
            ),  # 255 SSRCs, and none is there
            rtcp(206, 1, both),
            rtcp(205, 1, both + chance.randbytes(1200)),  # thousands of packets to be sent again
            rtcp(205, 15, both + chance.randbytes(40)),  # transport-wide feedback
            rtcp(203, 31, chance.randbytes(124)),
            rtcp(203, 1, struct.pack("!I", own)),  # goodbye
            rtcp(202, 31, struct.pack("!I", own) + chance.randbytes(1000)),
            rtcp(202, 1, struct.pack("!I", own) + bytes([1, 255]) + chance.randbytes(254)),
            rtcp(200, 0, struct.pack("!IQ", own, 0xFFFF_FFFF_FFFF_FFFF) + bytes(12)),
            rtcp(200, 31, chance.randbytes(24)),
            rtcp(201, 1, struct.pack("!II", own, theirs) + chance.randbytes(20)),
            rtcp(204, 0, struct.pack("!I", own) + chance.randbytes(64)),
            rtcp(201, 0, struct.pack("!I", own), words=0xFFFF),
            rtcp(chance.randrange(192, 209), chance.randrange(32), chance.randbytes(4 * chance.randrange(1, 300))),
            rtcp(201, 0, struct.pack("!I", own)) * 100,
        ]
    return made


def bad_datagrams(chance: random.Random) -> list[bytes]:
    """What a stranger may send to an open port."""
    cookie = struct.pack("!I", 0x2112_A442)
    made = [b"", b"\x00", b"\x80", b"\x16", bytes(20)]
    for _ in range(60):
        short = struct.pack("!HH", chance.choice([0x8028, 0x24, 0x8029, 6, 8, 0x20, 9]), 2) + chance.randbytes(4)
        made += [
            b"",
            bytes([128, 111]) + chance.randbytes(3000),  # longer than libsrtp's buffer
            bytes([128, 201]) + chance.randbytes(3000),
            bytes([chance.randrange(128, 192)]) + chance.randbytes(chance.randrange(200)),
            bytes([chance.randrange(20, 64)]) + b"\xfe\xfd" + chance.randbytes(chance.randrange(1400)),
            bytes([21, 0xFE, 0xFD]) + bytes(8) + b"\x00\x02\x02\x28",  # an alert that would end a handshake
            struct.pack("!HH", 1, len(short)) + cookie + chance.randbytes(12) + short,
            struct.pack("!HH", 1, 0) + cookie + chance.randbytes(12),
            struct.pack("!HH", 0x101, 65_000) + cookie + chance.randbytes(40),
            chance.randbytes(chance.randrange(1400)),
        ]
    return made
