"""What a bad network does to each packet: a pure model, drawn from a seed.

The theory. A way (one direction of a link) is a queue before a bottleneck, and a line behind it. In this order a packet

1. may be lost: with probability `loss` by itself, and in bursts by a Gilbert-Elliott chain (`Bursts`): two states, one
   of which loses everything, changed by one draw a packet. With leave = 1 / length and enter = leave × share /
   (1 - share) the chain loses `share` of all packets, in runs of `length` on average, which is what a radio link does;
2. waits for the bottleneck when there is one (`rate_kbit_s`): size / rate each, behind those before it. Who would wait
   longer than `queue_ms` is dropped at the tail; a long queue is a bloated one;
3. travels for `delay_ms`, more or less by up to `jitter_ms`, each packet by itself: those that overtake each other come
   in another order, unless the way is `ordered`, in which case they catch up with the one before them. A packet that is
   picked by `reorder` waits for `reorder_ms` longer;
4. may come twice (`duplicate`), the second time by a draw of its own;
5. is held back while the way stalls (`stall`), and comes with all others when that ends: a telephone that changes its
   access point. A way that is `down` loses everything.

Every packet draws the same number of variates, used or not, so that one setting never changes what another decides:
the packets that are lost with 5 % are among those that are lost with 10 %, from the same seed.
"""

import random
from dataclasses import dataclass
from typing import Final

MS_NS: Final = 1_000_000
BYTES_MAX: Final = 2048
"""More than a TUN device with an MTU of 1500 ever hands over."""


@dataclass(frozen=True, slots=True)
class Bursts:
    """Losses that come in runs: `share` of all packets, in runs of `length` on average."""

    share: float
    length: float = 3.0

    def __post_init__(self) -> None:
        assert 0 <= self.share < 1, "a share of all packets"
        assert self.length >= max(1, self.share / (1 - self.share)), "runs so short cannot make up that share"


@dataclass(frozen=True, slots=True)
class Condition:
    """What one way is like. Probabilities are a packet's own; the times are added to the host's own few 100 µs."""

    loss: float = 0.0
    bursts: Bursts | None = None
    rate_kbit_s: float | None = None
    queue_ms: float = 1000.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    ordered: bool = False
    reorder: float = 0.0
    reorder_ms: float = 40.0
    duplicate: float = 0.0
    down: bool = False


@dataclass(slots=True)
class Counts:
    """What happened to the packets of a way, by cause. `taken` = `lost` + `tail_dropped` + `delivered` - `doubled`."""

    taken: int = 0
    bytes_taken: int = 0
    lost: int = 0
    tail_dropped: int = 0
    delivered: int = 0
    doubled: int = 0
    overtaken: int = 0
    """Packets that come before one that was taken earlier."""


class Way:
    """One direction of a link. Times in ns, on any clock that does not run backwards."""

    def __init__(self, seed: int, condition: Condition = Condition()) -> None:
        self.condition = condition
        self.counts = Counts()
        self._chance = random.Random(seed)
        self._burst = False
        self._free_ns = 0  # when the bottleneck has sent all that it was given
        self._last_ns = 0  # the latest arrival so far
        self._stalled_until_ns = 0

    def stall(self, until_ns: int) -> None:
        """Hold back what would arrive before `until_ns`; what is on its way already is not affected."""
        self._stalled_until_ns = max(self._stalled_until_ns, until_ns)

    def take(self, size_bytes: int, now_ns: int) -> tuple[int, ...]:
        """When this packet arrives at the other end: never, once, or twice."""
        lost, moved, jitter, late, double, jitter_double = (self._chance.random() for _ in range(6))
        self.counts.taken += 1
        self.counts.bytes_taken += size_bytes
        if self._is_lost(lost, moved):
            self.counts.lost += 1
            return ()
        sent_ns = self._through(size_bytes, now_ns)
        if sent_ns is None:
            self.counts.tail_dropped += 1
            return ()
        condition = self.condition
        extra_ms = condition.reorder_ms if late < condition.reorder else 0.0
        arrivals = [self._arrive(sent_ns, jitter, extra_ms)]
        if double < condition.duplicate:
            self.counts.doubled += 1
            arrivals.append(self._arrive(sent_ns, jitter_double, extra_ms))
        self.counts.delivered += len(arrivals)
        return tuple(arrivals)

    def _is_lost(self, lost: float, moved: float) -> bool:
        bursts = self.condition.bursts
        if bursts is None or bursts.share == 0:
            self._burst = False
        else:
            leave = 1 / bursts.length
            enter = leave * bursts.share / (1 - bursts.share)
            self._burst = moved >= leave if self._burst else moved < enter
        return self.condition.down or self._burst or lost < self.condition.loss

    def _through(self, size_bytes: int, now_ns: int) -> int | None:
        """When the bottleneck has sent the packet; None when its queue is full."""
        rate = self.condition.rate_kbit_s
        if rate is None:
            self._free_ns = now_ns
            return now_ns
        begin_ns = max(now_ns, self._free_ns)
        if begin_ns - now_ns > self.condition.queue_ms * MS_NS:
            return None
        self._free_ns = begin_ns + round(size_bytes * 8 * MS_NS / rate)
        return self._free_ns

    def _arrive(self, sent_ns: int, jitter: float, extra_ms: float) -> int:
        condition = self.condition
        travel_ms = max(0.0, condition.delay_ms + (2 * jitter - 1) * condition.jitter_ms) + extra_ms
        at_ns = max(sent_ns + round(travel_ms * MS_NS), self._stalled_until_ns)
        if condition.ordered:
            at_ns = max(at_ns, self._last_ns)
        elif at_ns < self._last_ns:
            self.counts.overtaken += 1
        self._last_ns = max(self._last_ns, at_ns)
        return at_ns
