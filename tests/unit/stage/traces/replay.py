"""A trace played into the machine alone, with a shell that knows only lengths: fast, and exact about time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rostra.kernel.units import FRAME_SAMPLES, MS_NS
from rostra.stage.jitter import Action, Jitter, Packet, count_shift
from rostra.stage.stretch import PERIOD_MAX
from unit.stage.traces.model import Trace

CELT_20_MS = bytes([31 << 3])
HEADS = {960: CELT_20_MS, 2880: bytes([11 << 3])}
"""The first byte of packets of 20 and 60 ms (RFC 6716 section 3.1)."""

PERIOD = 384
"""What one stretch does here: a voice of 125 Hz."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick was told to do; and how long ago, on our clock, the first sample of its frame was recorded."""

    now_ms: float
    actions: list[Action]
    late_ms: float | None
    ahead: int
    want: int


def packets(
    trace: Trace, payloads: Sequence[bytes] = (), origin: tuple[int, int] = (0, 0)
) -> Iterator[tuple[float, Packet]]:
    """When each packet arrives (ms), and the packet; the first one's number and timestamp are `origin`."""
    for one in trace.arrivals:
        number = one.sample // trace.samples
        payload = payloads[number % len(payloads)] if payloads else HEADS[trace.samples] + number.to_bytes(4, "big")
        sequence, timestamp = one.number + origin[0], one.sample + origin[1]
        yield one.at_ms, Packet(1, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, payload)


def replay(trace: Trace, jitter: Jitter, tail_ms: float = 500.0, origin: tuple[int, int] = (0, 0)) -> Iterator[Tick]:
    """Every tick of the machine, from the first packet's sending to some time after the last."""
    coming = packets(trace, origin=origin)
    following = next(coming, None)
    ahead, place, rest = 0, 0.0, False
    for tick in range(round((trace.length_ms * (1 + trace.slow) + tail_ms) / 20)):
        now_ms = tick * 20 + 7.0
        while following is not None and following[0] <= now_ms:
            jitter.put(following[1], round(following[0] * MS_NS))
            following = next(coming, None)
        place += FRAME_SAMPLES * jitter.ratio
        want = int(place)
        place -= want
        late_ms = now_ms - trace.sent_ms(jitter._head - ahead - origin[1]) if jitter._playing else None
        actions = jitter.pull(round(now_ms * MS_NS), ahead, want)
        before, length = ahead, ahead + sum(action.samples for action in actions)
        shorter = 0 if rest else stretch(jitter.wish, length - want)
        count_shift(jitter.tally, shorter)
        rest = shorter != 0
        ahead = length - shorter - want
        yield Tick(now_ms, actions, late_ms, before, want)


def stretch(wish: int, spare: int) -> int:
    """What a stretcher takes away that always finds a good place."""
    if wish > 0:
        return PERIOD if min(wish, spare, PERIOD_MAX) >= PERIOD else 0
    return -PERIOD if wish < 0 else 0
