"""A guest's test, days before: what is heard of them is measured, and on request five seconds of it are played back.

The theory. The stage of a Space runs only around the event; a test needs somebody who listens before. So it is one
connection like any on the stage, to a machine with these phases:

    connecting ─ the connection is made ─► listening ─ asked to record ─► recording ─ 5 s heard ─► playing ─ 5 s ─┐
                                              ▲───────────────────────────────────────────────────────────────────┘

What is sent back is silence, so that the guest's browser can count what arrives, and in `playing` the recording: not
what their microphone gave but what came out of the stage's own jitter buffer and decoder. The recording lives in this
object and nowhere else. Noise is measured while the guest is asked to be quiet (`listening`), speech while they are
asked to speak (`recording`); what comes in while the loudspeaker plays (`playing`) is not counted at all.

Loss and jitter are those of RFC 3550 (A.3, 6.4.1), by sequence numbers and timestamps as they arrive.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from rostra.kernel.errors import PeerError
from rostra.kernel.shared.ring import Pcm
from rostra.kernel.units import FRAME_NS, FRAME_SAMPLES, SAMPLE_RATE, SECOND_NS
from rostra.stage.jitter import Packet
from rostra.stage.levels import FLOOR_DB, frame_db

LENGTH_NS: Final = 90 * SECOND_NS
"""Twice what somebody needs who reads every sentence; a page that was left open does not hold a place for longer."""

CONNECT_NS: Final = 15 * SECOND_NS
RECORD_FRAMES: Final = 5 * SECOND_NS // FRAME_NS
SPEECH_FRAMES_MIN: Final = 25
"""Half a second of voice: from less than that no level can be told."""

ABOVE_NOISE_DB: Final = 8.0
VOICE_DB_MIN: Final = -60.0
"""A frame counts as voice when it is this far above the noise and above this: softer than a whisper close by."""

CLIPPED: Final = 0.98
CLIPPED_SAMPLES_MIN: Final = 3
"""Samples at full scale in a frame that make it a clipped one; a single peak is nothing anybody hears."""

SILENCE: Final[Pcm] = np.zeros(FRAME_SAMPLES, np.float32)


class Phase(StrEnum):
    CONNECTING = "connecting"
    LISTENING = "listening"
    RECORDING = "recording"
    PLAYING = "playing"


@dataclass(slots=True)
class Levels:
    """Frames by their level: `counts[d]` is how many were at -d dBFS, `power` their summed power by the same index."""

    counts: list[int] = field(default_factory=lambda: [0] * (int(-FLOOR_DB) + 1))
    power: list[float] = field(default_factory=lambda: [0.0] * (int(-FLOOR_DB) + 1))

    def add(self, level_db: float) -> None:
        at = min(len(self.counts) - 1, max(0, round(-level_db)))
        self.counts[at] += 1
        self.power[at] += 10 ** (level_db / 10)

    def softest(self, share: float) -> float | None:
        """The level (dBFS) that `share` of the frames are below; None before there were any."""
        left = share * sum(self.counts)
        for at in range(len(self.counts) - 1, -1, -1):
            left -= self.counts[at]
            if left < 0:
                return -float(at)
        return None

    def above(self, floor_db: float) -> tuple[int, float]:
        """How many frames were louder than `floor_db`, and their mean power in dBFS."""
        last = round(-floor_db)
        frames = sum(self.counts[:last])
        mean = sum(self.power[:last]) / frames if frames else 0.0
        return frames, float(10 * np.log10(max(mean, 10 ** (FLOOR_DB / 10))))


@dataclass(slots=True)
class Arrivals:
    """What can be told from when packets come (RFC 3550): how many are missing, how unevenly they travel."""

    packets: int = 0
    expected: int = 0
    jitter: float = 0.0
    """In units of the timestamp (48 kHz)."""
    _ssrc: int = -1
    _first: int = 0
    _highest: int = 0
    _transit: float | None = None

    def add(self, packet: Packet, now_ns: int) -> None:
        if packet.ssrc != self._ssrc:
            self.packets, self.expected, self.jitter, self._transit = 0, 0, 0.0, None
            self._ssrc, self._first, self._highest = packet.ssrc, packet.sequence, packet.sequence
        ahead = (packet.sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        self._highest = max(self._highest, self._highest + ahead)
        self.packets += 1
        self.expected = self._highest - self._first + 1
        transit = now_ns * SAMPLE_RATE / SECOND_NS - packet.timestamp
        if self._transit is not None and abs(transit - self._transit) < SAMPLE_RATE * 10:
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit = transit

    @property
    def loss(self) -> float | None:
        """The share that never came, 0 to 1; None before there were any."""
        return None if not self.packets else max(0.0, 1 - self.packets / max(1, self.expected))

    @property
    def jitter_ms(self) -> float | None:
        return None if not self.packets else self.jitter * 1000 / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Heard:
    """What was measured so far. Levels in dBFS, `clipped` and `loss_in` as shares; None is not known (yet)."""

    level_db: float | None = None
    noise_db: float | None = None
    clipped: float | None = None
    loss_in: float | None = None
    jitter_ms: float | None = None
    packets: int = 0


class Check:
    """One guest's test, from the offer on. Give it packets and frames; it says what to send back."""

    def __init__(self, now_ns: int) -> None:
        self.phase = Phase.CONNECTING
        self.recordings = 0
        self._made_ns = now_ns
        self._arrivals = Arrivals()
        self._quiet = Levels()
        self._spoken = Levels()
        self._clipped = 0
        self._tape: list[Pcm] = []
        self._at = 0

    def connected(self) -> None:
        if self.phase is Phase.CONNECTING:
            self.phase = Phase.LISTENING

    def arrived(self, packet: Packet, now_ns: int) -> None:
        self._arrivals.add(packet, now_ns)

    def record(self) -> None:
        """Begin to record, or begin anew. Raises PeerError `check.unready` before the connection is made."""
        if self.phase is Phase.CONNECTING:
            raise PeerError("check.unready", "The connection is not made yet.", "Wait until it is.")
        self.phase = Phase.RECORDING
        self._tape, self._spoken, self._clipped = [], Levels(), 0

    def frame(self, heard: Pcm) -> Pcm:
        """Take the next 20 ms that were heard, shape (960,); what to send back, likewise."""
        if self._arrivals.packets and self.phase in (Phase.LISTENING, Phase.RECORDING):
            self._measure(heard)
        match self.phase:
            case Phase.RECORDING:
                self._tape.append(heard.copy())
                if len(self._tape) == RECORD_FRAMES:
                    self.phase, self._at = Phase.PLAYING, 0
                    self.recordings += 1
            case Phase.PLAYING:
                return self._play()
        return SILENCE

    def _measure(self, heard: Pcm) -> None:
        (level_db,) = frame_db(heard[np.newaxis])
        if self.phase is Phase.LISTENING:
            self._quiet.add(level_db)
            return
        self._spoken.add(level_db)
        self._clipped += int(np.count_nonzero(np.abs(heard) >= CLIPPED) >= CLIPPED_SAMPLES_MIN)

    def _play(self) -> Pcm:
        frame = self._tape[self._at]
        self._at += 1
        if self._at == len(self._tape):
            self.phase, self._tape = Phase.LISTENING, []
        return frame

    def heard(self) -> Heard:
        """The measurements so far. The level is that of the last recording, or of everything before the first one."""
        quiet = self._quiet.softest(0.1)
        recorded = self._spoken.softest(0.1)
        noise = min((level for level in (quiet, recorded) if level is not None), default=None)
        frames, level_db, clipped = 0, FLOOR_DB, None
        if noise is not None:
            voice = self._quiet if recorded is None else self._spoken
            frames, level_db = voice.above(max(VOICE_DB_MIN, noise + ABOVE_NOISE_DB))
            clipped = self._clipped / frames if frames else 0.0
        return Heard(
            level_db=round(level_db, 1) if frames >= SPEECH_FRAMES_MIN else None,
            noise_db=noise,
            clipped=None if recorded is None or clipped is None else round(clipped, 3),
            loss_in=None if self._arrivals.loss is None else round(self._arrivals.loss, 4),
            jitter_ms=None if self._arrivals.jitter_ms is None else round(self._arrivals.jitter_ms, 1),
            packets=self._arrivals.packets,
        )

    def deadline(self) -> tuple[int, str]:
        """When this test ends at the latest (monotonic ns), and why."""
        if self.phase is Phase.CONNECTING:
            return self._made_ns + CONNECT_NS, "not_connected"
        return self._made_ns + LENGTH_NS, "time_is_up"

    def left_s(self, now_ns: int) -> float:
        """Seconds until `deadline`."""
        return max(0.0, (self.deadline()[0] - now_ns) / SECOND_NS)

    def progress(self) -> float:
        """How far the recording or its playback is, 0 to 1; 0 in other phases."""
        if self.phase is Phase.RECORDING:
            return len(self._tape) / RECORD_FRAMES
        return self._at / RECORD_FRAMES if self.phase is Phase.PLAYING else 0.0
