"""The private places of aiortc and aioice that the stage takes hold of: all here, all checked on every use.

aiortc decodes what it receives by itself, and does not survive loss (its issue 543); so RTP is taken from it where a
packet has been decrypted and routed. `tests/unit/stage/test_hooks.py` fails as soon as the pinned version moves.
"""

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aioice.ice
from aioice.candidate import Candidate
from aioice.ice import Connection
from aiortc import RTCRtpReceiver, RTCRtpSender
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import AnyRtcpPacket, RtcpRrPacket, RtcpSrPacket, RtpPacket

from rostra.kernel.units import SAMPLE_RATE
from rostra.stage.network import Count, Report

LOOPBACK: Final = "127.0.0.1"


def counted(receiver: RTCRtpReceiver) -> tuple[Count, float] | None:
    """What came of the newest stream, and its jitter (RFC 3550 section 6.4.1) in ms; None before the first packet."""
    streams: dict[int, StreamStatistics] = vars(receiver)["_RTCRtpReceiver__remote_streams"]
    if not streams:
        return None
    newest = streams[next(reversed(streams))]
    return Count(newest.packets_expected, newest.packets_received), 1000 * newest.jitter / SAMPLE_RATE


def take_reports(sender: RTCRtpSender, sink: Callable[[Report], None]) -> None:
    """Give the receiver reports about `sender`'s stream to `sink`, and take nothing else that RTCP asks for.

    aiortc's own handler keeps statistics that nobody reads, and sends again what a NACK names; none was negotiated.
    """
    assert list(inspect.signature(sender._handle_rtcp_packet).parameters) == ["packet"], "aiortc's sender has changed"
    private = vars(sender)
    assert "_RTCRtpSender__lsr" in private, "aiortc's sender has changed"

    async def take(packet: AnyRtcpPacket) -> None:
        if not isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            return
        for report in packet.reports:
            if report.ssrc != sender._ssrc:
                continue
            rtt_ms = None
            if report.dlsr and report.lsr == private["_RTCRtpSender__lsr"]:
                elapsed_s = time.time() - private["_RTCRtpSender__lsr_time"] - report.dlsr / 65_536
                rtt_ms = max(0.0, 1000 * elapsed_s)
            sink(Report(report.fraction_lost / 256, rtt_ms))

    private["_handle_rtcp_packet"] = take


def take_rtp(receiver: RTCRtpReceiver, payload_type: int, sink: Callable[[RtpPacket], None]) -> None:
    """Give `receiver`'s packets of `payload_type` to `sink`, and to nothing else but its statistics.

    The statistics must go on: receiver reports tell the sender how much is lost, and by that Chromium decides how
    much FEC it sends.
    """
    parameters = list(inspect.signature(receiver._handle_rtp_packet).parameters)
    assert parameters == ["packet", "arrival_time_ms"], "aiortc's receiver has changed"
    streams: dict[int, StreamStatistics] = vars(receiver)["_RTCRtpReceiver__remote_streams"]

    async def take(packet: RtpPacket, arrival_time_ms: int) -> None:  # noqa: ARG001 — aiortc names it
        if packet.payload_type != payload_type:
            return
        if packet.ssrc not in streams:
            if len(streams) >= 8:  # a report has room for 31; a sender has one, and another after it changed
                streams.pop(next(iter(streams)))
            streams[packet.ssrc] = StreamStatistics(SAMPLE_RATE)
        streams[packet.ssrc].add(packet)
        sink(packet)

    vars(receiver)["_handle_rtp_packet"] = take


def watch(receiver: RTCRtpReceiver, heard: Callable[[], None]) -> None:
    """Call `heard` at every datagram from the peer: media, reports, and the consent checks of RFC 7675."""
    connection = receiver.transport.transport._connection
    for name in ("data_received", "request_received"):
        vars(connection)[name] = _after(getattr(connection, name), heard)


def trust_hearing(receiver: RTCRtpReceiver) -> None:
    """Ask the peer for no consent (RFC 7675): nothing but reports is sent to it.

    FFmpeg never answers a check once it sends, and aioice would close the connection after half a minute. Whoever
    calls this looks after the peer by what is heard of it.
    """
    connection = receiver.transport.transport._connection
    assert inspect.iscoroutinefunction(connection.query_consent), "aioice has changed"

    async def nothing() -> None:
        pass

    vars(connection)["query_consent"] = nothing


def _after(method: Callable[..., None], heard: Callable[[], None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        heard()
        method(*arguments)

    return call


def offer_loopback() -> None:
    """From now on, this process offers 127.0.0.1 beside the addresses that aioice finds."""
    original = aioice.ice.get_host_addresses
    if getattr(original, "with_loopback", False):
        return
    assert list(inspect.signature(original).parameters) == ["use_ipv4", "use_ipv6"], "aioice has changed"

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        found = original(use_ipv4, use_ipv6)
        return [*found, LOOPBACK] if use_ipv4 else found

    vars(addresses)["with_loopback"] = True
    vars(aioice.ice)["get_host_addresses"] = addresses


def gather_with(gather: Callable[..., Awaitable[list[Candidate]]]) -> None:
    """From now on `gather(connection, component, addresses, timeout)` makes the sockets of this process's connections.

    aioice binds to whatever port the kernel picks; a firewall wants to know which.
    """
    parameters = list(inspect.signature(Connection.get_component_candidates).parameters)
    assert parameters[1:] == ["component", "addresses", "timeout"], "aioice has changed"

    async def get_component_candidates(
        self: Connection, component: int, addresses: list[str], timeout: int = 5
    ) -> list[Candidate]:
        return await gather(self, component, addresses, timeout)

    setattr(Connection, "get_component_candidates", get_component_candidates)  # noqa: B010 — mypy, on assigning methods
