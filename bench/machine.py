"""The machine a figure was measured on, in one line; figures without it say nothing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def line() -> str:
    return ", ".join(
        (
            f"{len(os.sched_getaffinity(0))} × {_processor()}",
            f"{_memory_gb():.0f} GB",
            f"{platform.system()} {platform.release().partition('-')[0]}",
            f"Python {platform.python_version()}",
            f"PyAV {version('av')}",
            f"aiortc {version('aiortc')}",
            f"load {os.getloadavg()[0]:.1f} before",
        )
    )


def _processor() -> str:
    for row in Path("/proc/cpuinfo").read_text().splitlines():
        if row.startswith("model name"):
            return row.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


if __name__ == "__main__":
    print(line())
