"""What each network does to a speaker's voice, beside aiortc's own receiver; and what receiving costs.

    python bench/jitter.py [--for SECONDS] [--hour]

The traces are those of tests/unit/stage/traces: seeded models, and recordings of real senders. Each is played twice,
with the same packets of a speaking voice (libopus, 32 kbit/s, FEC), at ticks of 20 ms:

- into our `Playout`;
- into aiortc's `JitterBuffer` as its receiver sets it up (16 packets, 4 in advance), whose frames wait in a queue
  as they do in its track, one taken each tick. What it loses is silent, for it conceals nothing; so are
  pauses.

Delay is by how much what sounds is later than the trace's fastest packet would have brought it. No clock is waited for,
so these figures are the same on any machine; the costs at the end are not. `--hour` adds an hour of a drifting clock,
with real audio, in about 20 s.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import machine
import table

from rostra.kernel.units import FRAME_SAMPLES, SAMPLE_RATE
from rostra.stage.io.opus import Decoder, Encoder
from rostra.stage.io.playout import Playout
from rostra.stage.jitter import Packet
from rostra.stage.stretch import PERIOD_MAX, REACH, seek
from unit.stage.traces import model, recorded
from unit.stage.traces.model import Trace
from unit.stage.traces.replay import packets

VOICE = Path(__file__).parent.parent / "src/rostra/ops/voices/ben.ogg"
MS = 1000 / SAMPLE_RATE


def voice() -> list[bytes]:
    """The packets of a speaker, 20 ms each."""
    encoder, resampler = Encoder(), av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(VOICE)) as file:
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    line = np.concatenate(parts)
    return [encoder.encode(line[at : at + FRAME_SAMPLES]) for at in range(0, len(line) - FRAME_SAMPLES, FRAME_SAMPLES)]


def arriving(trace: Trace, payloads: Sequence[bytes]) -> deque[tuple[float, Packet, int]]:
    """(ms, packet, its first sample) in order of arrival."""
    carried = payloads if trace.samples == FRAME_SAMPLES else ()
    return deque(
        (at_ms, packet, one.sample)
        for one, (at_ms, packet) in zip(trace.arrivals, packets(trace, carried), strict=True)
    )


def ticks(trace: Trace) -> range:
    return range(round(trace.length_ms * (1 + trace.slow) / 20))


def ours(trace: Trace, payloads: Sequence[bytes]) -> tuple[list[float], Playout]:
    """How late (ms, on the trace's clock) each tick sounds."""
    playout, coming, late = Playout(), arriving(trace, payloads), []
    for tick in ticks(trace):
        now_ms = tick * 20 + 7.0
        while coming and coming[0][0] <= now_ms:
            at_ms, packet, _ = coming.popleft()
            playout.put(packet, round(at_ms * 1e6))
        first = playout._jitter._head - len(playout._ready)
        if playout._jitter._playing:
            late.append(now_ms - trace.sent_ms(first))
        playout.frame(round(now_ms * 1e6))
    return late, playout


def aiortcs(trace: Trace, payloads: Sequence[bytes]) -> tuple[list[float], float]:
    """The same of aiortc's buffer, and the share of ticks, from the first sound on, that have nothing to play."""
    buffer, queue, coming = JitterBuffer(capacity=16, prefetch=4), deque[int](), arriving(trace, payloads)
    samples = {packet.timestamp: sample for _, packet, sample in coming}
    late, silent = [], 0
    for tick in ticks(trace):
        now_ms = tick * 20 + 7.0
        while coming and coming[0][0] <= now_ms:
            _, packet, _ = coming.popleft()
            rtp = RtpPacket(payload_type=111, sequence_number=packet.sequence, timestamp=packet.timestamp)
            rtp._data = packet.payload  # type: ignore[attr-defined]
            _, frame = buffer.add(rtp)
            if frame is not None:
                first = samples[frame.timestamp]
                queue.extend(range(first, first + trace.samples, FRAME_SAMPLES))
        if queue:
            late.append(now_ms - trace.sent_ms(queue.popleft()))
        elif late:
            silent += 1
    return late, silent / (len(late) + silent)


def row(trace: Trace, payloads: Sequence[bytes]) -> list[str]:
    fastest = min(one.at_ms - trace.sent_ms(one.sample) for one in trace.arrivals)
    late, playout = ours(trace, payloads)
    theirs, silent = aiortcs(trace, payloads)
    tally, count = playout.tally, len(ticks(trace))
    return [
        trace.name,
        *(f"{np.percentile(late, share) - fastest:.0f}" for share in (50, 95)),
        f"{tally.recovered / count:.1%}",
        f"{tally.concealed / count:.1%}",
        f"{tally.folded_samples * MS:.0f} / {tally.stretched_samples * MS:.0f}",
        *(f"{np.percentile(theirs, share) - fastest:.0f}" for share in (50, 95)),
        f"{silent:.1%}",
    ]


def traces(seconds: float) -> list[Trace]:
    made = [network(np.random.default_rng(1), round(seconds * 50)) for network in model.MODELS]
    return made + [recorded.load(name) for name in recorded.NAMES]


def costs(payloads: Sequence[bytes]) -> list[list[str]]:
    """Microseconds of CPU."""

    def frame_us(trace: Trace) -> float:
        before = time.process_time()
        ours(trace, payloads)
        return (time.process_time() - before) * 1e6 / len(ticks(trace))

    decoder, before = Decoder(), time.process_time()
    for payload in payloads:
        decoder.decode(payload)
    decoding_us = (time.process_time() - before) * 1e6 / len(payloads)
    line = np.random.default_rng(1).normal(size=PERIOD_MAX + REACH).astype(np.float32)
    before = time.process_time()
    for _ in range(1000):
        seek(line, 0, 0)
    seeking_us = (time.process_time() - before) * 1000
    calm = min(frame_us(model.calm(np.random.default_rng(1), 3000)) for _ in range(3))
    return [
        ["libopus alone, decoding", f"{decoding_us:.0f} µs"],
        ["a speaker's frame, all of it", f"{calm:.0f} µs"],
        ["13 speakers, of a core", f"{calm * 13 * 50 / 1e4:.1f} %"],
        ["looking for a period, when a stretch is wanted", f"{seeking_us:.0f} µs"],
    ]


def hour(payloads: Sequence[bytes]) -> list[list[str]]:
    """Of clocks 200 parts in a million fast and slow: the delay over the hour, and what was done after five minutes."""
    rows = []
    for ppm in (200, -200):
        rng, slow = np.random.default_rng(1), -ppm * 1e-6
        trace = model.trace("", 20 + rng.gamma(1.2, 1.5, 180_000), slow=slow)
        late, playout = ours(trace, payloads)
        settled = np.array(late[15_000:])
        tally = playout.tally
        rows.append(
            [
                f"{ppm:+d} ppm",
                f"{settled.min() - 20:.1f} to {settled.max() - 20:.1f} ms",
                f"{tally.concealed}",
                f"{tally.folded} / {tally.stretched}",
                f"{(playout._jitter.ratio - 1) * 1e6:+.1f} ppm",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--for", dest="seconds", type=float, default=60.0)
    parser.add_argument("--hour", action="store_true")
    arguments = parser.parse_args()
    print(machine.line(), end="\n\n")
    payloads = voice()
    head = [
        "network",
        "delay p50, ms",
        "p95",
        "rebuilt",
        "concealed",
        "taken out / put in, ms",
        "aiortc: p50",
        "p95",
        "silent",
    ]
    table.show(head, [row(trace, payloads) for trace in traces(arguments.seconds)])
    print()
    table.show(["CPU", ""], costs(payloads))
    if arguments.hour:
        print()
        table.show(["an hour of", "delay after 5 min", "concealed", "folded / stretched", "ratio"], hour(payloads))


if __name__ == "__main__":
    main()
