"""The UDP sockets of a stage's connections: on which addresses, from which ports, and what they may send unasked."""

import asyncio
import errno
import secrets
import socket
import time
from collections.abc import Callable
from typing import Final

import structlog
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol
from aioice.stun import Class, Message

from rostra.kernel.errors import Unavailable
from rostra.stage import reach
from rostra.stage.options import Options
from rostra.stage.reach import Allowance

BUFFER_BYTES: Final = 256 * 1024
"""What a socket holds while the stage mixes: at 50 packets a second, far more than anybody would wait for."""

log = structlog.get_logger()


class Datagrams:
    """Every socket of this process. `withheld` counts the packets that were not sent."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._next = secrets.randbelow(65_536)  # stages of several Spaces share the range, and begin apart
        self._all = Allowance(reach.STAGE_PER_S, reach.STAGE_PER_S)
        self.withheld = 0

    async def gather(
        self,
        connection: Connection,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ARG002 — aioice names it
    ) -> list[Candidate]:
        """In aioice's place: a socket and a host candidate for each address.

        Raises Unavailable `stage.no_ports` when the range is used up.
        """
        asks = Allowance(reach.CHECKS_PER_S, reach.CHECKS_BURST, reach.CHECKS_TOTAL)
        answers = Allowance(reach.ANSWERS_PER_S, reach.ANSWERS_PER_S)
        found: list[Candidate] = []
        for address in self.options.addresses or addresses:
            try:
                sock = self._bind(address)
            except OSError as error:  # an address that has just gone, or is not ready yet
                log.info("address_unusable", address=address, reason=error.strerror)
                continue
            self._next += not found
            _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: Guarded(connection, lambda message, addr: self._may(asks, answers, message, addr)), sock=sock
            )
            connection._protocols.append(protocol)
            protocol.local_candidate = _host(component, *sock.getsockname()[:2])
            found.append(protocol.local_candidate)
        return found

    def _bind(self, address: str) -> socket.socket:
        """A socket on a free port of the range. Raises Unavailable `stage.no_ports`, OSError."""
        first, last = self.options.udp_ports or (0, 0)
        for port in reach.walk(first, last, self._next):
            sock = socket.socket(_family(address), socket.SOCK_DGRAM)
            try:
                sock.bind((address, port))
            except OSError as error:
                sock.close()
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                return sock
        log.error("no_ports", address=address, first=first, last=last)
        raise Unavailable(
            "stage.no_ports",
            "All ports of the stage are taken.",
            "Try again in a few seconds. The operator can widen udp_ports.",
        )

    def _may(self, asks: Allowance, answers: Allowance, message: Message, addr: tuple[str, int]) -> bool:
        """Whether something may go to a place that nobody has answered from yet."""
        own = answers if message.message_class is Class.ERROR else asks
        now_ns = time.monotonic_ns()
        fit = reach.may_send(*addr, loopback=self.options.loopback)
        if not (fit and own.left(now_ns) and self._all.left(now_ns)):
            self.withheld += 1
            return False
        own.take()
        self._all.take()
        return True

    def published(self) -> dict[str, str]:
        """The machine's addresses that are known outside by another name, as `negotiation.finish_answer` takes them."""
        public = self.options.public_addresses
        sources = tuple(found for address in public if (found := source(address)))
        return reach.published(public, sources, self.options.addresses)


class Guarded(StunProtocol):
    """aioice's, sending freely only to where an answer to a request of ours came from (96 random bits, and a key)."""

    def __init__(self, connection: Connection, may: Callable[[Message, tuple[str, int]], bool]) -> None:
        super().__init__(connection)
        self._may = may
        self._proven: set[tuple[str, int]] = set()

    def send_stun(self, message: Message, addr: tuple[str, int]) -> None:
        if addr in self._proven or self._may(message, addr):
            super().send_stun(message, addr)

    async def request(
        self,
        request: Message,
        addr: tuple[str, int],
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[Message, tuple[str, int]]:
        response, came_from = await super().request(request, addr, integrity_key, retransmissions)
        self._proven.add(came_from)
        return response, came_from


def source(address: str) -> str:
    """The address of this machine that packets to `address` leave from; empty when there is no way.

    Nothing is sent: connecting a UDP socket only asks the routing table.
    """
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _host(component: int, address: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", address),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=address,
        port=port,
        type="host",
    )
