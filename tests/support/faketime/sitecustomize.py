"""Loaded by Python itself in the processes that run under libfaketime (`tests/e2e/test_clock.py`).

`time.sleep` asks the kernel to wake it at an instant of the monotonic clock, which libfaketime 0.9.10 takes for one of
the clock it fakes, and refuses (EINVAL). A wait without an instant is left alone.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
