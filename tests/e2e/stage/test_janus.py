"""The same packets to another mixer: Janus's AudioBridge and ours make the same mix of the same two voices."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, SAMPLE_RATE
from rostra.space.grants import Role
from rostra.space.roster import Seat
from rostra.stage import mix
from rostra.stage.io.playout import Playout
from rostra.stage.jitter import Packet
from support.heard import RATE, Band, Heard, compare, narrowed, speech
from support.janus import janus, rtp
from support.netem import MS_NS, Condition, Way

CLEAN_S: Final = 3.0
BAD_S: Final = 3.0
BANDS: Final = (Band(200, 900), Band(1200, 2400))
LEVELS: Final = (0.12, 0.06)
SAID: Final = [speech(CLEAN_S + BAD_S, band, 11 + n, LEVELS[n]) for n, band in enumerate(BANDS)]
TAIL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet of voice `voice`, number `number`, and when it arrives after the first was sent."""

    at_ns: int
    voice: int
    number: int
    payload: bytes


def encoded(pcm: Pcm) -> Iterator[bytes]:
    """What FFmpeg makes of it: speech, with FEC."""
    context = av.CodecContext.create("libopus", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = SAMPLE_RATE, "mono", "s16"
    context.bit_rate = 32_000
    context.options = {"application": "voip", "fec": "1", "packet_loss": "10"}
    samples = (pcm * 32_767).astype("<i2")
    for number, begin in enumerate(range(0, len(samples) - FRAME_SAMPLES + 1, FRAME_SAMPLES)):
        frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + FRAME_SAMPLES], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, number * FRAME_SAMPLES, Fraction(1, SAMPLE_RATE)
        yield from map(bytes, context.encode(frame))


def arrivals() -> list[Sent]:
    """Both voices' packets in the order of their arrival: perfect, then with 5 % of loss and a little reordering."""
    made = []
    for voice, pcm in enumerate(SAID):
        way = Way(voice + 1)
        for number, payload in enumerate(encoded(pcm)):
            if number == CLEAN_S * 50:
                way.condition = Condition(loss=0.05, reorder=0.02, reorder_ms=30)
            now_ns = number * FRAME_NS + voice * 7 * MS_NS
            made += [Sent(at_ns, voice, number, payload) for at_ns in way.take(len(payload), now_ns)]
    return sorted(made, key=lambda sent: (sent.at_ns, sent.voice))


def mixed_by_janus(packets: list[Sent], folder: Path) -> Pcm:
    """In real time, through the loopback."""
    with janus(folder) as bridge:
        lines = [bridge.join(name) for name in ("ann", "bob")]
        began_ns = time.monotonic_ns()
        for sent in packets:
            time.sleep(max(0, began_ns + sent.at_ns - time.monotonic_ns()) / 1e9)
            timestamp = sent.number * FRAME_SAMPLES
            lines[sent.voice].send(rtp(sent.number, timestamp, 77 + sent.voice, sent.payload))
        time.sleep(TAIL_S)
        return bridge.destroy()


def mixed_by_us(packets: list[Sent]) -> Pcm:
    """In no time, with the clock as an argument."""
    seats = [Seat(name, name, Role.SPEAKER, armed=True, session=name) for name in ("ann", "bob")]
    gains = mix.routes(seats, on_air=True)
    playouts = [Playout(), Playout()]
    waiting = list(reversed(packets))
    frames = []
    for number in range(round((CLEAN_S + BAD_S + TAIL_S) * 50)):
        now_ns = number * FRAME_NS
        while waiting and waiting[-1].at_ns <= now_ns:
            sent = waiting.pop()
            arrived = Packet(77 + sent.voice, sent.number & 0xFFFF, sent.number * FRAME_SAMPLES, sent.payload)
            playouts[sent.voice].put(arrived, sent.at_ns)
        frames.append(mix.soften(mix.product(gains, np.stack([playout.frame(now_ns) for playout in playouts]))[0]))
    return np.concatenate(frames)


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice in a mix: what came out while all was perfect, and while it was not, and its level in the former."""

    pcm: Pcm
    clean: Heard
    bad: Heard
    level_db: float


def heard(mixed: Pcm, voice: int) -> Voice:
    said, band = SAID[voice], BANDS[voice]
    begin = round(compare(mixed, said, band).delay_ms() * SAMPLE_RATE / 1000)
    turn = begin + round(CLEAN_S * SAMPLE_RATE)
    clean, bad = mixed[begin + SAMPLE_RATE // 2 : turn], mixed[turn : begin + len(said)]
    level_db = float(10 * np.log10(np.mean(narrowed(clean, band)[RATE // 4 : -RATE // 4] ** 2)))
    return Voice(clean, compare(clean, said, band), compare(bad, said, band), level_db)


def test_both_mixers_make_the_same_mix(tmp_path: Path) -> None:
    """Wave by wave while nothing is lost, but for what is stretched; and with 5 % lost, each voice as well as there."""
    packets = arrivals()
    mixes = {"Janus": mixed_by_janus(packets, tmp_path / "janus"), "Rostra": mixed_by_us(packets)}
    for number, band in enumerate(BANDS):
        voices = {name: heard(mixed, number) for name, mixed in mixes.items()}
        theirs, ours = voices["Janus"], voices["Rostra"]
        same = compare(ours.pcm, mixes["Janus"], band).likeness
        for name, voice in voices.items():
            print(
                f"\nvoice {number}, {name:6}: level {voice.level_db:+.2f} dB; with 5 % loss likeness "
                f"{voice.bad.likeness:.3f}, envelope {voice.bad.envelope:.3f}, missing {voice.bad.missing:.1%}",
                end="",
            )
        print(f"\nvoice {number}: the two mixes are alike by {same:.4f}", end="")
        assert same > 0.85
        assert abs(ours.level_db - theirs.level_db) < 0.5
        assert ours.clean.likeness > theirs.clean.likeness - 0.05
        assert ours.bad.envelope > theirs.bad.envelope - 0.05
        assert ours.bad.silent <= 0.01
