"""The private places of aiortc and aioice that the stage takes hold of: all here, all checked on every use.

aiortc decodes what it receives by itself, and does not survive loss (its issue 543); so RTP is taken from it where a
packet has been decrypted and routed. `tests/unit/stage/test_hooks.py` fails as soon as the pinned version moves.

Strangers reach these libraries, and some of what they send ends more than itself. Read in aiortc 1.16 and aioice 0.13,
and kept from them by `guard` (each has a test in `tests/unit/stage/test_guard.py`): a datagram that is empty or longer
than libsrtp's buffer ends the DTLS loop of its connection, whoever sent it, as do a header extension or a REMB of the
wrong length, from the peer; a STUN attribute of the wrong length raises in the event loop; one NACK of 1,400 bytes has
6,000 packets sent again; the queue before DTLS, the table of SSRCs and the peer-reflexive candidates have no bound; a
jitter beyond 32 bits ends the task that `close` then waits for, for ever.
"""

import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aioice.ice
from aioice.candidate import Candidate
from aioice.ice import Connection
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import AnyRtcpPacket, RtcpRrPacket, RtcpSrPacket, RtpPacket

from rostra.kernel.units import SAMPLE_RATE
from rostra.stage.budget import Gate, Source
from rostra.stage.network import Count, Report

LOOPBACK: Final = "127.0.0.1"
JITTER_MAX: Final = 0xFFFF_FFFF

QUEUED_MAX: Final = 512
"""Datagrams that wait for DTLS to begin: seconds of everything a peer may send."""

REMOTE_MAX: Final = 128
"""Addresses of a peer, named or seen: each is checked from every address of ours, so they are also a way to aim us."""

_SENDER_TASKS: Final = ("_RTCRtpSender__rtp_task", "_RTCRtpSender__rtcp_task")
_RECEIVER_TASKS: Final = ("_RTCRtpReceiver__rtcp_task",)


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
        bound_jitter(streams[packet.ssrc])
        sink(packet)

    vars(receiver)["_handle_rtp_packet"] = take


def bound_jitter(stream: StreamStatistics) -> None:
    """Keep the jitter in the 32 bits of a report (RFC 3550 section 6.4.1), whatever the timestamps do."""
    stream._jitter_q4 = min(stream._jitter_q4, JITTER_MAX << 4)


def guard(peer: RTCPeerConnection, gate: Gate, clock: Callable[[], int]) -> None:
    """Let through to `peer` only what `gate` admits, and keep what cannot be parsed from ending anything."""
    _guard_sockets()
    (transceiver,) = peer.getTransceivers()
    dtls = transceiver.receiver.transport
    _guard_checks(dtls.transport._connection, gate, clock)
    for name in ("_handle_rtp_data", "_handle_rtcp_data"):
        vars(dtls)[name] = _contained(getattr(dtls, name), gate, clock)
    vars(transceiver.sender)["_retransmit"] = _never


async def abandon(peer: RTCPeerConnection) -> None:
    """Close the sockets and tasks of a connection whose own `close` hangs or fails."""
    for transceiver in peer.getTransceivers():
        for side, names in ((transceiver.sender, _SENDER_TASKS), (transceiver.receiver, _RECEIVER_TASKS)):
            for task in filter(None, (vars(side).get(name) for name in names)):
                task.cancel()
        dtls = transceiver.receiver.transport
        for stop in (dtls.stop, dtls.transport.stop):
            with contextlib.suppress(Exception):
                await stop()


def _guard_sockets() -> None:
    """Ask the gate of its connection about every datagram, once for the process."""
    original = aioice.ice.StunProtocol.datagram_received
    if hasattr(original, "guarded"):
        return
    assert list(inspect.signature(original).parameters) == ["self", "data", "addr"], "aioice has changed"

    def datagram_received(protocol: Any, data: bytes, addr: tuple[Any, ...]) -> None:
        ask = vars(protocol.receiver).get("rostra_gate")
        if ask is None:
            original(protocol, data, addr)
        else:
            ask(data, (addr[0], addr[1]), lambda: original(protocol, data, addr))

    vars(datagram_received)["guarded"] = True
    setattr(aioice.ice.StunProtocol, "datagram_received", datagram_received)  # noqa: B010 — mypy would not have it


def _guard_checks(connection: Any, gate: Gate, clock: Callable[[], int]) -> None:
    early, incoming = connection._early_checks, connection.check_incoming

    def ask(data: bytes, source: Source, read: Callable[[], None]) -> None:
        if not gate.knows(source) and any(pair.remote_addr == source for pair in connection._nominated.values()):
            gate.know(source)  # chosen by our own check: an ICE-lite peer sends none
        if connection._queue.qsize() >= QUEUED_MAX or not gate.admits(data, source, clock()):
            return
        waiting = len(early)
        try:
            read()
        except Exception:  # aioice's parser raises whatever its code runs into
            gate.spoilt(clock(), authentic=False)
        if len(early) > waiting:  # authenticated, and looked at when the connection begins to check
            gate.know(source)

    def check_incoming(message: Any, source: Source, protocol: Any) -> None:
        remote = connection._remote_candidates
        if "PRIORITY" not in message.attributes or len(remote) >= REMOTE_MAX:
            gate.spoilt(clock(), authentic=True)
            return
        gate.know(source)
        incoming(message, source, protocol)

    vars(connection)["rostra_gate"] = ask
    vars(connection)["check_incoming"] = check_incoming


def _contained(
    handle: Callable[..., Awaitable[None]], gate: Gate, clock: Callable[[], int]
) -> Callable[..., Awaitable[None]]:
    """`handle`, for what SRTP has authenticated: it may raise nothing but the end of the connection."""

    async def contained(data: bytes, **more: Any) -> None:
        gate.authentic(clock())
        try:
            await handle(data, **more)
        except ConnectionError:
            raise
        except Exception:  # aiortc's parser raises whatever its code runs into
            gate.spoilt(clock(), authentic=True)

    return contained


async def _never(_sequence: int) -> None:
    """Audio is not sent again: what comes late is worse than what is concealed."""


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
