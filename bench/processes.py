"""What a Space costs, process by process, and how late its two clocks tick, alone and with a thousand listeners.

    .venv/bin/python bench/processes.py [--for 20] [--listeners 1000]

CPU is what the kernel counts for each process (/proc/<pid>/stat). Lateness is watched from outside: both clocks
publish each frame in a ring of shared memory, and a loop here notes when frame k of the machine's 20 ms grid appears.
The listeners are sockets in one process of their own (bench/crowd.py) on the same two cores.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import floors
import machine
import numpy as np
import stand
import table

from rostra.kernel.io import memory
from rostra.kernel.shared.ring import Ring
from rostra.kernel.units import FRAME_NS
from rostra.space.io.folder import Folder
from support.server import Server, Space, speaking, wait_for

VOICES = Path(__file__).parent.parent / "src/rostra/ops/voices"
TICKS_S = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.0002
GIVE_UP_NS = 100_000_000


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


@dataclass
class Lateness:
    """Milliseconds by which frames came after the instant at which they were due; `missing` never came.

    A frame that was there when a belated watcher first looked counts with that look: too much rather than too little.
    """

    ms: list[float] = field(default_factory=list)
    missing: int = 0

    def __str__(self) -> str:
        if not self.ms:
            return "—"
        p50, p99 = np.percentile(self.ms, (50, 99))
        missing = f", {self.missing} never" if self.missing else ""
        return f"{p50:.1f} / {p99:.1f} ms{missing}"


class Watch:
    """Looks at both rings of a Space."""

    def __init__(self, server: Server, space: Space) -> None:
        folder = Folder(server.data, memory.shared_folder(server.data), space.id)
        self._rings = {
            "stage": Ring(memory.attach(folder.mix_ring)),
            "programme": Ring(memory.attach(folder.return_ring)),
        }

    def look(self, seconds: float) -> dict[str, Lateness]:
        found = {name: Lateness() for name in self._rings}
        first = time.monotonic_ns() // FRAME_NS + 2
        for number in range(first, first + round(seconds * 1e9 / FRAME_NS)):
            due = number * FRAME_NS
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            awaited = dict(self._rings)
            while awaited:
                for name, ring in list(awaited.items()):
                    if ring.read(number) is not None:
                        found[name].ms.append((time.monotonic_ns() - due) / 1e6)
                        del awaited[name]
                if time.monotonic_ns() > due + GIVE_UP_NS:
                    break
                time.sleep(LOOK_S)
            for name in awaited:
                found[name].missing += 1
        return found


@contextmanager
def punctual() -> Iterator[None]:
    """Whoever watches must not be late themself: a little more than equal, where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    yield
    os.setpriority(os.PRIO_PROCESS, 0, 0)


@dataclass
class Row:
    """One situation."""

    name: str
    seats: int
    listeners: int
    cpu: dict[str, float]
    late: dict[str, Lateness]


def measure(name: str, seats: int, listeners: int, server: Server, space: Space, seconds: float) -> Row:
    jobs = {
        "programme": [f"programme-{space.id}"],
        "stage": [f"stage-{space.id}"],
        "workers": ["worker-0", "worker-1"],
        "keeper": ["keeper"],
        "studio": ["studio"],
    }
    pids = {role: [server.pid(job) for job in names] for role, names in jobs.items()}
    watch = Watch(server, space)
    before = {role: sum(map(cpu_s, each)) for role, each in pids.items()}
    began = time.monotonic()
    with punctual():
        late = watch.look(seconds)
    lasted = time.monotonic() - began
    gone = [job for names in jobs.values() for job in names if len(server.starts(job)) > 1]
    assert not gone, f"restarted while it was measured: {', '.join(gone)}\n{server.log_path.read_text()[-3000:]}"
    cpu = {role: 100 * (sum(map(cpu_s, each)) - before[role]) / lasted for role, each in pids.items()}
    return Row(name, seats, listeners, cpu, late)


@contextmanager
def crowd(space: Space, listeners: int) -> Iterator[None]:
    """So many listeners, all of them in."""
    command = [sys.executable, str(Path(__file__).parent / "crowd.py"), space.url, str(listeners)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        for line in child.stdout:
            if json.loads(line)["listening"] == listeners:
                break
        yield
        child.terminate()
        last = child.stdout.read().splitlines()[-1]
        assert json.loads(last)["lost"] == 0, last
    finally:
        child.terminate()
        child.wait(10)


def seat(space: Space, stack: ExitStack, number: int) -> None:
    """Another speaker, armed."""
    name = f"Voice {number}"
    stack.enter_context(speaking(space, VOICES / ("ada.ogg", "ben.ogg")[number % 2], name))
    space.await_seats(name)
    space.arm(name)


def run(seconds: float, listeners: int) -> list[Row]:
    rows = []
    with stand.space() as (server, space), ExitStack() as stack:
        space.await_state("doors_open")
        seat(space, stack, 1)
        space.await_state("on_air")
        rows.append(measure("1 speaker", 1, 0, server, space, seconds))
        for number in (2, 3, 4):
            seat(space, stack, number)
        rows.append(measure("4 speakers", 4, 0, server, space, seconds))
        with crowd(space, listeners):
            wait_for(lambda: (space.public()["listeners"] or 0) >= listeners, 20, "the count")
            rows.append(measure(f"4 speakers, {listeners} listeners", 4, listeners, server, space, seconds))
    return rows


def percent(figure: float, floor: float | None = None) -> str:
    return f"{figure:.1f} %" + (f" ({figure / floor:.1f} ×)" if floor else "")


def report(rows: list[Row]) -> None:
    encoding, a_seat = floors.programme(), floors.stage(1)
    print("CPU, of one core; in brackets the multiple of the floor\n")
    table.show(
        ("", "programme", "stage", "workers", "keeper", "studio"),
        [
            (
                row.name,
                percent(row.cpu["programme"], encoding),
                percent(row.cpu["stage"], a_seat * row.seats),
                percent(row.cpu["workers"], floors.sends(row.listeners) if row.listeners else None),
                percent(row.cpu["keeper"]),
                percent(row.cpu["studio"]),
            )
            for row in rows
        ],
    )
    print(f"\nFloors: encoding both renditions {encoding:.1f} %; Opus in and out {a_seat:.1f} % a seat;", end=" ")
    print(f"write(2) to {rows[-1].listeners} sockets {floors.sends(rows[-1].listeners):.1f} %.\n")
    print("Lateness of the 20 ms ticks, p50 / p99\n")
    table.show(("", "programme", "stage"), [(r.name, str(r.late["programme"]), str(r.late["stage"])) for r in rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--for", dest="seconds", type=float, default=20.0, help="seconds a situation")
    parser.add_argument("--listeners", type=int, default=1000)
    options = parser.parse_args()
    print(machine.line(), end="\n\n")
    report(run(options.seconds, options.listeners))
