"""How fast a speaker's clock runs against ours.

The theory. A packet's transit is its arrival on our clock less its timestamp on the sender's. A sender whose clock is
slow by p parts in a million sends timestamps that fall behind, so its transits rise by p microseconds a second,
whatever the network adds. What the network adds is never negative and often almost nothing; the lowest transit of some
seconds therefore lies on a line, and the slope of that line is the clocks' difference (Moon, Skelly and Towsley,
"Estimation and Removal of Clock Skew from Network Delay Measurements", INFOCOM 1999, put a line under the points by
linear programming).

Here the line's slope is the median of the slopes between minima that lie a fixed time apart (60 s, less at the start),
after Theil and Sen. A fixed distance, for the sake of steps: when a phone changes its cell, all transits rise for good,
and that stands only in the few pairs that span the moment, which a median does not see. Slopes that no crystal has are
no clock but a queue that fills, and are left out; while the rest disagree, the last good answer stands.

Nothing here is a control loop, so nothing can wind up or swing: the slope is measured, and `rostra.stage.jitter` adds a
small proportional term for what is left of it.
"""

from collections import deque
from statistics import median
from typing import Final

from rostra.kernel.units import SECOND_NS

SLOPE_MAX: Final = 1000e-6
"""Crystals keep within 100 parts in a million, bad sound cards within 500; twice that is no clock."""

BIN_NS: Final = 5 * SECOND_NS
"""A minimum is taken over this long: 250 packets, of which one finds the network idle even when it seldom is."""

BINS: Final = 120
"""Ten minutes: clocks change with temperature, slowly."""

LAG: Final = 12
"""Bins between the two ends of a slope: over 60 s, a millisecond of error at either end is 17 parts in a million."""

BINS_MIN: Final = 6
"""Before 30 s have passed, no slope is better than a guess."""

SPREAD_MAX: Final = 150e-6
"""Between the quartiles; slopes that differ by more say nothing about a clock, whose slope is one."""


class Drift:
    """The estimator: `put` each interval's lowest transit, read `slope`."""

    def __init__(self) -> None:
        self.slope = 0.0
        """Nanoseconds that transit rises in a nanosecond: positive when the sender's clock is slow."""

        self._bins: deque[tuple[int, int]] = deque(maxlen=BINS)  # when (ns) and how low (ns)
        self._began_ns: int | None = None
        self._low: tuple[int, int] = (0, 0)

    def put(self, low_ns: int, now_ns: int) -> None:
        """Take the lowest transit of the interval that has just ended."""
        if self._began_ns is None or now_ns - self._began_ns >= 2 * BIN_NS:  # the first, or the first after a pause
            self._began_ns, self._low = now_ns, (now_ns, low_ns)
        elif low_ns < self._low[1]:
            self._low = now_ns, low_ns
        if now_ns - self._began_ns >= BIN_NS:
            self._bins.append(self._low)
            self._began_ns, self._low = now_ns, (now_ns, low_ns)
            self._measure()

    def restart(self) -> None:
        """The sender counts anew. Its crystal is still the same: the slope stands until a better one is known."""
        self._bins.clear()
        self._began_ns = None

    def _measure(self) -> None:
        if len(self._bins) < BINS_MIN:
            return
        bins = list(self._bins)
        lag = min(LAG, len(bins) // 2)
        pairs = zip(bins[lag:], bins[:-lag], strict=True)
        slopes = sorted((low - before_low) / (at - before_at) for (at, low), (before_at, before_low) in pairs)
        sane = [slope for slope in slopes if abs(slope) <= SLOPE_MAX]
        if 2 * len(sane) <= len(slopes):
            return
        if sane[3 * len(sane) // 4] - sane[len(sane) // 4] <= SPREAD_MAX:
            self.slope = median(sane)
