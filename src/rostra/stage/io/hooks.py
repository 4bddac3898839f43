"""The private places of aiortc and aioice that the stage takes hold of: four, all here, all checked on every use.

aiortc decodes what it receives by itself, and does not survive loss (its issue 543); so RTP is taken from it where a
packet has been decrypted and routed. `tests/unit/stage/test_hooks.py` fails as soon as the pinned version moves.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aioice.ice
from aioice.candidate import Candidate
from aioice.ice import Connection
from aiortc import RTCRtpReceiver
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket

from rostra.kernel.units import SAMPLE_RATE

LOOPBACK: Final = "127.0.0.1"


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
