"""Where a stage sends packets before anybody has proven to be there, and how many: it is no scanner and no reflector.

Whoever holds a speaker's link names addresses (ICE candidates), and an ICE agent sends checks to them (RFC 8445 section
19.5.1 names the abuse). None of these limits keeps a speaker away: who can reach the stage is learnt from their own
checks; a stage that cannot be reached needs the speaker's address, which is then an ordinary one.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rostra.kernel.units import SECOND_NS

PORT_MIN: Final = 1024
"""Below are services (DNS, NTP, SNMP), never a browser's socket; a NAT that maps to one is learnt from its check."""

PORTS_NEVER: Final = frozenset(
    {1434, 1900, 2049, 3283, 3478, 3702, 4500, 5060, 5061, 5349, 5353, 5355, 5683, 10_001, 11_211, 27_015, 37_810}
)
"""Services above that which answer to strangers, most with more than they were sent (US-CERT TA14-017A), and TURN."""

NEVER: Final = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
"""Where clouds keep a machine's credentials. The first is link-local too; named so that nobody opens it by mistake."""

TRANSLATED: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""NAT64, 6to4 and Teredo: IPv4 addresses in disguise. Nobody's own address is one of them."""

CHECKS_PER_S: Final = 25.0
CHECKS_BURST: Final = 60
"""A laptop's ten candidates meet a server's three addresses in thirty pairs, all checked within the first second."""

CHECKS_TOTAL: Final = 600
"""Of one connection, in all: thirty pairs, asked seven times each, three times over."""

ANSWERS_PER_S: Final = 10.0
"""Refusals of STUN requests that are nobody's: each goes to an address that the sender may have forged."""

STAGE_PER_S: Final = 400.0
"""All connections of a stage: thirteen speakers who come back at the same instant. 50 kB/s at most."""


def may_send(address: str, port: int, *, loopback: bool) -> bool:
    """Whether a stage may send a first packet to this place. `loopback`: it listens on loopback itself.

    Private networks are allowed: on a LAN the speakers are there, and behind a NAT of a cloud nothing else may be.
    Broadcast addresses of the machine's networks are refused by the kernel (no SO_BROADCAST).
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not PORT_MIN <= port < 65_536 or port in PORTS_NEVER or ip in NEVER:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip.ipv4_mapped or any(ip in net for net in TRANSLATED)):
        return False
    if ip.is_loopback:
        return loopback
    return not (ip.is_multicast or ip.is_unspecified or ip.is_link_local or ip.is_reserved or _this_network(ip))


def _this_network(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """0.0.0.0/8 (RFC 1122 section 3.2.1.3): Linux takes some of it for the machine itself."""
    return ip.version == 4 and int(ip) >> 24 == 0


def usable(candidate: str, *, loopback: bool) -> bool:
    """Whether a server should send packets to this candidate: UDP to a literal address where `may_send` holds.

    Names (`….local` among them) are not resolved: their owner reaches us, and we learn the address from that.
    """
    parts = candidate.split()
    if len(parts) < 8 or parts[1] != "1" or parts[2].lower() != "udp" or parts[6] != "typ":
        return False
    if parts[7] not in ("host", "srflx", "relay") or not (parts[3].isdecimal() and parts[5].isdecimal()):
        return False
    return int(parts[3]) < 1 << 32 and len(parts[5]) <= 5 and may_send(parts[4], int(parts[5]), loopback=loopback)


@dataclass(slots=True)
class Allowance:
    """A token bucket: `burst` at once, then `per_s`, and no more than `total` ever."""

    per_s: float
    burst: float
    total: float = float("inf")
    _left: float = field(init=False)
    _at_ns: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._left = self.burst

    def left(self, now_ns: int) -> bool:
        """Whether there is one to take."""
        if self._at_ns:
            self._left = min(self.burst, self._left + self.per_s * max(0, now_ns - self._at_ns) / SECOND_NS)
        self._at_ns = now_ns
        return self._left >= 1 and self.total >= 1

    def take(self) -> None:
        self._left -= 1
        self.total -= 1


def walk(first: int, last: int, start: int) -> Iterator[int]:
    """Every port from `first` to `last` once, from the `start`th on: a port that was just freed comes last."""
    size = last - first + 1
    return (first + (start + step) % size for step in range(size))


def published(public: tuple[str, ...], sources: tuple[str, ...], chosen: tuple[str, ...]) -> dict[str, str]:
    """Which of the machine's addresses is known outside by which: base → public address.

    `sources` are the addresses that the kernel would send to the public ones from; those that a 1:1 NAT and a router's
    port forward aim at. Of `chosen` addresses, the one of the family is the base.
    """
    pairs = {}
    for address in public:
        version = ipaddress.ip_address(address).version
        own = [each for each in (*chosen, *sources) if ipaddress.ip_address(each).version == version]
        if own and own[0] != address:
            pairs[own[0]] = address
    return pairs
