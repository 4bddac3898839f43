"""Arrival traces of real senders, recorded on loopback by `record.py` while the machine was made busy.

A file begins with comments that say how it was made, then the samples of a packet; each further line is a packet: its
sequence number and timestamp as they differ from the one before, and the microseconds since that one arrived.
"""

from itertools import pairwise
from pathlib import Path
from typing import Final

from rostra.kernel.units import SAMPLE_RATE
from unit.stage.traces.model import Arrival, Trace

FOLDER: Final = Path(__file__).parent
NAMES: Final = ("chromium", "ffmpeg")


def load(name: str) -> Trace:
    """The trace, its first packet sent at 0."""
    lines = [line for line in (FOLDER / f"{name}.trace").read_text().splitlines() if not line.startswith("#")]
    samples = int(lines[0])
    number = sample = 0
    at_ms = 20.0
    arrivals = []
    for line in lines[1:]:
        numbers, moved, later_us = map(int, line.split())
        number, sample, at_ms = number + numbers, sample + moved, at_ms + later_us / 1000
        arrivals.append(Arrival(number, sample, at_ms))
    sent = round((arrivals[-1].at_ms - arrivals[0].at_ms) * SAMPLE_RATE / 1000 / samples)
    return Trace(f"{name} (recorded)", tuple(arrivals), sent, samples=samples)


def save(name: str, samples: int, packets: list[tuple[int, int, int]], how: str) -> None:
    """Write a trace: packets as (sequence number, timestamp, ns of arrival), `how` it was made."""
    lines = [f"# {line}" for line in how.splitlines()] + [str(samples), "0 0 0"]
    for (before, sample_before, at_before), (number, sample, at_ns) in pairwise(packets):
        numbers = ((number - before + 0x8000) & 0xFFFF) - 0x8000
        moved = ((sample - sample_before + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
        lines.append(f"{numbers} {moved} {(at_ns - at_before) // 1000}")
    (FOLDER / f"{name}.trace").write_text("\n".join(lines) + "\n")
