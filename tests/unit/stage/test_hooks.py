"""The private places of aiortc and aioice: when one of these fails, read what the library changed, then pin anew."""

import asyncio
import inspect

import aioice
import aioice.ice
import aiortc
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket

from rostra.stage.io import hooks


def test_the_libraries_are_those_whose_insides_were_read() -> None:
    assert aiortc.__version__ == "1.16.0"
    assert list(inspect.signature(RTCRtpReceiver._handle_rtp_packet).parameters) == [
        "self",
        "packet",
        "arrival_time_ms",
    ]
    assert "receiver._handle_rtp_packet(packet, arrival_time_ms=" in inspect.getsource(RTCDtlsTransport)
    assert "self.__encoder.pack(data)" in inspect.getsource(RTCRtpSender)
    library = inspect.getsource(aioice.ice)  # the file: the class may have been hooked by an earlier test
    assert "self.receiver.data_received(" in library
    assert "self.receiver.request_received(" in library
    assert "self._early_checks.append((message, addr, protocol))" in library
    assert "self.check_incoming(message, addr, protocol)" in library
    assert "await receiver._handle_rtp_packet(" in inspect.getsource(RTCDtlsTransport._handle_rtp_data)
    assert "await self._retransmit(seq)" in inspect.getsource(RTCRtpSender)
    assert "get_host_addresses(" in inspect.getsource(aioice.ice.Connection.gather_candidates)


def test_rtp_of_the_negotiated_type_is_taken_and_still_counted() -> None:
    async def scene() -> tuple[list[int], dict[int, StreamStatistics]]:
        peer = RTCPeerConnection()
        receiver = peer.addTransceiver("audio").receiver
        taken: list[int] = []
        hooks.take_rtp(receiver, 111, lambda packet: taken.append(packet.sequence_number))
        for sequence, payload_type in ((1, 111), (2, 111), (3, 0), (5, 111)):
            packet = RtpPacket(payload_type=payload_type, sequence_number=sequence, timestamp=sequence * 960, ssrc=7)
            await receiver._handle_rtp_packet(packet, arrival_time_ms=0)
        streams = vars(receiver)["_RTCRtpReceiver__remote_streams"].copy()
        for ssrc in range(100, 120):
            await receiver._handle_rtp_packet(RtpPacket(payload_type=111, ssrc=ssrc), arrival_time_ms=0)
        assert len(vars(receiver)["_RTCRtpReceiver__remote_streams"]) == 8
        await peer.close()
        return taken, streams

    taken, streams = asyncio.run(scene())
    assert taken[:3] == [1, 2, 5]
    assert (streams[7].packets_received, streams[7].packets_lost) == (3, 2)


def test_loopback_is_offered_once_beside_the_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return ["192.0.2.1"] * use_ipv4 + ["2001:db8::1"] * use_ipv6

    monkeypatch.setattr(aioice.ice, "get_host_addresses", found)
    hooks.offer_loopback()
    hooks.offer_loopback()
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == ["192.0.2.1", "2001:db8::1", "127.0.0.1"]
    assert aioice.ice.get_host_addresses(use_ipv4=False, use_ipv6=True) == ["2001:db8::1"]


def test_every_datagram_and_every_check_is_noticed() -> None:
    async def scene() -> int:
        peer = RTCPeerConnection()
        receiver = peer.addTransceiver("audio").receiver
        heard: list[None] = []
        hooks.watch(receiver, lambda: heard.append(None))
        connection = receiver.transport.transport._connection
        connection.data_received(b"x", 1)
        await peer.close()
        connection.request_received(object(), ("192.0.2.7", 1), object())  # closed: noticed, and nothing else
        return len(heard)

    assert asyncio.run(scene()) == 2
