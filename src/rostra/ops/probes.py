"""What `rostra ports` and `rostra doctor` ask the machine and the network: read and answer, judge nothing."""

import asyncio
import ctypes
import fcntl
import os
import resource
import secrets
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aioice import stun, turn
from aioice.ice import Connection, StunProtocol, get_host_addresses

from rostra.kernel.errors import OperatorError, Unavailable
from rostra.kernel.io.system import now
from rostra.kernel.units import SECOND_NS
from rostra.ops import net
from rostra.ops.config import Config
from rostra.stage.io.datagrams import source
from rostra.studio import ice
from rostra.studio.ice import Place

ANSWER_S: Final = 5.0
"""Three tries of STUN (0, 0.5 and 1.5 s) and the answer to the last from the other side of the world."""

KNOCKS: Final = 6
KNOCK_S: Final = 0.5
"""A relay binds a channel first, and a datagram may be lost."""

TIMEX_BYTES: Final = 256
STA_UNSYNC: Final = 0x40
"""<sys/timex.h>; struct timex is 208 bytes."""

MANY: Final = 1 << 30


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


# what the checks of `ops/doctor.py` read


@dataclass(frozen=True, slots=True)
class Sockets:
    """Why a TCP port cannot be listened on, by port; and whether Rostra itself runs on the folder."""

    refused: dict[int, str]
    serving: bool


def sockets(config: Config) -> Sockets:
    refused = {}
    for port in (config.studio_port, config.audience_port):
        try:
            net.claim(config.bind, port)
        except OperatorError as error:
            refused[port] = error.sentence
    return Sockets(refused, _serving(config.data / "serve.lock"))


def _serving(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def udp(config: Config) -> tuple[int, int]:
    """How many ports of the range are free, and how many there are."""
    if config.udp_ports is None:
        return 0, 0
    first, last = config.udp_ports
    return sum(_is_free(port) for port in range(first, last + 1)), last - first + 1


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Answer:
    """The address that a server saw, or why there is none."""

    address: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What each STUN server answers, and which addresses are this machine's own."""

    answers: dict[str, Answer]
    own: tuple[str, ...]


def seen(config: Config) -> Seen:
    answers = {}
    for url in config.relays.stun:
        try:
            answers[url] = Answer(reflexive(ice.place(url)))
        except Unavailable as error:
            answers[url] = Answer(problem=error.sentence)
    return Seen(answers, tuple(get_host_addresses(use_ipv4=True, use_ipv6=True)))


@dataclass(frozen=True, slots=True)
class Relayed:
    """Where a TURN server relays from, or why it does not: it refused us, or gave no answer."""

    url: str
    address: str = ""
    problem: str = ""
    refused: bool = False


def relayed(config: Config) -> tuple[Relayed, ...]:
    return tuple(_relayed(url, *_credential(config)) for url in config.relays.turn)


def _relayed(url: str, username: str, password: str) -> Relayed:
    try:
        return Relayed(url, allocated(ice.place(url), username, password))
    except Unavailable as error:
        return Relayed(url, problem=error.sentence, refused=error.code == "turn.refused")


def _credential(config: Config) -> tuple[str, str]:
    return ice.credential(config.relays.secret, "doctor", now().wall_ns // SECOND_NS + 60)


@dataclass(frozen=True, slots=True)
class Knock:
    """Whether a datagram to a public address came in, and who sent it: a TURN server, or (empty) this machine."""

    address: str
    port: int
    base: str
    by: str
    arrived: bool
    ephemeral: tuple[int, int]


def knock(config: Config) -> Knock | None:
    """Send ourselves a datagram at our public address, through a TURN server if there is one."""
    public = next((address for address in config.public_addresses if ":" not in address), "")
    if not public:
        return None
    return asyncio.run(_knock(config, public))


async def _knock(config: Config, public: str) -> Knock:
    base = source(public)
    first, last = config.udp_ports or (0, 0)
    port = next((port for port in range(first, last + 1) if _is_free(port)), 0)
    door, box = await asyncio.get_running_loop().create_datagram_endpoint(Box, local_addr=("0.0.0.0", port))  # noqa: S104
    port = door.get_extra_info("sockname")[1]
    by, arrived = "", False
    try:
        for url in config.relays.turn:
            with suppress(Unavailable):
                async with relay(ice.place(url), *_credential(config)) as (transport, _):
                    by, arrived = url, await _arrives(transport, (public, port), box)
                    break
        if not by:
            here, _ = await asyncio.get_running_loop().create_datagram_endpoint(Box, local_addr=("0.0.0.0", 0))  # noqa: S104
            arrived = await _arrives(here, (public, port), box)
            here.close()
    finally:
        door.close()
    return Knock(public, port, base, by, arrived, ephemeral_ports())


async def _arrives(transport: asyncio.DatagramTransport | turn.TurnTransport, to: tuple[str, int], box: Box) -> bool:
    token = secrets.token_bytes(16)
    for _ in range(KNOCKS):
        transport.sendto(token, to)
        with suppress(TimeoutError):
            async with asyncio.timeout(KNOCK_S):
                while await box.received.get() != token:
                    pass
                return True
    return False


def ephemeral_ports() -> tuple[int, int]:
    """The ports that the kernel picks from (ip(7))."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return 32_768, 60_999
    return int(first), int(last)


@dataclass(frozen=True, slots=True)
class Clock:
    """Whether the kernel's clock is disciplined, and its largest error as the kernel sees it."""

    synchronised: bool
    error_s: float


def clock(_config: Config) -> Clock:
    """adjtimex(2), asked and not set."""
    state = ctypes.create_string_buffer(TIMEX_BYTES)
    if ctypes.CDLL(None).adjtimex(state) < 0:
        return Clock(False, 0.0)
    _modes, _offset, _freq, error_us, _estimate, status = struct.unpack_from("@Illlli", state.raw)
    return Clock(not status & STA_UNSYNC, error_us / 1e6)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many files a process may open, and whether it may take real-time priority."""

    files: int
    real_time: bool


def limits(_config: Config) -> Limits:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    rtprio, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    return Limits(MANY if files == resource.RLIM_INFINITY else files, os.geteuid() == 0 or rtprio != 0)


@dataclass(frozen=True, slots=True)
class Disk:
    """Free bytes where the data lies, and in /dev/shm (0: there is none to write to)."""

    data_bytes: int
    shm_bytes: int


def disk(config: Config) -> Disk:
    folder = next(each for each in (config.data, *config.data.parents) if each.exists())
    shm = Path("/dev/shm")  # noqa: S108 — asked, not written
    return Disk(shutil.disk_usage(folder).free, shutil.disk_usage(shm).free if os.access(shm, os.W_OK) else 0)
