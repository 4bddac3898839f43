"""One WebRTC connection of one seat: aiortc's transport and negotiation, our audio either way."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Final

import av
import structlog
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.rtp import RtpPacket
from aiortc.sdp import candidate_from_sdp
from av.stream import Stream

from rostra.kernel.errors import PeerError
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.space.grants import Role
from rostra.stage import negotiation
from rostra.stage.budget import Gate
from rostra.stage.io import hooks
from rostra.stage.io.opus import Encoder
from rostra.stage.io.playout import Playout
from rostra.stage.jitter import Packet
from rostra.stage.negotiation import Offer

QUEUE_FRAMES: Final = 5
"""Packets that may wait for aiortc to send them; older ones are dropped, for late sound is worse than none."""

TRICKLED_MAX: Final = 64
CLOSE_S: Final = 3.0
_TIME_BASE: Final = Fraction(1, SAMPLE_RATE)

log = structlog.get_logger()


class ReturnTrack(MediaStreamTrack):
    """What a speaker hears, as packets that aiortc sends as they are."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._packets: asyncio.Queue[av.Packet[Stream]] = asyncio.Queue(QUEUE_FRAMES)

    def push(self, payload: bytes, frame: int) -> None:
        packet = av.Packet(payload)
        packet.pts = frame * FRAME_SAMPLES
        packet.time_base = _TIME_BASE
        if self._packets.full():
            self._packets.get_nowait()
        self._packets.put_nowait(packet)

    async def recv(self) -> "av.Packet[Stream]":
        return await self._packets.get()


class Session:
    """A connection from its offer to its end. `changed` is called when it connects and when it is gone."""

    def __init__(
        self, name: str, seat: str, person: str, role: Role, offer: Offer, changed: Callable[["Session"], None]
    ) -> None:
        self.id = name
        self.seat = seat
        self.person = person
        self.role = role
        self.playout = Playout()
        self.gate = Gate()
        self.made_ns = self.heard_ns = time.monotonic_ns()
        self.connected = False
        self.gone = False
        self._offer = offer
        self._changed = changed
        self._trickled = 0
        self._track = ReturnTrack()
        self._encoder: Encoder | None = Encoder() if offer.hears else None
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # None would mean a public STUN server

    async def answer(self) -> str:
        """Take up the offer. Raises PeerError `sdp.malformed`."""
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(self._offer.sdp, "offer"))
            self._hook()
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:  # aiortc's parser raises whatever its code runs into
            log.info("offer_refused", session=self.id, error=type(error).__name__)
            raise PeerError(
                "sdp.malformed",
                "The session description cannot be used.",
                "Send the offer as the browser's RTCPeerConnection made it.",
            ) from error
        return negotiation.finish_answer(self._peer.localDescription.sdp, self._offer)

    def _hook(self) -> None:
        if self._offer.hears:
            self._peer.addTrack(self._track)
        (receiver,) = self._peer.getReceivers()
        hooks.take_rtp(receiver, self._offer.payload_type, self._receive)
        hooks.watch(receiver, self._heard)
        hooks.guard(self._peer, self.gate, time.monotonic_ns)
        self._peer.on("connectionstatechange", self._moved)

    def _moved(self) -> None:
        state = self._peer.connectionState
        self.connected = state == "connected"
        self.gone = self.gone or state in ("failed", "closed")
        if self.connected or self.gone:
            self._changed(self)

    def _heard(self) -> None:
        self.heard_ns = time.monotonic_ns()

    def _receive(self, packet: RtpPacket) -> None:
        arrived = Packet(packet.ssrc, packet.sequence_number, packet.timestamp, packet.payload)
        self.playout.put(arrived, time.monotonic_ns())

    async def trickle(self, fragment: str) -> None:
        """Take further candidates. Raises PeerError `sdp.*`."""
        for line in negotiation.read_fragment(fragment, self._offer):
            self._trickled += 1
            if self._trickled > TRICKLED_MAX:
                raise PeerError("sdp.too_large", f"A connection may name {TRICKLED_MAX} further candidates.")
            candidate = candidate_from_sdp(line)
            candidate.sdpMid = self._offer.mid
            await self._peer.addIceCandidate(candidate)

    def send(self, frame: Pcm, number: int) -> None:
        """Let the speaker hear `frame`, under its number on the grid."""
        if self._encoder is not None and self.connected:
            self._track.push(self._encoder.encode(frame), number)

    async def close(self) -> None:
        """End it, telling the peer if it still listens. Never raises, never hangs."""
        self.connected, self.gone = False, True
        self._peer.remove_all_listeners()
        try:
            await asyncio.wait_for(self._peer.close(), CLOSE_S)
        except Exception as error:  # whatever state its peer has brought it into
            log.warning("session_abandoned", session=self.id, error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hooks.abandon(self._peer), CLOSE_S)
