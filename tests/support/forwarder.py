"""The forwarder: a process that joins TUN devices of several network namespaces as `netem` decides.

It is told what to join as JSON on its command line and what to change as JSON lines on its standard input, and answers
each on its standard output. It ends when its input does, so that it never outlives whoever started it; the devices go
with it. Nothing is decided here: a packet is read, `Way.take` says when it arrives, and a heap holds it until then.
"""

import ctypes
import fcntl
import heapq
import json
import os
import select
import struct
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from support.netem import BYTES_MAX, MS_NS, Bursts, Condition, Way

CLONE_NEWNET: Final = 0x4000_0000
TUNSETIFF: Final = 0x4004_54CA
IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
TUN: Final = Path("/dev/net/tun")
READ_MAX: Final = 64
"""Packets that are taken from a device before the heap is looked at again."""


def enter(namespace: Path) -> None:
    """Move this thread into a network namespace, named by its file. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    with namespace.open() as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def open_tun(name: str) -> int:
    """A TUN device of this namespace; it lives as long as the descriptor."""
    descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return descriptor


def condition_of(told: dict[str, Any]) -> Condition:
    bursts = told.get("bursts")
    return Condition(**(told | {"bursts": None if bursts is None else Bursts(**bursts)}))


class Forwarder:
    """Ways between devices, by (link, "up" or "down")."""

    def __init__(self, links: list[dict[str, Any]]) -> None:
        self.ways: dict[tuple[str, str], Way] = {}
        self._targets: dict[int, tuple[Way, int]] = {}  # read from this device, write to that one
        self._due: list[tuple[int, int, int, bytes]] = []
        self._count = 0
        self._late_ns_max = 0
        self._unwritten = 0
        self._poll = select.epoll()
        for link in links:
            self._join(link)

    def _join(self, link: dict[str, Any]) -> None:
        ends = []
        for namespace, device in link["ends"]:
            enter(Path(namespace))
            ends.append(open_tun(device))
        for way, seed, here, there in (("up", 0, ends[0], ends[1]), ("down", 1, ends[1], ends[0])):
            made = self.ways[link["name"], way] = Way(2 * link["seed"] + seed)
            self._targets[here] = (made, there)
            self._poll.register(here, select.EPOLLIN)

    def run(self) -> None:
        orders = sys.stdin.fileno()
        os.set_blocking(orders, False)
        self._poll.register(orders, select.EPOLLIN)
        told = b""
        print(json.dumps({"ready": True}), flush=True)
        while True:
            wait_s = -1.0 if not self._due else max(0.0, (self._due[0][0] - time.monotonic_ns()) / 1e9)
            for descriptor, _ in self._poll.poll(wait_s):
                if descriptor != orders:
                    self._read(descriptor)
                    continue
                data = os.read(orders, 65_536)
                if not data:
                    return
                *lines, told = (told + data).split(b"\n")
                for line in lines:
                    print(json.dumps(self._obey(json.loads(line))), flush=True)
            self._deliver()

    def _read(self, device: int) -> None:
        way, target = self._targets[device]
        for _ in range(READ_MAX):
            try:
                packet = os.read(device, BYTES_MAX)
            except BlockingIOError:
                return
            for at_ns in way.take(len(packet), time.monotonic_ns()):
                self._count += 1
                heapq.heappush(self._due, (at_ns, self._count, target, packet))

    def _deliver(self) -> None:
        now_ns = time.monotonic_ns()
        while self._due and self._due[0][0] <= now_ns:
            at_ns, _, target, packet = heapq.heappop(self._due)
            self._late_ns_max = max(self._late_ns_max, now_ns - at_ns)
            try:
                os.write(target, packet)
            except OSError:  # the device is not up yet, or its queue is full
                self._unwritten += 1

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Change the ways that are named; what they counted so far, the forwarder's lateness since the last order."""
        for key in order.get("ways", ()):
            way = self.ways[key[0], key[1]]
            if "condition" in order:
                way.condition = condition_of(order["condition"])
            if "stall_ms" in order:
                way.stall(time.monotonic_ns() + round(order["stall_ms"] * MS_NS))
        late_ms, self._late_ns_max = self._late_ns_max / MS_NS, 0
        counts = {f"{link} {way}": asdict(made.counts) for (link, way), made in self.ways.items()}
        return {"counts": counts, "late_ms_max": late_ms, "unwritten": self._unwritten, "waiting": len(self._due)}


if __name__ == "__main__":
    Forwarder(json.loads(sys.argv[1])).run()
