"""What the benchmarks stand on: the helpers of the tests, and a Space with somebody on air."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.server import Server, Space, serving

ON_AIR_S = 9.0
"""From announcing the Space to the talk: doors, and WebRTC for every speaker on a busy machine."""


@contextmanager
def space() -> Iterator[tuple[Server, Space]]:
    """A server of its own, and a Space that is announced for in a moment."""
    with tempfile.TemporaryDirectory(prefix="rostra-bench-") as folder, serving(Path(folder)) as server:
        yield server, server.create(starts_in_s=ON_AIR_S, doors_s=ON_AIR_S - 2, recording="off")
