"""One function a parser: bytes in, and out comes nothing, an error that the parser may raise, or a finding.

Each says what must hold beside not raising: sums that add up, bounds that hold.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from aioice import stun
from aiortc import RTCPeerConnection
from aiortc.rtp import HeaderExtensionsMap, RtcpPacket, RtpPacket

from rostra.audience import http
from rostra.ear.http import Response
from rostra.ear.parse import Boxes, Track
from rostra.kernel.errors import OperatorError, PeerError, RostraError
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES
from rostra.media import boxes
from rostra.space import commands, roster
from rostra.stage import negotiation
from rostra.stage.budget import Dropped, Gate
from rostra.stage.io import hooks
from rostra.stage.io.playout import Playout
from rostra.stage.jitter import Packet

_PROVED: Final = negotiation.Offer("", 111, "0", "ufrag", hears=True, refused=())


def offer(data: bytes) -> None:
    """An offer, and the trickle fragment that may follow it."""
    text = data.decode(errors="replace")
    with suppress(PeerError):
        found = negotiation.read_offer(text)
        assert found.mid
        assert found.ufrag
        assert found.sdp.count("\nm=") == 1
        assert found.sdp.count("a=candidate:") <= negotiation.CANDIDATES_MAX


def fragment(data: bytes) -> None:
    with suppress(PeerError):
        candidates = negotiation.read_fragment(data.decode(errors="replace"), _PROVED)
        assert all(negotiation.usable(candidate, loopback=False) for candidate in candidates)


def playout(data: bytes) -> None:
    """RTP, packet by packet, into the jitter buffer and the decoder. A packet is five header bytes and its payload:
    sequence step, timestamp step in 2.5 ms, ticks to let pass, stream, length."""
    playing, now_ns, sequence, timestamp, at = Playout(), 0, 0, 0, 0
    for _ in range(64):
        if at + 5 > len(data):
            break
        step, jump, ticks, ssrc, size = struct.unpack_from("bbBBB", data, at)
        payload, at = data[at + 5 : at + 5 + size], at + 5 + size
        sequence, timestamp = sequence + step, timestamp + jump * (120 if ssrc & 4 else 1 << 25)
        playing.put(Packet(ssrc & 3, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, payload), now_ns)
        for _ in range(ticks % 8):
            now_ns += FRAME_NS
            frame = playing.frame(now_ns)
            assert frame.shape == (FRAME_SAMPLES,)
            assert np.isfinite(frame).all()


def media(data: bytes) -> None:
    """Authentic RTP or RTCP into aiortc's own parsers as `hooks.guard` contains them: nothing may come out."""
    faults = _Contained.run(data)
    assert faults <= 1


class _Contained:
    """aiortc's parsers behind `hooks`' containment, without a connection around them."""

    extensions = HeaderExtensionsMap()

    @classmethod
    async def _parse(cls, data: bytes, **_: Any) -> None:
        if len(data) > 1 and 192 <= data[1] <= 208:
            RtcpPacket.parse(data)
        else:
            RtpPacket.parse(data, cls.extensions)

    @classmethod
    def run(cls, data: bytes) -> int:
        gate = Gate()
        work = hooks._contained(cls._parse, gate, lambda: 1)(data)
        with suppress(StopIteration):
            work.send(None)
        return gate.dropped.malformed


def _extensions() -> None:
    every = enumerate(
        (
            "urn:ietf:params:rtp-hdrext:sdes:mid",
            "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            "urn:ietf:params:rtp-hdrext:toffset",
            "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        ),
        1,
    )
    named = [SimpleNamespace(id=number, uri=uri) for number, uri in every]
    _Contained.extensions.configure(SimpleNamespace(headerExtensions=named))


_extensions()


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut into pieces, each with its length (two bytes) before it."""
    at = 0
    while at + 2 <= len(data):
        (size,) = struct.unpack_from(">H", data, at)
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def datagrams(data: bytes) -> None:
    """Datagrams from a stranger and from the peer, through the gate to aioice's parser."""
    gate, read = Gate(), 0
    gate.know(("192.0.2.1", 1))
    for number, piece in enumerate(_pieces(data)):
        admitted = gate.admits(piece, ("192.0.2.1", number % 2), number * 1_000_000)
        read += admitted
        if admitted:
            with suppress(ValueError, struct.error):  # what `hooks.guard` contains
                stun.parse_message(piece)
    counted = sum(getattr(gate.dropped, name) for name in Dropped.__slots__)
    assert read + counted == len(list(_pieces(data)))


def command(data: bytes) -> None:
    """Messages on a command socket, and the answers that a caller may get."""
    with suppress(PeerError):
        for message in commands.Decoder().feed(data):
            with suppress(RostraError):
                commands.result(message)
            request = commands.decode_request(message)
            assert isinstance(request.verb, str)
            assert commands.encode_error(request.id, PeerError("a.b", "c"))


def seats(data: bytes) -> None:
    with suppress(OperatorError):
        found = roster.decode(data)
        assert roster.decode(roster.encode(found)) == found


def request(data: bytes) -> None:
    """Requests of listeners, whole and in pieces: the same come out."""
    whole = _requests([data])
    assert not any(isinstance(one, http.Refused) for one in whole[:-1])
    for one in whole:
        if isinstance(one, http.Request):
            http.route(one)
            http.wanted_range(one, 1000, '"x"')
            http.unchanged(one, '"x"')


def _requests(pieces: list[bytes]) -> list[http.Request | http.Refused]:
    parser, found = http.Parser(), list[http.Request | http.Refused]()
    for piece in pieces:
        if not (found and isinstance(found[-1], http.Refused)):
            found += parser.feed(piece)
    return found


def answer(data: bytes) -> None:
    """An HTTP answer, as the ear reads it."""
    with suppress(PeerError):
        response = Response()
        body = response.feed(data)
        assert len(body) <= len(data)
        response.close()


def stream(data: bytes) -> None:
    """CMAF, as the ear reads it."""
    track = Track()
    with suppress(PeerError):
        for box in Boxes().feed(data):
            track.feed(box)


def walk(data: bytes) -> None:
    """Boxes, as those who write them walk them."""
    with suppress(ValueError):
        end = 0
        for _, body, after in boxes.walk(data):
            assert end < body <= after <= len(data)
            end = after
        boxes.find(data, (b"moof", b"traf", b"trun"))


def description(data: bytes) -> None:
    """An offer that `negotiation` lets through, into aiortc's own parser: `session` turns whatever it raises into a
    refusal, and it must come back."""
    with suppress(PeerError):
        found = negotiation.read_offer(data.decode(errors="replace"))
        with suppress(Exception):
            asyncio.run(_remote(found.sdp))


async def _remote(sdp: str) -> None:
    from aiortc import RTCConfiguration, RTCSessionDescription

    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        await asyncio.wait_for(peer.setRemoteDescription(RTCSessionDescription(sdp, "offer")), 5)
    finally:
        await peer.close()


HARNESSES: Final[dict[str, Callable[[bytes], None]]] = {
    harness.__name__: harness
    for harness in (
        offer,
        fragment,
        description,
        playout,
        media,
        datagrams,
        command,
        seats,
        request,
        answer,
        stream,
        walk,
    )
}
