"""Faults of aiortc 1.16 and aioice 0.13 that what strangers and peers send would reach, and that `hooks.guard` keeps.

Each scene first shows the fault in the library, so that it is noticed when a later version has none.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aioice.ice
import pytest
from aioice import stun
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtcpReceiverInfo, RtpPacket

from rostra.stage.budget import Gate
from rostra.stage.io import hooks
from support.hostile import extension, rtcp, rtp

PEER = ("192.0.2.1", 5000)


def scene(act: Callable[[RTCPeerConnection, Gate], Awaitable[None]], *, guarded: bool = True) -> Gate:
    """Run `act` on a peer connection behind its gate."""
    gate = Gate()
    gate.know(PEER)

    async def play() -> None:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.addTransceiver("audio")
        if guarded:
            hooks.guard(peer, gate, lambda: 1)
        try:
            await act(peer, gate)
        finally:
            await peer.close()

    asyncio.run(play())
    return gate


def connection_of(peer: RTCPeerConnection) -> Any:
    return dtls_of(peer).transport._connection


def dtls_of(peer: RTCPeerConnection) -> Any:
    return peer.getTransceivers()[0].receiver.transport


def receive(peer: RTCPeerConnection, data: bytes, source: tuple[str, int] = PEER) -> int:
    """Let a datagram arrive; returns how many wait for DTLS then."""
    protocol = aioice.ice.StunProtocol(connection_of(peer))
    vars(protocol)["local_candidate"] = SimpleNamespace(component=1)
    protocol.datagram_received(data, source)
    return int(connection_of(peer)._queue.qsize())


@pytest.mark.parametrize("data", [b"", bytes([128, 111]) + bytes(3000), bytes([200]) * 100])
def test_a_datagram_that_would_end_the_loop_of_dtls_is_not_passed_on(data: bytes) -> None:
    async def bare(peer: RTCPeerConnection, _: Gate) -> None:
        assert receive(peer, data) == 1

    async def kept(peer: RTCPeerConnection, _: Gate) -> None:
        assert receive(peer, data) == 0

    scene(bare, guarded=False)
    gate = scene(kept)
    assert gate.dropped.oversize + gate.dropped.unknown == 1


def test_a_stun_attribute_of_the_wrong_length_raises_nowhere() -> None:
    short = struct.pack("!HHI", 0x8029, 4, 0)
    data = struct.pack("!HHI", 1, len(short), stun.COOKIE) + bytes(12) + short

    async def bare(peer: RTCPeerConnection, _: Gate) -> None:
        with pytest.raises(struct.error):
            receive(peer, data)

    async def kept(peer: RTCPeerConnection, _: Gate) -> None:
        receive(peer, data)

    scene(bare, guarded=False)
    assert scene(kept).dropped.malformed == 1


def test_what_srtp_has_authenticated_and_cannot_be_parsed_ends_nothing() -> None:
    wrong = rtp(7, 1, 0, extension(0xBEDE, bytes([0x30, 1])) + b"x", first=0x90)
    remb = rtcp(206, 15, struct.pack("!II", 7, 0) + b"REMB" + bytes([255, 3, 255, 255]))

    def handlers(peer: RTCPeerConnection) -> list[Callable[[], Awaitable[None]]]:
        dtls = dtls_of(peer)
        uri = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
        dtls._rtp_header_extensions_map.configure(SimpleNamespace(headerExtensions=[SimpleNamespace(id=3, uri=uri)]))
        return [
            lambda: dtls._handle_rtp_data(wrong, arrival_time_ms=0),
            lambda: dtls._handle_rtcp_data(remb),
        ]

    async def bare(peer: RTCPeerConnection, _: Gate) -> None:
        for handle in handlers(peer):
            with pytest.raises(struct.error):
                await handle()

    async def kept(peer: RTCPeerConnection, _: Gate) -> None:
        for handle in handlers(peer):
            await handle()

    scene(bare, guarded=False)
    assert scene(kept).dropped.malformed == 2


def test_a_nack_has_nothing_sent_again() -> None:
    async def act(peer: RTCPeerConnection, _: Gate) -> None:
        sender: Any = peer.getSenders()[0]
        sent: list[bytes] = []

        async def send(data: bytes) -> None:
            sent.append(data)

        vars(sender.transport)["_send_rtp"] = send
        for number in range(128):
            vars(sender)["_RTCRtpSender__rtp_history"][number] = RtpPacket(sequence_number=number, payload=b"x")
        dtls_of(peer)._rtp_router.senders[sender._ssrc] = sender
        nack = rtcp(205, 1, struct.pack("!II", 7, sender._ssrc) + struct.pack("!HH", 0, 0xFFFF) * 300)
        await dtls_of(peer)._handle_rtcp_data(nack)
        counts.append(len(sent))

    counts: list[int] = []
    scene(act, guarded=False)
    scene(act)
    assert counts == [300 * 17, 0]


def test_what_waits_for_dtls_and_whom_ice_checks_is_bounded() -> None:
    async def act(peer: RTCPeerConnection, gate: Gate) -> None:
        for _ in range(3 * hooks.QUEUED_MAX):
            receive(peer, bytes([22]) + bytes(20), ("192.0.2.1", 5000))
            gate._peer.level = 100  # as if seconds had passed
        connection = connection_of(peer)
        assert connection._queue.qsize() == hooks.QUEUED_MAX

        protocol: Any = SimpleNamespace(local_candidate=SimpleNamespace(component=1, priority=1))
        connection.check_start_task = lambda pair: None
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        connection.check_incoming(request, ("192.0.2.9", 1), protocol)
        assert not connection._remote_candidates, "a check without PRIORITY"
        request.attributes["PRIORITY"] = 1
        for port in range(1, 3 * hooks.REMOTE_MAX):
            connection.check_incoming(request, ("192.0.2.9", port), protocol)
        assert len(connection._remote_candidates) == hooks.REMOTE_MAX
        assert gate.knows(("192.0.2.9", hooks.REMOTE_MAX))

    scene(act)


def test_a_jitter_fits_its_report_whatever_the_timestamps_do() -> None:
    stream = StreamStatistics(48_000)
    for sequence in range(400):
        stream.add(RtpPacket(sequence_number=sequence, timestamp=sequence % 2 * 0xFFFF_FFFF))
        stream._last_arrival = (stream._last_arrival or 0) - sequence % 2 * 10**6  # as if a second had passed
    with pytest.raises(struct.error):
        bytes(RtcpReceiverInfo(1, 0, 0, 0, stream.jitter, 0, 0))
    hooks.bound_jitter(stream)
    assert bytes(RtcpReceiverInfo(1, 0, 0, 0, stream.jitter, 0, 0))


def test_a_connection_whose_close_hangs_leaves_no_socket_behind() -> None:
    async def act(peer: RTCPeerConnection, _: Gate) -> None:
        connection = connection_of(peer)
        await connection.gather_candidates()
        assert connection._protocols
        await hooks.abandon(peer)
        assert not connection._protocols

    hooks.offer_loopback()
    scene(act)
