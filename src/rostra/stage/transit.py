"""What the network does to a speaker's packets: how fast they come at best, how much later at worst.

The theory. Transit, a packet's arrival on our clock less its timestamp on the sender's, means nothing by itself, for
nobody knows what the two clocks have in common. Its lowest value, the floor, stands for a packet that nothing delayed,
and every packet's lateness is counted from there. If the sample with timestamp t sounds at t + floor + D, just those
packets are there in time whose lateness is at most D. So the delay that a buffer needs is a quantile of lateness
(Ramjee, Kurose, Towsley and Schulzrinne, "Adaptive Playout Mechanisms for Packetized Audio Applications in Wide-Area
Networks", INFOCOM 1994; Moon, Kurose and Towsley, "Packet Audio Playout Delay Adjustment", Multimedia Systems 6, 1998).
WebRTC's NetEq keeps a histogram for it that forgets.

Packets do not come late one by one but in bouts, and what people notice is not how many packets were late but how often
it was heard. So we count half-seconds, each by its latest packet, and a half-second that is 6 s old weighs half of a
new one. Of that weight, `AMPLE` must be covered. All the weights add up to 17.8, and 4 % of it is 0.71, so:

- a single late half-second weighs 1, more than the part left uncovered: the need rises at once, and for 3 s;
- what comes back at least every 7.6 s is covered for good; what is rarer costs a concealment each time;
- after bad minutes the need falls again within 23 s.

`AMPLE` and `LEAST` are two such quantiles with room between them, so that the delay need not follow every change: more
than the first asks for is surplus, less than the second is too little. The floor is followed at once when it falls, and
after 30 s when it rises; both floor and lateness move with the clocks' difference (`rostra.stage.drift`) meanwhile.

`jitter_ns` is the interarrival jitter of RFC 3550 section 6.4.1 (and its A.8), for reports: a mean, of no use for this.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.stage.drift import Drift

INTERVAL_NS: Final = 500 * MS_NS
INTERVALS: Final = 60
"""Half a minute: by then an interval weighs 3 %, and what lay under it for so long is the floor no more."""

HALF_LIFE_NS: Final = 6 * SECOND_NS
WHOLE: Final = 1 / (1 - 0.5 ** (INTERVAL_NS / HALF_LIFE_NS))
"""What the weights of all half-seconds there ever were add up to. Those before the first count, as good ones."""

AMPLE: Final = 0.96
LEAST: Final = 0.90
"""Two late half-seconds, not one, are worth slowing a speaker down for."""

RECENT: Final = 3
"""Intervals whose fastest packet says where the network stands now, however low the floor was before."""

FORGET_NS: Final = SECOND_NS
"""Packets that are suddenly so much later or earlier tell of another timeline, not of a slow network."""


@dataclass(slots=True)
class _Interval:
    """The least and the greatest transit (ns) among the packets of half a second from `began_ns`."""

    began_ns: int
    low_ns: int
    high_ns: int


class Transit:
    """The observer: `put` each packet's time on either clock."""

    def __init__(self) -> None:
        self.jitter_ns = 0.0
        self._drift = Drift()
        self._intervals: deque[_Interval] = deque(maxlen=INTERVALS)
        self._floor_ns = 0
        self._floor_at_ns = 0
        self._last_ns: int | None = None  # the last packet's transit
        self._needs: tuple[int, int, int] | None = None

    @property
    def known(self) -> bool:
        return bool(self._intervals)

    @property
    def slope(self) -> float:
        """How fast transit rises for the clocks' sake alone (`rostra.stage.drift`)."""
        return self._drift.slope

    def floor_ns(self, now_ns: int) -> int:
        """The transit of a packet that nothing delays."""
        return self._floor_ns + round(self.slope * (now_ns - self._floor_at_ns))

    def put(self, at_ns: int, now_ns: int) -> int:
        """Take a packet whose timestamp is `at_ns`, arrived at `now_ns`. Returns its lateness in ns, not negative."""
        transit = now_ns - at_ns
        if self._last_ns is not None:
            self.jitter_ns += (abs(transit - self._last_ns) - self.jitter_ns) / 16
            if abs(transit - self.floor_ns(now_ns)) > FORGET_NS:
                self.restart()
        self._last_ns = transit
        if not self._intervals or now_ns - self._intervals[-1].began_ns >= INTERVAL_NS:
            self._turn(transit, now_ns)
        interval = self._intervals[-1]
        if transit > interval.high_ns or transit < interval.low_ns:
            interval.high_ns = max(interval.high_ns, transit)
            interval.low_ns = min(interval.low_ns, transit)
            self._needs = None
        if transit < self.floor_ns(now_ns):
            self._floor_ns, self._floor_at_ns = transit, now_ns
        return transit - self.floor_ns(now_ns)

    def need_ns(self, now_ns: int, ceiling_ns: int) -> tuple[int, int]:
        """The lateness to wait for: what is too little below, and what is surplus above.

        Neither is more than `ceiling_ns` beyond the fastest packet of the last one to one and a half seconds.
        """
        if self._needs is None:
            self._needs = self._weigh(now_ns)
        least, ample, recent = self._needs
        return min(least, recent + ceiling_ns), min(ample, recent + ceiling_ns)

    def restart(self) -> None:
        """Forget the timeline; the crystal behind it stays the same."""
        self._intervals.clear()
        self._drift.restart()
        self._last_ns = None
        self._needs = None

    def _turn(self, transit_ns: int, now_ns: int) -> None:
        """Begin another interval, and look at the floor anew."""
        if self._intervals:
            self._drift.put(self._intervals[-1].low_ns, now_ns)
        self._intervals.append(_Interval(now_ns, transit_ns, transit_ns))
        self._floor_ns = min(self._here(one.low_ns, one, now_ns) for one in self._intervals)
        self._floor_at_ns = now_ns
        self._needs = None

    def _here(self, transit_ns: int, interval: _Interval, now_ns: int) -> int:
        """What a transit of an `interval` past would be now, clocks having moved apart since."""
        return transit_ns + round(self.slope * (now_ns - interval.began_ns))

    def _weigh(self, now_ns: int) -> tuple[int, int, int]:
        """The two quantiles, and the least recent lateness."""
        floor_ns = self.floor_ns(now_ns)
        newest_ns = self._intervals[-1].began_ns
        late = [self._here(one.high_ns, one, now_ns) - floor_ns for one in self._intervals]
        weights = [0.5 ** ((newest_ns - one.began_ns) / HALF_LIFE_NS) for one in self._intervals]
        recent = min(self._here(one.low_ns, one, now_ns) for one in list(self._intervals)[-RECENT:]) - floor_ns
        least = ample = max(late)
        uncovered = 0.0
        for lateness, weight in sorted(zip(late, weights, strict=True), reverse=True):
            ample = lateness if uncovered <= (1 - AMPLE) * WHOLE else ample
            least = lateness if uncovered <= (1 - LEAST) * WHOLE else least
            uncovered += weight
            if uncovered > (1 - LEAST) * WHOLE:
                break
        return least, ample, recent
