"""The names of processes, and where each keeps its counters. Apart from the supervisor, so that a process which starts
anew in the middle of an event imports no more than its own work needs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rostra.kernel.io import memory
from rostra.kernel.shared import counters
from rostra.kernel.shared.counters import Counters

TURN_SECRET: Final = "ROSTRA_TURN_SECRET"  # noqa: S105 — where it stands, not what it is
"""The environment variable that the studio finds it in: command lines can be read by every user of the machine."""


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """A process that should run: its role and what tells it from others of the role (a Space's id, a number)."""

    role: str
    key: str = ""

    @property
    def name(self) -> str:
        return f"{self.role}-{self.key}" if self.key else self.role


def counters_path(shared: Path, job: Job) -> Path:
    """Where a process keeps its counters and its heartbeat."""
    return shared / f"{job.name}.counters"


def open_counters(shared: Path, job: Job) -> Counters:
    """A process's own counters, to write."""
    return Counters(memory.create(counters_path(shared, job), counters.SIZE), writer=True)
