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
from aiortc.rtp import RtcpPsfbPacket, RtcpReceiverInfo, RtcpRrPacket, RtpPacket

from rostra.stage.io import hooks
from rostra.stage.network import Count, Report


def test_the_libraries_are_those_whose_insides_were_read() -> None:
    assert aiortc.__version__ == "1.16.0"
    assert list(inspect.signature(RTCRtpReceiver._handle_rtp_packet).parameters) == [
        "self",
        "packet",
        "arrival_time_ms",
    ]
    assert "receiver._handle_rtp_packet(packet, arrival_time_ms=" in inspect.getsource(RTCDtlsTransport)
    assert "self.__encoder.pack(data)" in inspect.getsource(RTCRtpSender)
    assert list(inspect.signature(RTCRtpSender._handle_rtcp_packet).parameters) == ["self", "packet"]
    assert "self.__lsr_time = time.time()" in inspect.getsource(RTCRtpSender)
    assert "recipient._handle_rtcp_packet(packet)" in inspect.getsource(RTCDtlsTransport)
    assert "await receiver._handle_rtp_packet(" in inspect.getsource(RTCDtlsTransport._handle_rtp_data)
    assert "await self._retransmit(seq)" in inspect.getsource(RTCRtpSender)
    assert aioice.__version__ == "0.13.0"
    library = inspect.getsource(aioice.ice)  # the file: the class may have been hooked by an earlier test
    assert "self.receiver.data_received(" in library
    assert "self.receiver.request_received(" in library
    assert "self._early_checks.append((message, addr, protocol))" in library
    assert "self.check_incoming(message, addr, protocol)" in library
    gathering = inspect.getsource(aioice.ice.Connection.gather_candidates)
    assert "get_host_addresses(" in gathering
    assert "self.get_component_candidates(component=component, addresses=addresses)" in gathering
    making = inspect.getsource(aioice.ice.Connection.get_component_candidates)
    assert "self._protocols += host_protocols" in making
    assert "protocol.local_candidate = Candidate(" in making
    assert inspect.getsource(aioice.ice.StunProtocol).count("transport.sendto(") == 2, "send_data and send_stun"
    assert list(inspect.signature(aioice.ice.StunProtocol.send_stun).parameters) == ["self", "message", "addr"]
    checking = inspect.getsource(aioice.ice.Connection.check_start)
    assert checking.count("pair.protocol.request(") == 2
    assert "if addr != pair.remote_addr:" in checking
    assert "asyncio.create_task(self.query_consent())" in inspect.getsource(aioice.ice.Connection.connect)


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


def test_what_came_of_the_newest_stream_is_told() -> None:
    async def scene() -> None:
        peer = RTCPeerConnection()
        receiver = peer.addTransceiver("audio").receiver
        hooks.take_rtp(receiver, 111, lambda _: None)
        assert hooks.counted(receiver) is None
        for ssrc, sequence in ((7, 1), (8, 65_534), (8, 1), (8, 2)):
            packet = RtpPacket(payload_type=111, sequence_number=sequence, timestamp=sequence * 960, ssrc=ssrc)
            await receiver._handle_rtp_packet(packet, arrival_time_ms=0)
        counted = hooks.counted(receiver)
        assert counted is not None
        count, jitter_ms = counted
        assert count == Count(expected=5, received=3)
        assert jitter_ms >= 0
        await peer.close()

    asyncio.run(scene())


def test_receiver_reports_about_our_stream_are_taken_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> list[Report]:
        peer = RTCPeerConnection()
        sender = peer.addTransceiver("audio").sender
        taken: list[Report] = []
        hooks.take_reports(sender, taken.append)
        monkeypatch.setattr(hooks.time, "time", lambda: 1000.25)
        private = vars(sender)
        private["_RTCRtpSender__lsr"], private["_RTCRtpSender__lsr_time"] = 77, 1000.0

        def report(ssrc: int, lsr: int, dlsr: int) -> RtcpReceiverInfo:
            return RtcpReceiverInfo(ssrc, 64, packets_lost=9, highest_sequence=1, jitter=0, lsr=lsr, dlsr=dlsr)

        for ssrc, lsr, dlsr in ((sender._ssrc, 77, 6554), (sender._ssrc, 76, 6554), (sender._ssrc ^ 1, 77, 6554)):
            await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[report(ssrc, lsr, dlsr)]))
        await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[report(sender._ssrc, 77, 655_360)]))
        await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=sender._ssrc))
        await peer.close()
        return taken

    lies, unknown, known = sorted(asyncio.run(scene()), key=lambda report: (report.rtt_ms or 0, report.rtt_ms is None))
    assert known.rtt_ms == pytest.approx(150, abs=0.1)
    assert {report.loss for report in (lies, unknown, known)} == {0.25}
    assert (lies.rtt_ms, unknown.rtt_ms) == (0.0, None)


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


def test_who_only_sends_is_not_asked_for_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0)

    async def scene() -> None:
        peer = RTCPeerConnection()
        receiver = peer.addTransceiver("audio").receiver
        hooks.trust_hearing(receiver)
        await receiver.transport.transport._connection.query_consent()  # aioice's own would go on until it is refused
        await peer.close()

    asyncio.run(asyncio.wait_for(scene(), 20))
