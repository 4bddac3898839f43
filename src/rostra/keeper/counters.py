"""What the workers counted, summed."""

from collections.abc import Iterable, Mapping
from typing import Final

from rostra.kernel.shared.counters import HEARTBEAT
from rostra.kernel.units import MS_NS

STALE_MS: Final = 3000
"""A worker whose heartbeat is older is dead or hung, and its listeners with it: they are coming back to another."""

_BEFORE: Final = "space/"
_BEHIND: Final = "/listeners"


def listeners(workers: Iterable[Mapping[str, int]], mono_ns: int) -> dict[str, int] | None:
    """Listeners by Space on this machine, or None when no worker lives that could tell."""
    alive = [worker for worker in workers if mono_ns - worker.get(HEARTBEAT, 0) <= STALE_MS * MS_NS]
    if not alive:
        return None
    sums: dict[str, int] = {}
    for worker in alive:
        for name, value in worker.items():
            if name.startswith(_BEFORE) and name.endswith(_BEHIND):
                space = name[len(_BEFORE) : -len(_BEHIND)]
                sums[space] = sums.get(space, 0) + value
    return sums
