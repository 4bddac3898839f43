"""How well a seat is connected, over the last few seconds: what the roster says of its network, and in one word.

Loss of what the seat sends is counted where its packets arrive (RFC 3550, appendix A.3: expected from the sequence
numbers, less received), and those that came too late to sound are lost as well. Loss of what it is sent, and the round
trip, are what its receiver reports say; Chromium and Firefox send one every few seconds, a tool that only sends none.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rostra.kernel.units import SECOND_NS

WINDOW_NS: Final = 5 * SECOND_NS
"""Long enough for a percent to be more than two packets, short enough to say how it is now."""

REPORT_NS: Final = 15 * SECOND_NS
"""Until then a receiver report stands for now: browsers send one about every 5 s (RFC 3550 section 6.2)."""

COUNTS_MAX: Final = 32
"""A count comes twice a second."""

GOOD_LOSS: Final = 0.02
FAIR_LOSS: Final = 0.08
"""Of 1. Up to the first, FEC leaves nothing to hear; above the second, packets that follow each other are lost too."""

GOOD_RTT_MS: Final = 250.0
FAIR_RTT_MS: Final = 600.0
"""With the jitter buffers of both ends, 150 ms and 400 ms one way: ITU-T G.114's limits for ease and for use."""

GOOD_JITTER_MS: Final = 30.0
FAIR_JITTER_MS: Final = 80.0
"""The buffer must hold some three times as much: 90 ms pass unnoticed, a quarter of a second does not."""


class Quality(StrEnum):
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


@dataclass(frozen=True, slots=True)
class Report:
    """A receiver report (RFC 3550 section 6.4.1) about what we send: `loss` of 1 since the one before."""

    loss: float
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """What has come of a stream so far, in packets; `late` are those that no longer sounded."""

    expected: int
    received: int
    late: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """What the roster shows of a seat; None is unknown. `loss_in`: theirs that we miss, `loss_out`: ours they miss."""

    rtt_ms: float | None = None
    loss_in: float | None = None
    loss_out: float | None = None
    jitter_ms: float | None = None
    delay_ms: float | None = None
    quality: Quality | None = None


class Observed:
    """One connection's recent past."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, Count]] = deque(maxlen=COUNTS_MAX)
        self._report: tuple[int, Report] | None = None
        self._rtt: tuple[int, float] | None = None

    def count(self, count: Count, now_ns: int) -> None:
        """Take what has come so far. A stream that counts anew (another source) begins a new past."""
        if self._counts and count.expected < self._counts[-1][1].expected:
            self._counts.clear()
        self._counts.append((now_ns, count))
        while self._counts[0][0] < now_ns - WINDOW_NS:
            self._counts.popleft()

    def report(self, report: Report, now_ns: int) -> None:
        self._report = (now_ns, report)
        if report.rtt_ms is not None:
            self._rtt = (now_ns, report.rtt_ms)

    def view(self, now_ns: int, *, jitter_ms: float | None = None, delay_ms: float | None = None) -> Network:
        """How it is now; jitter and delay are the receive path's to say."""
        loss_in = self._loss_in()
        loss_out = self._report[1].loss if self._report and now_ns - self._report[0] <= REPORT_NS else None
        rtt_ms = self._rtt[1] if self._rtt and now_ns - self._rtt[0] <= REPORT_NS else None
        return Network(rtt_ms, loss_in, loss_out, jitter_ms, delay_ms, quality(rtt_ms, loss_in, loss_out, jitter_ms))

    def _loss_in(self) -> float | None:
        if not self._counts:
            return None
        first, last = self._counts[0][1], self._counts[-1][1]
        expected = last.expected - first.expected
        if expected <= 0:
            return None
        missed = expected - (last.received - first.received) + (last.late - first.late)
        return min(1.0, max(0.0, missed / expected))


def quality(
    rtt_ms: float | None, loss_in: float | None, loss_out: float | None, jitter_ms: float | None
) -> Quality | None:
    """The worst of what is known; None when nothing is."""
    limits = (
        (loss_in, GOOD_LOSS, FAIR_LOSS),
        (loss_out, GOOD_LOSS, FAIR_LOSS),
        (rtt_ms, GOOD_RTT_MS, FAIR_RTT_MS),
        (jitter_ms, GOOD_JITTER_MS, FAIR_JITTER_MS),
    )
    known = [(value, good, fair) for value, good, fair in limits if value is not None]
    if not known:
        return None
    if any(value > fair for value, _, fair in known):
        return Quality.POOR
    return Quality.FAIR if any(value > good for value, good, _ in known) else Quality.GOOD
