"""What `rostra ports` and `rostra doctor` ask the machine and the network: read and answer, judge nothing."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aioice import stun, turn
from aioice.ice import Connection, StunProtocol

from rostra.kernel.errors import Unavailable
from rostra.studio.ice import Place

ANSWER_S: Final = 5.0
"""Three tries of STUN (0, 0.5 and 1.5 s) and the answer to the last from the other side of the world."""


class Box(asyncio.DatagramProtocol):
    """A socket's datagrams, as they come."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 — asyncio names it
        self.received.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.lost.set()


def reflexive(place: Place) -> str:
    """The address that a STUN server sees us at. Raises Unavailable `stun.silent`."""
    return asyncio.run(_reflexive(place))


async def _reflexive(place: Place) -> str:
    loop, nobody = asyncio.get_running_loop(), Connection(ice_controlling=False)
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    try:
        address = await _address(place)
        local = ("::", 0) if ":" in address[0] else ("0.0.0.0", 0)  # noqa: S104 — to send from
        _, protocol = await loop.create_datagram_endpoint(lambda: StunProtocol(nobody), local_addr=local)
        try:
            response, _ = await asyncio.wait_for(protocol.request(request, address), ANSWER_S)
            return str(response.attributes["XOR-MAPPED-ADDRESS"][0])
        finally:
            await protocol.close()
    except (OSError, TimeoutError, KeyError, stun.TransactionError) as error:
        raise Unavailable("stun.silent", f"{place.host}:{place.port} gives no answer ({_reason(error)}).") from None


@asynccontextmanager
async def relay(
    place: Place, username: str, password: str, trust: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[turn.TurnTransport, Box]]:
    """An allocation on a TURN server, given back at the end (RFC 8656). Raises Unavailable `turn.*`."""
    tls = (trust or ssl.create_default_context()) if place.tls else None
    try:
        async with asyncio.timeout(ANSWER_S):
            transport, box = await turn.create_turn_endpoint(
                Box, (place.host, place.port), username, password, ssl=tls, transport=place.transport
            )
    except stun.TransactionFailed as refused:
        code, reason = refused.response.attributes.get("ERROR-CODE", (0, ""))
        raise Unavailable("turn.refused", f"{place.host}:{place.port} refuses ({code} {reason}).") from None
    except (OSError, TimeoutError, stun.TransactionError) as error:
        raise Unavailable("turn.silent", f"{place.host}:{place.port} gives no answer ({_reason(error)}).") from None
    try:
        yield transport, box
    finally:
        transport.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(box.lost.wait(), ANSWER_S)


def allocated(place: Place, username: str, password: str, trust: ssl.SSLContext | None = None) -> str:
    """The address that a TURN server relays from for us. Raises Unavailable `turn.refused`, `turn.silent`."""

    async def ask() -> str:
        async with relay(place, username, password, trust) as (transport, _):
            return str(transport.get_extra_info("sockname")[0])

    return asyncio.run(ask())


async def _address(place: Place) -> tuple[str, int]:
    found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)
    return str(found[0][4][0]), place.port


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "no answer in time"
