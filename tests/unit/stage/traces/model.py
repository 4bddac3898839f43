"""Arrival traces from seeded models of networks, each a list of packets with the instant at which they arrive.

The models are simple on purpose: each has just the one habit that it is named after, in the size that field reports
give it. A network that keeps packets in order (all but `wild` and `overtaking`) never lets one arrive before its
predecessor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE

Delays = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet: its number since the start, its first sample, and when it arrives (ms since the first was sent)."""

    number: int
    sample: int
    at_ms: float


@dataclass(frozen=True, slots=True)
class Trace:
    """What arrives of `sent` packets of `samples` each, from a sender whose seconds last 1 + `slow` of ours."""

    name: str
    arrivals: tuple[Arrival, ...]
    sent: int
    slow: float = 0.0
    samples: int = FRAME_SAMPLES

    @property
    def length_ms(self) -> float:
        return self.sent * self.samples * 1000 / SAMPLE_RATE

    def sent_ms(self, sample: int) -> float:
        """When the sender's sample was recorded, on our clock."""
        return sample * 1000 / SAMPLE_RATE * (1 + self.slow)


def trace(
    name: str, delays_ms: Delays, lost: npt.NDArray[np.bool_] | None = None, *, fifo: bool = True, slow: float = 0.0
) -> Trace:
    """A sender of 20 ms packets, the n-th of which takes `delays_ms[n]` unless it is lost."""
    number = np.arange(len(delays_ms))
    at_ms = number * 20.0 * (1 + slow) + delays_ms
    kept = ~lost if lost is not None else np.ones(len(delays_ms), np.bool_)
    if fifo:
        at_ms[kept] = np.maximum.accumulate(at_ms[kept])
    arrivals = [Arrival(n, n * FRAME_SAMPLES, float(at_ms[n])) for n in number[kept].tolist()]
    arrivals.sort(key=lambda arrival: arrival.at_ms)
    return Trace(name, tuple(arrivals), len(delays_ms), slow)


def _light(rng: np.random.Generator, count: int, scale_ms: float = 1.5) -> Delays:
    """20 ms of way, and the little that every network adds."""
    delays: Delays = 20 + rng.gamma(1.2, scale_ms, count)
    return delays


def calm(rng: np.random.Generator, count: int) -> Trace:
    return trace("calm", _light(rng, count))


def wifi(rng: np.random.Generator, count: int) -> Trace:
    """A shared channel: every one to three seconds nothing gets through for 30 to 150 ms, then everything at once."""
    delays = _light(rng, count, 3)
    at = 0.0
    while (at := at + rng.uniform(1000, 3000)) < count * 20:
        stalled = np.arange(count) * 20 + delays
        until = at + rng.uniform(30, 150)
        held = (stalled >= at) & (stalled < until)
        delays[held] += until - stalled[held]
    return trace("wifi", delays)


def bufferbloat(rng: np.random.Generator, count: int) -> Trace:
    """An upload beside it: from a quarter of the time on a queue fills to 300 ms in 5 s, swings, and drains in 1 s."""
    at = np.arange(count) * 0.02
    begin, end = count * 0.02 * 0.25, count * 0.02 * 0.6
    filling = np.clip((at - begin) / 5, 0, 1) * np.clip((end - at) / 1, 0, 1)
    return trace("bufferbloat", _light(rng, count) + filling * (260 + 40 * np.sin(at * 2.5)))


def handover(rng: np.random.Generator, count: int) -> Trace:
    """LTE: scheduling of 0 to 12 ms, and every 15 s another cell: 300 ms of nothing, two packets lost, another way."""
    delays = _light(rng, count) + rng.uniform(0, 12, count)
    lost = np.zeros(count, np.bool_)
    for at in range(500, count - 50, 750):
        delays[at:] += rng.uniform(-10, 25)
        delays[at : at + 15] += 300 - 20 * np.arange(15)
        lost[at + 3 : at + 5] = True
    return trace("handover", delays, lost)


def loss(rng: np.random.Generator, count: int) -> Trace:
    """5 % at random."""
    return trace("loss 5 %", _light(rng, count), rng.random(count) < 0.05)


def bursts(rng: np.random.Generator, count: int) -> Trace:
    """20 % in bursts of three on average (Gilbert's model): good 12 packets long, bad three."""
    lost, bad = np.zeros(count, np.bool_), False
    for at in range(count):
        bad = rng.random() < (2 / 3 if bad else 1 / 12)
        lost[at] = bad
    return trace("loss 20 % in bursts", _light(rng, count), lost)


def wild(rng: np.random.Generator, count: int) -> Trace:
    """Every packet takes 20 to 200 ms, whatever the others do."""
    return trace("20 to 200 ms", rng.uniform(20, 200, count), fifo=False)


def waves(rng: np.random.Generator, count: int) -> Trace:
    """20 ms of way for ten seconds, 200 ms for the next ten, in order."""
    high = (np.arange(count) // 500) % 2 == 1
    return trace("20 ms and 200 ms by turns", _light(rng, count) + 180 * high)


def overtaking(rng: np.random.Generator, count: int) -> Trace:
    """Two ways of 20 and 45 ms, taken by one packet in ten."""
    return trace("overtaking", _light(rng, count) + 25 * (rng.random(count) < 0.1), fifo=False)


def stall(rng: np.random.Generator, count: int) -> Trace:
    """In the middle, 800 ms of nothing, then everything at once."""
    delays = _light(rng, count)
    at = count // 2
    delays[at : at + 40] += 800 - 20 * np.arange(40)
    return trace("stall", delays)


def pauses(rng: np.random.Generator, count: int) -> Trace:
    """DTX as Chromium has it: 2 s of speech, 2 s with a packet each 400 ms; numbers without a gap."""
    delays = _light(rng, count)
    speaks = ((np.arange(count) // 100) % 2 == 0) | (np.arange(count) % 20 == 0)
    arrivals = [
        Arrival(number, int(n) * FRAME_SAMPLES, float(n * 20 + delays[n]))
        for number, n in enumerate(np.flatnonzero(speaks))
    ]
    return Trace("pauses (DTX)", tuple(arrivals), count)


def drifting(rng: np.random.Generator, count: int, slow: float = 300e-6) -> Trace:
    """A clock 300 parts in a million slow, on a network with some jitter."""
    return trace(f"clock {slow * -1e6:+.0f} ppm", _light(rng, count, 4), slow=slow)


MODELS: Final[Sequence[Callable[[np.random.Generator, int], Trace]]] = (
    calm,
    wifi,
    bufferbloat,
    handover,
    loss,
    bursts,
    wild,
    waves,
    overtaking,
    stall,
    pauses,
    drifting,
)
