"""Packets in, in any order; audio out, in order, on the stage's clock, no later than the network makes necessary.

The theory. A speaker's audio is a line of samples numbered by RTP timestamps, and `head` is the place on it that is
made next. Each tick moves `head` on by what the tick needs, whatever has arrived: a packet that lies there is decoded,
a hole is rebuilt from the packet behind it (in-band FEC, RFC 6716 section 2.1.7) or concealed by the decoder. Holes are
measured in timestamps, not in sequence numbers: with discontinuous transmission one packet stands for 400 ms, and the
sequence has no gap.

*How late.* The delay is a difference of two clocks, not a count of packets: the sample that sounds now, were it to come
as fast as the fastest packets do (`rostra.stage.transit`), would have arrived so long ago. That needs no averaging, and
it is known in the middle of a pause too. What it should be is the lateness to wait for (the same module), and beyond it

    one frame      a packet must be there before the tick that needs its first sample
    one packet     while packets are lost: the hole is mended from the one behind it, which must be there already

but between `FLOOR` and a `CEILING` beyond the fastest recent packet.

*Growing.* When nothing is there in time and what was missing comes late, `head` goes back for it: the delay has then
grown by just what the network needed, in that instant, and nothing that was said is lost. When packets come late
without that (others overtook them), speech is slowed down (`rostra.stage.stretch`) until the delay is enough.

*Shrinking.* What there is too much of is taken out of pauses first: a pause in transmission is just made shorter,
silence is cut. Speech is quickened by leaving out periods of the voice. Only what a jam leaves beyond `DEPTH_MAX` is
dropped whole, oldest first, under a fade.

*Drifting.* The rest, a few milliseconds and what the two clocks drift apart, is absorbed by playing a few parts in a
million faster or slower (`rostra.stage.drift`, `rostra.stage.resample`): `ratio` is the measured drift and, for what is
still wrong, a proportional term of one minute.

The machine never decodes. `pull` says what to do (`Action`), `wish` and `ratio` say what to do with the result, and
`rostra.stage.io.playout` does it. What it has decoded but not played it says in the next `pull`; nothing else comes
back.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, MS_NS, SAMPLE_RATE, SECOND_NS
from rostra.stage.resample import RATIO_MAX
from rostra.stage.stretch import PERIOD_MAX
from rostra.stage.transit import Transit

START: Final = 60 * SAMPLE_RATE // 1000
"""Samples of delay to begin with, when nothing is known of the network."""

FLOOR: Final = 40 * SAMPLE_RATE // 1000
"""A frame for the tick and a packet for FEC: with less, the first loss could not be mended."""

CEILING: Final = 400 * SAMPLE_RATE // 1000
"""So long packets are waited for, beyond the fastest: ITU-T G.114 gives 400 ms as the most for a conversation."""

DEPTH_MAX: Final = 500 * SAMPLE_RATE // 1000
"""Samples held at most: the ceiling, and room to shrink from. After a jam the newest matters most."""

SLACK: Final = 10 * SAMPLE_RATE // 1000
"""Samples of delay too many or too few that are left to resampling: a period of a low voice, no stretch is finer."""

TRIM_NS: Final = 60 * SECOND_NS
"""In which time resampling would take away what is wrong: 10 ms are 167 parts in a million, a third of a cent."""

TRIM_MAX: Final = 300e-6
LOSSY_NS: Final = 10 * SECOND_NS
"""For so long after a loss another one is expected."""

IDLE: Final = SAMPLE_RATE
"""Samples without a packet after which the next one begins anew: longer than a pause in transmission (400 ms)."""

FAR: Final = 10 * SAMPLE_RATE
"""A timestamp this far from what sounds is no late packet but, if a second one agrees, a sender that counts anew."""

LATE_RUN: Final = 50
"""So many packets in a row that come too late are no network's doing: the sender went back a little, and counts on."""

STEP: Final = SAMPLE_RATE // 400
"""2.5 ms, the unit of all Opus durations (RFC 6716 section 2)."""

CONCEAL_STEP: Final = SAMPLE_RATE // 100
"""What concealment is asked for in: libopus makes 10 ms of SILK even when asked for less, and throws the rest away."""

PACKET_SAMPLES_MAX: Final = 120 * SAMPLE_RATE // 1000
PACKET_BYTES_MAX: Final = 6 * 1275 + 13
"""Six frames of 20 ms, the longest packet, each of the most bytes, and its head (RFC 6716 section 3.2)."""

HELD_MAX: Final = 256
"""Packets held: DEPTH_MAX in the shortest ones, and some more."""

CLOCK_SHARE: Final = 16
"""A tick's own lateness enters our idea of the time by one part in so many: what counts is the grid it hangs on."""

CLOCK_JUMP_NS: Final = 200 * MS_NS
"""A tick so far from the grid is on another: the stage gives up ticks later than that (`webrtc.MISSED_MAX`)."""

RETIRED_MAX: Final = 8


class Kind(Enum):
    """What the decoder is to do for `Action.samples` samples."""

    DECODE = "decode"
    RECOVER = "recover"  # rebuild what is missing from the FEC in this payload, the packet after the hole
    CONCEAL = "conceal"
    SILENCE = "silence"
    SKIP = "skip"  # what follows does not join on to what came: fade over
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
    """What happened so far. `lost` counts sequence numbers that never sounded; `*_samples` samples; others packets or
    actions.

    `concealed` has the frames that were made up because a packet was lost or late, but not those of a pause.
    `stretched` and `folded` say how often the delay was made longer and shorter, `waited` how often it grew for a late
    packet.
    """

    packets: int = 0
    lost: int = 0
    recovered: int = 0
    concealed: int = 0
    late: int = 0
    duplicate: int = 0
    malformed: int = 0
    stray: int = 0
    waited: int = 0
    stretched: int = 0
    stretched_samples: int = 0
    folded: int = 0
    folded_samples: int = 0
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
    if not 0 < len(payload) <= PACKET_BYTES_MAX:
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

    def __init__(self) -> None:
        self.tally = Tally()
        self.wish = 0
        """Samples by which what was just pulled should become shorter (longer if negative); 0 when all is well."""
        self.ratio = 1.0
        """Samples of the sender's that make one of ours."""
        self.target = START
        """Samples of delay above which there is too much."""
        self.delay: int | None = None
        """Samples by which what sounds is later than it could be; None when nothing sounds."""
        self._transit = Transit()
        self._clock_ns: int | None = None
        self._ahead = 0  # samples that were made but have not sounded
        self._ssrc: int | None = None
        self._retired: deque[int] = deque(maxlen=RETIRED_MAX)
        self._held: dict[int, _Held] = {}
        self._newest: int | None = None  # the last timestamp, as an unbounded number
        self._stray: Packet | None = None  # the last packet, if its timestamp was far from all others
        self._late_run = 0
        self._head = 0
        self._done = 0  # what lies before this was decoded, or given up for good
        self._begun = False  # whether `_done` means anything yet
        self._playing = False
        self._last_sequence: int | None = None
        self._packet_samples = FRAME_SAMPLES
        self._lossy_until_ns = 0
        self._quiet = 0  # samples made since the last packet sounded
        self._guessed = 0  # actions among them
        self._seams: list[Action] = []

    @property
    def depth(self) -> int:
        """Samples in hand."""
        return max(0, self._end() - self._head) if self._playing and self._held else 0

    @property
    def jitter_ns(self) -> float:
        """Interarrival jitter (RFC 3550)."""
        return self._transit.jitter_ns

    def put(self, packet: Packet, now_ns: int) -> None:
        """Take a packet that has just arrived."""
        self.tally.packets += 1
        samples = packet_samples(packet.payload)
        if samples == 0:
            self.tally.malformed += 1
        elif self._follow(packet.ssrc):
            self._hold(packet, samples, now_ns)

    def pull(self, now_ns: int, ahead: int = 0, want: int = FRAME_SAMPLES) -> list[Action]:
        """What to do to have `want` samples at least, when `ahead` of them were made before and are left over.

        When the delay is to shrink and packets are in hand, some more: enough to find a period in.
        """
        clock_ns = self._tell_time(now_ns)
        self._ahead = ahead
        self._steer(clock_ns)
        actions: list[Action] = []
        made = ahead
        while made < want:
            actions.append(self._next(want - made, clock_ns))
            made += actions[-1].samples
        while self.wish > 0 and made < want + PERIOD_MAX and (held := self._joined()):
            actions.append(self._play(held))
            made += actions[-1].samples
        seams, self._seams = self._seams, []
        return seams + actions

    # time

    def _tell_time(self, now_ns: int) -> int:
        """The time on the grid that the ticks hang on, without the lateness of any one of them."""
        if self._clock_ns is None or abs(now_ns - self._clock_ns - FRAME_NS) > CLOCK_JUMP_NS:
            self._clock_ns = now_ns
        else:
            expected_ns = self._clock_ns + FRAME_NS
            self._clock_ns = expected_ns + (now_ns - expected_ns) // CLOCK_SHARE
        return self._clock_ns

    def _delay_at(self, at: int, now_ns: int) -> int:
        """By how many samples `at` is later than the fastest packets would bring it, if it sounds now."""
        return (now_ns - self._transit.floor_ns(now_ns)) * SAMPLE_RATE // SECOND_NS - at

    def _steer(self, now_ns: int) -> None:
        """Compare the delay with what it should be."""
        self.wish, self.delay = 0, None
        drift = -self._transit.slope
        if self._transit.known:
            least, self.target = self._bounds(now_ns)
            trim = 0.0
            if self._playing:
                self.delay = self._delay_at(self._head - self._ahead, now_ns)
                wrong = min(0, self.delay - least) or max(0, self.delay - self.target)
                self.wish = wrong if abs(wrong) > SLACK else 0
                trim = wrong * SECOND_NS / SAMPLE_RATE / TRIM_NS
            drift += min(max(trim, -TRIM_MAX), TRIM_MAX)
        self.ratio = 1.0 + min(max(drift, -RATIO_MAX), RATIO_MAX)

    def _bounds(self, now_ns: int) -> tuple[int, int]:
        """Samples of delay that are too few below, and too many above."""
        least_ns, ample_ns = self._transit.need_ns(now_ns, CEILING * SECOND_NS // SAMPLE_RATE)
        margin = FRAME_SAMPLES + (self._packet_samples if now_ns < self._lossy_until_ns else 0)
        least = max(FLOOR, least_ns * SAMPLE_RATE // SECOND_NS + margin)
        return least, max(least, ample_ns * SAMPLE_RATE // SECOND_NS + margin)

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
            self._seam(Kind.RESET)
            self.tally.restarts += 1
        self._held.clear()
        self._transit.restart()
        self._newest = None
        self._stray = None
        self._late_run = 0
        self._begun = self._playing = False
        self._last_sequence = None

    def _unwrap(self, timestamp: int) -> int:
        """The 32-bit `timestamp` as an unbounded number, near the last one."""
        if self._newest is None:
            return timestamp
        return self._newest + ((timestamp - self._newest + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000

    def _hold(self, packet: Packet, samples: int, now_ns: int) -> None:
        at = self._unwrap(packet.timestamp)
        if self._begun and abs(at - (self._head if self._playing else self._done)) > FAR:
            if not self._anew(packet, now_ns):
                return
            at = self._unwrap(packet.timestamp)
        self._stray = None
        self._newest = at
        self._transit.put(at * SECOND_NS // SAMPLE_RATE, now_ns)
        if self._begun and at < self._done:
            self.tally.late += 1
            self._late_run += 1
            if self._late_run == LATE_RUN:
                self._restart()
            return
        self._late_run = 0
        if at in self._held or len(self._held) >= HELD_MAX:
            self.tally.duplicate += 1
            return
        self._held[at] = _Held(at, samples, packet.sequence, packet.payload)
        if self._playing:
            self._go_back(at)
            self._bound()
        else:
            self._forget_old()

    def _anew(self, packet: Packet, now_ns: int) -> bool:
        """Whether the sender counts anew. One odd timestamp does not show that, two that go together do."""
        before, self._stray = self._stray, packet
        if before is None or (packet.timestamp - before.timestamp + FAR) & 0xFFFF_FFFF > 2 * FAR:
            self.tally.stray += 1
            return False
        self._restart()
        self._hold(before, packet_samples(before.payload), now_ns)
        return True

    def _go_back(self, at: int) -> None:
        """What was concealed for want of this packet, and nothing behind it was decoded: play it after all."""
        if at >= self._head:
            return
        self.tally.waited += 1
        self.tally.concealed += -((at - self._head) // FRAME_SAMPLES)
        self._guessed = 0
        self._head = at

    # playing

    def _next(self, need: int, now_ns: int) -> Action:
        """One action of about `need` samples; only a packet, or a step of concealment, may be longer."""
        if not self._playing and not self._start(now_ns):
            return Action(Kind.SILENCE, need)
        held = self._first()
        if held is None:
            return self._underrun(_steps_up(need))
        gap = (held.at - self._head) // STEP * STEP
        if gap > 0:
            return self._bridge(gap, held, _steps_up(need), now_ns)
        return self._play(held)

    def _start(self, now_ns: int) -> bool:
        """Begin when the first packet is as late as it should be: in a burst that follows on a stall, it is already."""
        first = self._first()
        if first is None or self._delay_at(first.at, now_ns) < (
            self.target if self._begun else max(START, self.target)
        ):
            return False
        self._head = first.at
        self._playing = True
        self._quiet = self._guessed = 0
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

    def _joined(self) -> _Held | None:
        """The packet that follows without a hole on what was made last, if it is in hand."""
        held = self._first() if self._playing else None
        return held if held is not None and held.at - self._head < STEP and not self._lost_before(held) else None

    def _play(self, held: _Held) -> Action:
        del self._held[held.at]
        self._count_lost(held)
        self._begun = True
        self._done = self._head = held.at + held.samples
        self._quiet = self._guessed = 0
        self._packet_samples = held.samples
        return Action(Kind.DECODE, held.samples, held.payload, held.at)

    def _lost_before(self, held: _Held) -> bool:
        return self._last_sequence is not None and held.sequence != (self._last_sequence + 1) & 0xFFFF

    def _count_lost(self, held: _Held) -> None:
        if self._last_sequence is not None:
            missing = (held.sequence - self._last_sequence - 1) & 0xFFFF
            missing = missing if missing < 0x8000 else 0
            self.tally.lost += missing
            self.tally.concealed += self._guessed if missing else 0
        self._last_sequence = held.sequence

    def _bridge(self, gap: int, held: _Held, need: int, now_ns: int) -> Action:
        """Fill a hole before `held`."""
        if not self._lost_before(held):
            return self._pause(gap, held, need)
        self._lossy_until_ns = now_ns + LOSSY_NS
        at = self._head
        rebuilt = gap <= held.samples
        samples = gap if rebuilt else min(need, gap - held.samples)
        self._head += samples
        self._done, self._begun = self._head, True  # were it to come now, it would be heard twice
        if rebuilt:
            self.tally.recovered += 1
            return Action(Kind.RECOVER, samples, held.payload, at)
        self.tally.concealed += 1
        return Action(Kind.CONCEAL, samples, b"", at)

    def _pause(self, gap: int, held: _Held, need: int) -> Action:
        """The end of a pause in transmission: here the delay changes for nothing."""
        cut = min(gap, self.wish // STEP * STEP) if self.wish > 0 else 0
        if cut:
            self._shift(cut)
            self.wish = 0
            self._head = self._done = self._head + cut
            self._begun = True
            if cut == gap:
                return self._play(held)
        at, samples = self._head, min(need, gap - cut)
        if self.wish < 0:
            self._shift(-samples)
            self.wish = min(0, self.wish + samples)
        else:
            self._head = self._done = self._head + samples
            self._begun = True
        return Action(Kind.CONCEAL, samples, b"", at)

    def _shift(self, shorter: int) -> None:
        """Count a change of the delay."""
        count_shift(self.tally, shorter)

    def _underrun(self, need: int) -> Action:
        """Nothing is there: a pause in transmission, a late packet, or nobody any more."""
        self._quiet += need
        if self._quiet >= IDLE:
            self._playing = False
            return Action(Kind.SILENCE, need)
        self._guessed += 1
        at = self._head
        self._head += need
        return Action(Kind.CONCEAL, need, b"", at)

    # bounds

    def _seam(self, kind: Kind) -> None:
        """Tell the decoder before anything else in the next pull, once."""
        if all(action.kind is not kind for action in self._seams):
            self._seams.append(Action(kind))

    def _end(self) -> int:
        last = self._held[max(self._held)]
        return last.at + last.samples

    def _forget_old(self) -> None:
        """Before anyone listens, as after a jam: what is newest matters most."""
        while self._end() - min(self._held) > max(DEPTH_MAX, PACKET_SAMPLES_MAX):
            del self._held[min(self._held)]
            self.tally.skipped += 1

    def _bound(self) -> None:
        """Keep the depth under DEPTH_MAX: after a jam, what is newest matters most."""
        if self._end() - self._head <= DEPTH_MAX:
            return
        last = max(self._held)
        head = min(self._end() - min(self.target, CEILING), last)
        early = [at for at in self._held if at < head]
        for at in early:
            del self._held[at]
        self.tally.skipped += len(early)
        self._head = self._done = head
        self._begun = True
        self._seam(Kind.SKIP)


def _steps_up(samples: int) -> int:
    """The least multiple of CONCEAL_STEP that is not under `samples`."""
    return -(-samples // CONCEAL_STEP) * CONCEAL_STEP


def count_shift(tally: Tally, shorter: int) -> None:
    """Count that the delay was made shorter by so many samples, or longer if they are negative."""
    if shorter > 0:
        tally.folded += 1
        tally.folded_samples += shorter
    elif shorter < 0:
        tally.stretched += 1
        tally.stretched_samples -= shorter
