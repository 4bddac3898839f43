"""A small internet: a guest and a TURN server on networks of their own, and a stage behind a router's 1:1 NAT.

    guest 198.51.100.2 ──┐
                         router ── 10.0.0.5 stage, known outside as 203.0.113.7
    turn  192.0.2.3 ─────┘

Links are veth pairs, the NAT and what is blocked are nftables rules in the router. Needs root.
"""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.netns import Laboratory, laboratory

GUEST: Final = "198.51.100.2"
TURN: Final = "192.0.2.3"
STAGE: Final = "10.0.0.5"
PUBLIC: Final = "203.0.113.7"
HOMES: Final = {"guest": GUEST, "turn": TURN, "stage": STAGE}
NAT: Final = f"""
table ip nat {{
 chain before {{ type nat hook prerouting priority dstnat; ip daddr {PUBLIC} dnat to {STAGE}; }}
 chain after {{ type nat hook postrouting priority srcnat; ip saddr {STAGE} snat to {PUBLIC}; }}
}}
table ip walls {{
 chain private {{ type filter hook prerouting priority raw; iifname != "stage" ip daddr 10.0.0.0/8 drop; }}
 chain through {{ type filter hook forward priority 0; }}
}}
"""
"""As on the internet: who is not in the private network cannot reach its addresses."""


@dataclass(frozen=True, slots=True)
class Internet:
    lab: Laboratory

    def block(self, *rules: str) -> None:
        """Let the router drop what matches any of the nftables expressions, and only that."""
        added = "".join(f"add rule ip walls through {rule} drop\n" for rule in rules)
        nft(self.lab, "router", f"flush chain ip walls through\n{added}")

    @contextmanager
    def running(self, name: str, command: Sequence[str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
        """A program inside a namespace, until the block ends."""
        with log.open("wb") as out:
            inside = self.lab.command(name, *command)
            process = subprocess.Popen(inside, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def internet() -> Iterator[Internet]:
    with laboratory("router", *HOMES) as lab:
        for name, address in HOMES.items():
            plug(lab, name, address)
        lab.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        nft(lab, "router", NAT)
        yield Internet(lab)


def plug(lab: Laboratory, name: str, address: str) -> None:
    """Connect a namespace to the router, as `address` with a way out through `….1`."""
    gateway = address.rsplit(".", 1)[0] + ".1"
    router, here = lab.file("router").name, lab.file(name).name
    for arguments in (
        ("-n", router, "link", "add", name, "type", "veth", "peer", "eth0", "netns", here),
        ("-n", router, "addr", "add", f"{gateway}/24", "dev", name),
        ("-n", router, "link", "set", name, "up"),
        ("-n", here, "addr", "add", f"{address}/24", "dev", "eth0"),
        ("-n", here, "link", "set", "eth0", "addrgenmode", "none", "up"),
        ("-n", here, "route", "add", "default", "via", gateway),
    ):
        ip(*arguments)


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()} (namespaces need root)"


def nft(lab: Laboratory, name: str, rules: str) -> None:
    done = lab.run(name, "nft", "-f", "-", input=rules)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True, slots=True)
class Sent:
    """A UDP datagram that left a namespace: when (monotonic), and to where."""

    at_s: float
    address: str
    port: int


class Sniffer:
    """Every IPv4 UDP datagram that a namespace sends, on whatever device; its own to itself among them."""

    def __init__(self, lab: Laboratory, name: str) -> None:
        self._socket = lab.inside(name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.setblocking(False)

    def sent(self) -> list[Sent]:
        """What was sent since the last look."""
        found = []
        while True:
            try:
                packet, (_, protocol, kind, *_rest) = self._socket.recvfrom(2000)
            except BlockingIOError:
                return found
            head = (packet[0] & 15) * 4
            if (protocol, kind, packet[9]) == (0x0800, socket.PACKET_OUTGOING, socket.IPPROTO_UDP):
                port = int.from_bytes(packet[head + 2 : head + 4], "big")
                found.append(Sent(time.monotonic(), socket.inet_ntoa(packet[16:20]), port))

    def close(self) -> None:
        self._socket.close()
