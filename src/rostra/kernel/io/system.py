"""The machine's clocks."""

import time
from pathlib import Path

from rostra.kernel.clock import Now


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


BOOT_ID = _boot_id()


def now() -> Now:
    """Both clocks, read together."""
    return Now(time.time_ns(), time.monotonic_ns(), BOOT_ID)
