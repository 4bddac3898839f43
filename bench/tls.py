"""What TLS costs the audience's side: a handshake, and a second of listening; plain, ours, and HAProxy in one run.

    .venv/bin/python bench/tls.py [--listeners 500] [--for 15]

CPU is what the kernel counts for each process (/proc/<pid>/stat), over a whole number of seconds in which nothing but
the named thing goes on. Handshakes are full ones, made by `openssl s_time` on the same two cores; the key is ECDSA
P-256. Both terminators stand before the same workers, which serve plain HTTP on the loopback interface.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import machine
import stand
import table
from processes import cpu_s

from support.certificates import Authority
from support.server import Server, Space, free_port, serving, wait_for
from support.stranger import Stranger

HAPROXY = Path(__file__).parent.parent / "deploy/haproxy.cfg"
assert stand  # it puts the tests' helpers within reach


@dataclass
class Way:
    """One way to the workers: its address, and the processes in front of them."""

    name: str
    url: str
    port: int
    pids: list[int]


def upstream_port(server: Server) -> int:
    """Where the workers listen: the terminator was told."""
    command = Path(f"/proc/{server.pid('terminator-0')}/cmdline").read_bytes().split(b"\0")
    return int(json.loads(command[-2])["upstream_port"])


@contextmanager
def haproxy(folder: Path, pem: Path, port: int, upstream: int) -> Iterator[int]:
    """HAProxy with the file that we ship; yields its process."""
    config = HAPROXY.read_text().replace(":443 ", f"127.0.0.1:{port} ").replace(":8443 ", f"127.0.0.1:{free_port()} ")
    config = config.replace("127.0.0.1:8001", f"127.0.0.1:{upstream}").replace("/etc/haproxy/rostra.pem", str(pem))
    config = config.replace("maxconn 100000", "maxconn 5000").replace("maxsslrate 1000", "maxsslrate 100000")
    file = folder / "haproxy.cfg"
    file.write_text(config)
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def memory_bytes(pids: list[int]) -> int:
    rows = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in rows if line.startswith("VmRSS"))


def used_s(pids: list[int]) -> float:
    return sum(cpu_s(pid) for pid in pids)


def handshakes(way: Way, seconds: int) -> tuple[float, float]:
    """(ms of the terminator's CPU a handshake, handshakes a second while the client took the other core)."""
    before = used_s(way.pids)
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{way.port}", "-new", "-time", str(seconds)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    counted = [int(found) for found in re.findall(r"(\d+) connections in \d+ real seconds", said)]
    return (used_s(way.pids) - before) / counted[-1] * 1000, counted[-1] / seconds


@contextmanager
def crowd(url: str, count: int) -> Iterator[None]:
    command = [sys.executable, str(Path(__file__).parent / "crowd.py"), url, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        while json.loads(process.stdout.readline())["listening"] < count:
            pass
        yield
        assert process.poll() is None, "the crowd fell over"
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def listening(way: Way, space: Space, workers: list[int], count: int, seconds: float) -> tuple[float, float, float]:
    """(µs of CPU in front, µs in the workers, each a listener and second; bytes of memory a listener in front)."""
    empty = memory_bytes(way.pids)
    with crowd(f"{way.url}/s/{space.id}", count):
        time.sleep(3)
        front, behind, at = used_s(way.pids), used_s(workers), time.monotonic()
        full = memory_bytes(way.pids)
        time.sleep(seconds)
        share = count * (time.monotonic() - at) / 1e6
        found = (used_s(way.pids) - front) / share, (used_s(workers) - behind) / share, (full - empty) / count
    time.sleep(1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int, default=500)
    parser.add_argument("--for", type=float, default=15, dest="seconds")
    told = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory(prefix="rostra-bench-") as name:
        folder = Path(name)
        authority = Authority(folder / "authority")
        pem = folder / "tls.pem"
        authority.sign(pem, pem, "localhost")
        os.environ["SSL_CERT_FILE"] = str(authority.file)
        options = ("--certificate", str(pem), "--terminators", "1")
        with serving(folder / "data", *options, trust=authority.file) as server:
            space = server.create(starts_in_s=3000, doors_s=2999)
            with Stranger(space.url) as first:
                first.await_fragments(1)
            port, other = upstream_port(server), free_port()
            workers = [server.pid("worker-0"), server.pid("worker-1")]
            with haproxy(folder, pem, other, port) as proxy:
                ours = server.audience_port
                ways = [
                    Way("plain, to the worker", f"http://127.0.0.1:{port}", port, []),
                    Way("our terminator", f"https://127.0.0.1:{ours}", ours, [server.pid("terminator-0")]),
                    Way("HAProxy", f"https://127.0.0.1:{other}", other, [proxy]),
                ]
                wait_for(lambda: subprocess.run(["curl", "-sk", f"{ways[2].url}/readyz"], check=False).returncode == 0)
                rows = [row(way, space, workers, told.listeners, told.seconds) for way in ways]
    print(f"\n{told.listeners} listeners for {told.seconds:.0f} s, hold music in Opus, a fragment each 0.64 s\n")
    table.show(
        ("", "handshake", "handshakes/s", "in front, per listener-second", "worker's", "memory a listener in front"),
        rows,
    )


def row(way: Way, space: Space, workers: list[int], count: int, seconds: float) -> list[str]:
    """A row of the table, in a fixed order: listening first, so that handshakes have left no memory behind."""
    front, behind, memory = listening(way, space, workers, count, seconds)
    if not way.pids:
        return [way.name, "—", "—", "—", f"{behind:.0f} µs", "—"]
    cost_ms, rate = handshakes(way, 5)
    return [
        way.name,
        f"{cost_ms:.2f} ms",
        f"{rate:.0f}",
        f"{front:.0f} µs",
        f"{behind:.0f} µs",
        f"{memory / 1000:.0f} kB",
    ]


if __name__ == "__main__":
    main()
