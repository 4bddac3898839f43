"""One WebRTC connection of one seat: aiortc's transport and negotiation, our audio either way."""

import asyncio
import contextlib
import time
from collections import deque
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
from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.space.grants import Role
from rostra.stage import negotiation
from rostra.stage.io import hooks
from rostra.stage.io.playout import Playout
from rostra.stage.jitter import Packet
from rostra.stage.negotiation import Offer
from rostra.stage.network import Count, Network, Observed, Report
from rostra.stage.rate import Plan, Rate

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
        self._packets: deque[av.Packet[Stream]] = deque(maxlen=QUEUE_FRAMES)
        self._home = asyncio.get_running_loop()
        self._wanted: asyncio.Future[None] | None = None  # a Queue costs more than sealing and sending the packet

    def push(self, payload: bytes, frame: int) -> None:
        packet = av.Packet(payload)
        packet.pts = frame * FRAME_SAMPLES
        packet.time_base = _TIME_BASE
        self._packets.append(packet)
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    async def recv(self) -> "av.Packet[Stream]":
        while not self._packets:
            self._wanted = self._home.create_future()
            await self._wanted
        return self._packets.popleft()


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
        self.made_ns = self.heard_ns = time.monotonic_ns()
        self.connected = False
        self.gone = False
        self._offer = offer
        self._changed = changed
        self._trickled = 0
        self._track = ReturnTrack()
        self._rate = Rate()
        self._observed = Observed()
        self._jitter_ms: float | None = None
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
        if self._offer.hears:
            hooks.watch(receiver, self._heard)
            (sender,) = self._peer.getSenders()
            hooks.take_reports(sender, self._reported)
        else:
            hooks.trust_hearing(receiver)
        self._peer.on("connectionstatechange", self._moved)

    def _moved(self) -> None:
        state = self._peer.connectionState
        self.connected = state == "connected"
        if state == "failed":
            (receiver,) = self._peer.getReceivers()
            cause = "dtls" if receiver.transport.state == "failed" else "ice"
            log.warning("session_failed", session=self.id, seat=self.seat, cause=cause)
        self.gone = self.gone or state in ("failed", "closed")
        if self.connected or self.gone:
            self._changed(self)

    def _heard(self) -> None:
        self.heard_ns = time.monotonic_ns()

    def _receive(self, packet: RtpPacket) -> None:
        now_ns = self.heard_ns = time.monotonic_ns()
        self.playout.put(Packet(packet.ssrc, packet.sequence_number, packet.timestamp, packet.payload), now_ns)

    def _reported(self, report: Report) -> None:
        now_ns = time.monotonic_ns()
        self._observed.report(report, now_ns)
        before = self.plan
        after = self._rate.report(report, now_ns)
        if after != before:
            log.info("rate_changed", session=self.id, seat=self.seat, kbit_s=after.kbit_s, reason=after.reason)

    @property
    def plan(self) -> Plan:
        """How this speaker is sent to."""
        return self._rate.plan

    def observe(self, now_ns: int) -> None:
        """Count what has come; twice a second."""
        (receiver,) = self._peer.getReceivers()
        counted = hooks.counted(receiver)
        if counted is not None:
            count, self._jitter_ms = counted
            self._observed.count(Count(count.expected, count.received, self.playout.tally.late), now_ns)

    def network(self, now_ns: int) -> Network:
        """How well it is connected, over the last seconds."""
        delay_ms: float | None = getattr(self.playout, "delay_ms", None)  # a receive path may know it
        return self._observed.view(now_ns, jitter_ms=self._jitter_ms, delay_ms=delay_ms)

    async def trickle(self, fragment: str) -> None:
        """Take further candidates. Raises PeerError `sdp.*`."""
        for line in negotiation.read_fragment(fragment, self._offer):
            self._trickled += 1
            if self._trickled > TRICKLED_MAX:
                raise PeerError("sdp.too_large", f"A connection may name {TRICKLED_MAX} further candidates.")
            candidate = candidate_from_sdp(line)
            candidate.sdpMid = self._offer.mid
            await self._peer.addIceCandidate(candidate)

    @property
    def listens(self) -> bool:
        """Whether there is somebody to `send` to."""
        return self._offer.hears and self.connected

    def send(self, payload: bytes, number: int) -> None:
        """Let the speaker hear an encoded frame, under its number on the grid."""
        self._track.push(payload, number)

    async def close(self) -> None:
        """End it, telling the peer if it still listens. Never raises, never hangs."""
        self.connected, self.gone = False, True
        self._peer.remove_all_listeners()
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self._peer.close(), CLOSE_S)
