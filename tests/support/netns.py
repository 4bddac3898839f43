"""Networks that a test makes for itself: namespaces of iproute2, and links between them, as bad as `netem` says.

    with laboratory("stage", "guest") as lab, lab.join({"line": ("guest", "stage")}) as links:
        with links.like(Condition(loss=0.05)):
            lab.run("guest", "ping", "-c1", links.address("line", "stage"))

Needs root. Everything goes with the `with` block, and with the process, too, should it be killed: the devices belong to
the forwarder, which ends with its input, and a later laboratory removes the namespaces of processes that are gone.
"""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

from support import forwarder
from support.netem import Condition, Counts

T = TypeVar("T")
PREFIX: Final = "rostra"
MOUNTS: Final = Path("/run/netns")
WAYS: Final = ("up", "down")
FORWARDER_NICE: Final = -5
"""A network does not wait for the machine's load; where that is not allowed, it goes without."""

Way = tuple[str, str]
"""A link's name, and `up` (from its first end to its second) or `down`."""


class Laboratory:
    """Namespaces by short names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = {name: f"{PREFIX}-{os.getpid()}-{name}" for name in names}

    def file(self, name: str) -> Path:
        return MOUNTS / self._names[name]

    def command(self, name: str, *command: str) -> list[str]:
        """`command`, to be run inside."""
        return ["ip", "netns", "exec", self._names[name], *command]

    def run(
        self, name: str, *command: str, timeout_s: float = 30, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program inside to its end."""
        return subprocess.run(
            self.command(name, *command), capture_output=True, text=True, timeout=timeout_s, check=False, **options
        )

    def wrapped(self, name: str, program: str, path: Path) -> Path:
        """A script at `path` that runs `program` inside, for those who want one executable."""
        path.write_text(f'#!/bin/sh\nexec {" ".join(self.command(name, program))} "$@"\n')
        path.chmod(0o755)
        return path

    def inside(self, name: str, work: Callable[[], T]) -> T:
        """What `work` returns when a thread inside does it. A socket that it makes stays inside for good."""
        made: list[T] = []
        errors: list[BaseException] = []

        def enter_and_work() -> None:
            try:
                forwarder.enter(self.file(name))
                made.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter_and_work)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return made[0]

    @contextmanager
    def join(self, links: dict[str, tuple[str, str]], seed: int = 1) -> Iterator["Links"]:
        """Links by name, each between two namespaces."""
        made = Links(self, links, seed)
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def drop_at_random(self, name: str, share: float) -> Iterator[None]:
        """Let the kernel drop `share` of the UDP datagrams that come in, by nftables: a loss that is not ours."""
        rule = f"ip protocol udp numgen random mod 10000 < {round(share * 10_000)} drop"
        table = f"table ip {PREFIX} {{\n chain in {{\n type filter hook input priority 0;\n {rule}\n }}\n}}\n"
        self._nft(name, table)
        try:
            yield
        finally:
            self._nft(name, f"delete table ip {PREFIX}\n")

    def _nft(self, name: str, rules: str) -> None:
        done = self.run(name, "nft", "-f", "-", input=rules)
        assert done.returncode == 0, done.stderr


class Links:
    """TUN links between namespaces, carried by one forwarder. Link n has the addresses 10.77.n.1 and 10.77.n.2.

    The first end is the guest's: its first link is its way out.
    """

    def __init__(self, lab: Laboratory, links: dict[str, tuple[str, str]], seed: int) -> None:
        self._ends = links
        self._numbers = {link: number for number, link in enumerate(links, 1)}
        plan = [
            {"name": link, "seed": seed * 1000 + number, "ends": [(str(lab.file(end)), f"tun{number}") for end in ends]}
            for (link, ends), number in zip(links.items(), self._numbers.values(), strict=True)
        ]
        self._process = subprocess.Popen(
            [sys.executable, forwarder.__file__, json.dumps(plan)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self._answer()
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, FORWARDER_NICE)
            for link, ends in links.items():
                for end in ends:
                    device, here = f"tun{self._numbers[link]}", self.address(link, end)
                    # No IPv6: its neighbour discovery would be packets that no test sent.
                    _ip("-n", lab.file(end).name, "link", "set", device, "addrgenmode", "none")
                    _ip("-n", lab.file(end).name, "addr", "add", f"{here}/24", "dev", device)
                    _ip("-n", lab.file(end).name, "link", "set", device, "up")
                self._route(lab, link)
        except BaseException:
            self.close()
            raise

    def _route(self, lab: Laboratory, link: str) -> None:
        """Where the first end has no way out yet, this is it: browsers use the address that leads there."""
        here, there = self._ends[link]
        if not lab.run(here, "ip", "route", "show", "default").stdout:
            _ip("-n", lab.file(here).name, "route", "add", "default", "via", self.address(link, there))

    def address(self, link: str, end: str) -> str:
        """The address of `link` in the namespace `end`."""
        return f"10.77.{self._numbers[link]}.{self._ends[link].index(end) + 1}"

    @property
    def pid(self) -> int:
        """The forwarder's."""
        return self._process.pid

    @property
    def ways(self) -> list[Way]:
        return [(link, way) for link in self._ends for way in WAYS]

    def set(self, condition: Condition, ways: Iterable[Way] | None = None) -> None:
        """Make `ways` (all of them, if none are named) like that from now on."""
        self._order(ways=list(self.ways if ways is None else ways), condition=asdict(condition))

    @contextmanager
    def like(self, condition: Condition, ways: Iterable[Way] | None = None) -> Iterator[None]:
        """Like that for a while, then perfect again."""
        chosen = list(self.ways if ways is None else ways)
        self.set(condition, chosen)
        try:
            yield
        finally:
            self.set(Condition(), chosen)

    def stall(self, seconds: float, ways: Iterable[Way] | None = None) -> None:
        """Hold everything back for so long; then it comes all at once."""
        self._order(ways=list(self.ways if ways is None else ways), stall_ms=seconds * 1000)

    def counts(self) -> dict[Way, Counts]:
        told = self._order()["counts"]
        return {(link, way): Counts(**told[f"{link} {way}"]) for link, way in self.ways}

    def waiting(self) -> int:
        """How many packets are on their way."""
        return int(self._order()["waiting"])

    def late_ms(self) -> float:
        """How late the forwarder delivered a packet at the worst, since the last order."""
        return float(self._order()["late_ms_max"])

    def _order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the forwarder has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the forwarder; its devices, their addresses and routes go with it."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        process.stdout.close()


@contextmanager
def laboratory(*names: str) -> Iterator[Laboratory]:
    """Namespaces of these names, each with a loopback of its own and no way out."""
    _make_tun()
    _sweep()
    lab = Laboratory(names)
    with ExitStack() as made:
        for name in names:
            whole = lab.file(name).name
            _ip("netns", "add", whole)
            made.callback(_ip, "netns", "del", whole)
            _ip("-n", whole, "link", "set", "lo", "up")
        yield lab


def listener(address: str, port: int = 0) -> socket.socket:
    """A listening TCP socket; for `Laboratory.inside`."""
    return socket.create_server((address, port))


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()} (namespaces need root)"


def _make_tun() -> None:
    """The device file that containers often lack."""
    if not forwarder.TUN.exists():
        forwarder.TUN.parent.mkdir(exist_ok=True)
        os.mknod(forwarder.TUN, stat.S_IFCHR | 0o600, os.makedev(10, 200))


def _sweep() -> None:
    """Remove what tests left behind that were killed."""
    for file in MOUNTS.glob(f"{PREFIX}-*-*") if MOUNTS.exists() else ():
        owner = file.name.split("-")[1]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            _ip("netns", "del", file.name)
