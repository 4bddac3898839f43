"""Packets in, in any order; audio out, in order, on the stage's clock.

The theory. A speaker's audio is a line of samples numbered by RTP timestamps, and `head` is the place on it that sounds
next. Each tick moves `head` on by 960 samples, whatever has arrived: a packet that lies there is decoded, a hole is
rebuilt from the packet behind it (in-band FEC, RFC 6716 section 2.1.7) or concealed by the decoder. Holes are measured
in timestamps, not in sequence numbers: with discontinuous transmission one packet stands for 400 ms, and the sequence
has no gap.

The first packet waits `target` (60 ms) before it sounds: that is what later ones may be late by. A packet that comes
later still, and behind which nothing has been decoded, pulls `head` back: the delay grows by just what the network
needs, and nothing that was said is lost. When for a second there was always more than `target` in hand, one frame is
folded into the next, which takes 20 ms of delay away again; this also follows clocks that run apart. Never more than
`DEPTH_MAX` is held: what lies further back is dropped.

The machine never decodes. `pull` says what to do (`Action`), in amounts that add up to a frame; `rostra.stage.io.opus`
does it. An adaptive buffer can take its place behind the same two methods.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rostra.kernel.units import FRAME_SAMPLES, MS_NS, SAMPLE_RATE, SECOND_NS

TARGET: Final = 60 * SAMPLE_RATE // 1000
"""Samples held back at the start: measured, two browsers at 5 % loss then underran 0-1 times a minute."""

DEPTH_MAX: Final = 240 * SAMPLE_RATE // 1000
"""Samples held at most: people who wait longer than that for an answer begin to talk over each other."""

IDLE: Final = SAMPLE_RATE
"""Samples without a packet after which the next one begins anew: longer than a pause in transmission (400 ms)."""

FAR: Final = 10 * SAMPLE_RATE
"""A timestamp this far from what sounds is no late packet but a sender that began to count anew."""

STEP: Final = SAMPLE_RATE // 400
"""2.5 ms, the unit of all Opus durations (RFC 6716 section 2)."""

PACKET_SAMPLES_MAX: Final = 120 * SAMPLE_RATE // 1000
HELD_MAX: Final = 128
REVIEW_PULLS: Final = 50
"""How often (in pulls) the buffer asks itself whether it holds too much: once a second."""

RETIRED_MAX: Final = 8


class Kind(Enum):
    """What the decoder is to do for `Action.samples` samples."""

    DECODE = "decode"
    FOLD = "fold"  # decode, and fade the result into what is decoded next: it takes no time of its own
    RECOVER = "recover"  # rebuild what is missing from the FEC in this payload, the packet after the hole
    CONCEAL = "conceal"
    SILENCE = "silence"
    RESET = "reset"  # another encoder follows


@dataclass(frozen=True, slots=True)
class Packet:
    """What matters of an RTP packet (RFC 3550): 32-bit `ssrc` and `timestamp` (48 kHz), 16-bit `sequence`."""

    ssrc: int
    sequence: int
    timestamp: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Action:
    kind: Kind
    samples: int = 0
    payload: bytes = b""
    at: int = 0
    """Where on the sender's line of samples this lies; for diagnostics and tests."""


@dataclass(slots=True)
class Tally:
    """What happened so far. `lost` counts sequence numbers that never sounded; the others count packets or actions."""

    packets: int = 0
    lost: int = 0
    recovered: int = 0
    concealed: int = 0
    late: int = 0
    duplicate: int = 0
    malformed: int = 0
    stretched: int = 0
    folded: int = 0
    skipped: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class _Held:
    at: int
    samples: int
    sequence: int
    payload: bytes


def packet_samples(payload: bytes) -> int:
    """How long an Opus packet is, in samples at 48 kHz; 0 when it is none (RFC 6716 section 3.1)."""
    if not payload:
        return 0
    toc = payload[0]
    config, code = toc >> 3, toc & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = STEP << (config & 3)
    any_number = payload[1] & 0x3F if len(payload) > 1 else 0
    samples = frame * (1, 2, 2, any_number)[code]
    return samples if samples <= PACKET_SAMPLES_MAX else 0


class Jitter:
    """One speaker's buffer. `put` what arrives; `pull` once a tick."""

    def __init__(self, target: int = TARGET) -> None:
        self.tally = Tally()
        self._target = target
        self._ssrc: int | None = None
        self._retired: deque[int] = deque(maxlen=RETIRED_MAX)
        self._held: dict[int, _Held] = {}
        self._newest: int | None = None  # the last timestamp, as an unbounded number
        self._head = 0
        self._done = 0  # what lies before this was decoded, or given up for good
        self._begun = False  # whether `_done` means anything yet
        self._playing = False
        self._ready_ns: int | None = None
        self._last_sequence: int | None = None
        self._quiet = 0  # samples made since the last packet sounded
        self._carry = 0  # samples that earlier pulls made beyond their frame
        self._reset = False
        self._low = DEPTH_MAX
        self._pulls = 0
        self._surplus = False

    @property
    def depth(self) -> int:
        """Samples in hand."""
        return max(0, self._end() - self._head) if self._playing and self._held else 0

    def put(self, packet: Packet, now_ns: int) -> None:
        """Take a packet that has just arrived."""
        self.tally.packets += 1
        samples = packet_samples(packet.payload)
        if samples == 0:
            self.tally.malformed += 1
        elif self._follow(packet.ssrc):
            self._hold(packet, samples, now_ns)

    def pull(self, now_ns: int) -> list[Action]:
        """What to do to have the next 960 samples: the durations, with what was left over before, make a frame."""
        actions = [Action(Kind.RESET)] if self._reset else []
        self._reset = False
        need = FRAME_SAMPLES - self._carry
        while need > 0:
            action = self._next(need, now_ns)
            actions.append(action)
            need -= action.samples
        self._carry = -need
        self._review()
        return actions

    # arrivals

    def _follow(self, ssrc: int) -> bool:
        """Whether `ssrc` is the stream to play. A new one takes over at once; an old one never comes back."""
        if ssrc == self._ssrc:
            return True
        if ssrc in self._retired:
            self.tally.late += 1
            return False
        if self._ssrc is not None:
            self._retired.append(self._ssrc)
        self._ssrc = ssrc
        self._restart()
        return True

    def _restart(self) -> None:
        """Forget the line of samples; the next packet begins another."""
        if self._begun:
            self._reset = True
            self.tally.restarts += 1
        self._held.clear()
        self._newest = None
        self._begun = self._playing = False
        self._ready_ns = None
        self._last_sequence = None

    def _unwrap(self, timestamp: int) -> int:
        """The 32-bit `timestamp` as an unbounded number, near the last one."""
        if self._newest is None:
            return timestamp
        return self._newest + ((timestamp - self._newest + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000

    def _hold(self, packet: Packet, samples: int, now_ns: int) -> None:
        at = self._unwrap(packet.timestamp)
        if self._begun and abs(at - (self._head if self._playing else self._done)) > FAR:
            self._restart()
            at = self._unwrap(packet.timestamp)
        self._newest = at
        if self._begun and at < self._done:
            self.tally.late += 1
            return
        if at in self._held or len(self._held) >= HELD_MAX:
            self.tally.duplicate += 1
            return
        self._held[at] = _Held(at, samples, packet.sequence, packet.payload)
        if not self._playing:
            if self._ready_ns is None:
                self._ready_ns = now_ns + self._target * SECOND_NS // SAMPLE_RATE - MS_NS
        else:
            if at < self._head:
                self._head = at
                self.tally.stretched += 1
            self._bound()

    # playing

    def _next(self, need: int, now_ns: int) -> Action:
        """One action of at most about `need` samples; only a packet may be longer."""
        if not self._playing and not self._start(now_ns):
            return Action(Kind.SILENCE, need)
        held = self._first()
        if held is None:
            return self._underrun(need)
        gap = (held.at - self._head) // STEP * STEP
        if gap <= 0:
            return self._play(held)
        return self._bridge(gap, held, need)

    def _start(self, now_ns: int) -> bool:
        if self._ready_ns is None or now_ns < self._ready_ns:
            return False
        first = self._first()
        assert first is not None, "a buffer gets ready by holding something"
        self._head = first.at
        self._playing = True
        self._quiet = 0
        self._low = DEPTH_MAX
        self._bound()
        return True

    def _first(self) -> _Held | None:
        """The earliest packet whose time has not passed; those that overlap what was decoded are dropped."""
        while self._held:
            held = self._held[min(self._held)]
            if not self._begun or held.at >= self._done:
                return held
            del self._held[held.at]
            self.tally.late += 1
        return None

    def _play(self, held: _Held) -> Action:
        del self._held[held.at]
        self._count_lost(held)
        self._begun = True
        self._done = self._head = held.at + held.samples
        self._quiet = 0
        if self._surplus and held.samples == FRAME_SAMPLES and self._done in self._held:
            self._surplus = False
            self.tally.folded += 1
            return Action(Kind.FOLD, 0, held.payload, held.at)
        return Action(Kind.DECODE, held.samples, held.payload, held.at)

    def _count_lost(self, held: _Held) -> None:
        if self._last_sequence is not None:
            missing = (held.sequence - self._last_sequence - 1) & 0xFFFF
            self.tally.lost += missing if missing < 0x8000 else 0
        self._last_sequence = held.sequence

    def _bridge(self, gap: int, held: _Held, need: int) -> Action:
        """Fill a hole before `held`: the last part from its FEC if a packet was lost, the rest by concealment."""
        lost = self._last_sequence is not None and held.sequence != (self._last_sequence + 1) & 0xFFFF
        at = self._head
        rebuilt = lost and gap <= held.samples
        samples = gap if rebuilt else min(need, gap - held.samples if lost else gap)
        self._head += samples
        self._done, self._begun = self._head, True  # were it to come now, it would be heard twice
        if rebuilt:
            self.tally.recovered += 1
            return Action(Kind.RECOVER, samples, held.payload, at)
        if lost:
            self.tally.concealed += 1
        return Action(Kind.CONCEAL, samples, b"", at)

    def _underrun(self, need: int) -> Action:
        """Nothing is there: a pause in transmission, a late packet, or nobody any more."""
        self._quiet += need
        if self._quiet >= IDLE:
            self._playing = False
            self._ready_ns = None
            return Action(Kind.SILENCE, need)
        at = self._head
        self._head += need
        return Action(Kind.CONCEAL, need, b"", at)

    # bounds

    def _end(self) -> int:
        last = self._held[max(self._held)]
        return last.at + last.samples

    def _bound(self) -> None:
        """Keep the depth under DEPTH_MAX: after a jam, what is newest matters most."""
        if self._end() - self._head <= DEPTH_MAX:
            return
        last = max(self._held)
        head = min(self._end() - self._target, last)
        early = [at for at in self._held if at < head]
        for at in early:
            del self._held[at]
        self.tally.skipped += len(early)
        self._head = self._done = head
        self._begun = True

    def _review(self) -> None:
        """Once a second: was there always more in hand than needed?"""
        self._low = min(self._low, self.depth)
        self._pulls += 1
        if self._pulls % REVIEW_PULLS == 0:
            self._surplus = self._playing and self._low > self._target
            self._low = DEPTH_MAX
