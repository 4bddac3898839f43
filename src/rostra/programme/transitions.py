"""What the audience hears in each frame, and what the stage's frames mean for the Space's life. Pure: ticks.

`Desk` mixes. The talk and the hold music are the two ends of one crossfader. It moves over 200 ms, at equal power, and
only ever towards the talk while the Space is on air: unless it is, the talk's gain is 0 or on its way there. It begins
to move in the very frame that is on air first.

A frame that the stage owes is bridged by the last one, backwards, then forwards again, each time quieter: mirrored, it
begins with the value the last one ended with, so nothing clicks. After three in a row (60 ms) there is nothing left to
repeat, and the fader goes to the hold music whatever the state says.

`Presence` judges. That the stage is gone is said at once, with the third frame. That the last armed speaker is gone is
only said after a second, because a browser that changes networks is back by then; the audience hears quiet for that
second, then hold music. That somebody is back is said when the stage has shown them for half a second without a gap,
so that a stage in trouble does not flap. Before air and for a person's GO the number of those present counts as it is.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rostra.kernel.shared.ring import Frame
from rostra.kernel.units import FRAME_SAMPLES
from rostra.space.lifecycle import BY_ITSELF, Event, Input, Life, State

Samples = npt.NDArray[np.float32]

FADE_FRAMES: Final = 10
"""200 ms from talk to hold music, or back."""

CLOSE_FRAMES: Final = 50
"""1 s to silence, at the end."""

MISSING_MAX: Final = 3
"""Frames in a row that the stage may owe: with the third it counts as lost."""

ABSENT_FRAMES: Final = 50
"""1 s without an armed speaker before the talk gives way to hold music."""

BACK_FRAMES: Final = 25
"""0.5 s with one before a hold that happened by itself ends."""

SPLICE_SAMPLES: Final = 240
"""5 ms in which a frame that follows a bridged gap takes over."""

BRIDGE_GAIN: Final = 0.6
"""What is left of a repeated frame at its end; the next begins there. The third ends at 0."""

_RAMP: Final = np.arange(1, FRAME_SAMPLES + 1, dtype=np.float32) / np.float32(FRAME_SAMPLES)
_SPLICE: Final = np.arange(1, SPLICE_SAMPLES + 1, dtype=np.float32) / np.float32(SPLICE_SAMPLES)


@dataclass(frozen=True, slots=True)
class Mixed:
    """A frame of the programme: `pcm` as the audience hears it, and the `hold` music in it, both of shape (960,).

    `talk_heard` and `hold_heard` say whether the gain of either is above 0 anywhere in the frame.
    """

    pcm: Samples
    hold: Samples
    talk_heard: bool
    hold_heard: bool


class Desk:
    """The crossfader. `fader` is its place at the end of the last frame, in frames: 0 hold music, FADE_FRAMES talk."""

    def __init__(self) -> None:
        self.fader = 0
        self._master = CLOSE_FRAMES
        self._closing = False
        self._bridge = Bridge()

    @property
    def closed(self) -> bool:
        """Whether the programme has faded to silence."""
        return self._master == 0

    def close(self) -> None:
        """Fade to silence from the next frame on, whatever sounds."""
        self._closing = True

    def mix(self, on_air: bool, talk: Frame | None, hold: Samples) -> Mixed:
        """One frame. `talk` is the stage's, None when it owes one; `hold` the music at this place of the timeline."""
        pcm = self._bridge.next(None if talk is None else talk.pcm)
        talk_gain, hold_gain = self._gains(on_air and not self._bridge.lost)
        talk_part, hold_part = _times(pcm, talk_gain), _times(hold, hold_gain)
        return Mixed(talk_part + hold_part, hold_part, _heard(talk_gain), _heard(hold_gain))

    def _gains(self, talking: bool) -> tuple["Gain", "Gain"]:
        before = self.fader
        if not self._closing:
            self.fader = min(FADE_FRAMES, before + 1) if talking else max(0, before - 1)
        talk, hold = crossfade(before, self.fader)
        master = self._close()
        return talk * master, hold * master

    def _close(self) -> "Gain":
        before = self._master
        if self._closing:
            self._master = max(0, before - 1)
        return _line(before, self._master, CLOSE_FRAMES)


Gain = np.float32 | Samples
"""One value for the whole frame, or one a sample."""


def _line(before: int, after: int, whole: int) -> Gain:
    """A gain that goes straight from `before`/`whole` to `after`/`whole` within the frame."""
    if before == after:
        return np.float32(after / whole)
    return np.float32(before / whole) + np.float32((after - before) / whole) * _RAMP


def crossfade(before: int, after: int) -> tuple[Gain, Gain]:
    """The gains of talk and hold music while the fader goes from `before` to `after`; their squares add up to 1."""
    if before == after and after in (0, FADE_FRAMES):
        talking = np.float32(after == FADE_FRAMES)
        return talking, np.float32(1) - talking
    angle = np.float32(np.pi / 2) * _line(before, after, FADE_FRAMES)
    return np.sin(angle), np.maximum(np.cos(angle), np.float32(0))


def _times(pcm: Samples, gain: Gain) -> Samples:
    """`pcm` at `gain`. At 0 it is silence even if it holds what is no number."""
    return pcm * gain if _heard(gain) else np.zeros(FRAME_SAMPLES, np.float32)


def _heard(gain: Gain) -> bool:
    return bool(np.any(gain > 0))


class Bridge:
    """Fills in for the frames that the stage owes. `missing` counts those in a row."""

    def __init__(self) -> None:
        self.missing = MISSING_MAX
        self._last: Samples = np.zeros(FRAME_SAMPLES, np.float32)
        self._gain = 0.0

    @property
    def lost(self) -> bool:
        return self.missing >= MISSING_MAX

    def next(self, pcm: Samples | None) -> Samples:
        """`pcm`, spliced to what was made up before it; or, for None, something to bridge the gap."""
        if pcm is None:
            return self._made_up()
        if self.missing:
            pcm = self._spliced(pcm)
        self.missing, self._last, self._gain = 0, pcm, 1.0
        return pcm

    def _made_up(self) -> Samples:
        self.missing += 1
        before, self._gain = self._gain, 0.0 if self.missing >= MISSING_MAX else self._gain * BRIDGE_GAIN
        self._last = self._last[::-1]
        return self._last * (np.float32(before) + np.float32(self._gain - before) * _RAMP)

    def _spliced(self, pcm: Samples) -> Samples:
        spliced = pcm.copy()
        made_up = self._last[::-1][:SPLICE_SAMPLES] * np.float32(self._gain)
        spliced[:SPLICE_SAMPLES] = made_up * (np.float32(1) - _SPLICE) + pcm[:SPLICE_SAMPLES] * _SPLICE
        return spliced


class Presence:
    """Turns the stage's frames, or their absence, into events of the Space's life."""

    def __init__(self) -> None:
        self._missing = 0
        self._absent = 0
        self._there = 0

    def receive(self, talk: Frame | None, life: Life) -> Input | None:
        """What a frame of the mix (None: the stage owes it) means for `life`, or None when it changes nothing."""
        self._count(talk)
        if self._missing >= MISSING_MAX:
            lost = life.state is State.ON_AIR
            return Input(Event.STAGE_LOST, present=0) if lost or life.present else None
        if talk is None:
            return None
        if talk.present == 0:
            return self._gone(life)
        if life.state is State.HOLDING and life.cause in BY_ITSELF and self._there >= BACK_FRAMES:
            return Input(Event.PRESENT, present=talk.present)
        if talk.present != life.present:
            return _counted(life, talk.present)
        return None

    def _count(self, talk: Frame | None) -> None:
        self._missing = self._missing + 1 if talk is None else 0
        there = talk is not None and talk.present > 0
        self._there = self._there + 1 if there else 0
        self._absent = 0 if there else self._absent + 1

    def _gone(self, life: Life) -> Input | None:
        if life.state is State.ON_AIR:
            return Input(Event.LOST, present=0) if self._absent >= ABSENT_FRAMES else None
        return _counted(life, 0) if life.present else None


def _counted(life: Life, present: int) -> Input | None:
    """Bring the number up to date without ending a hold: LOST moves nothing but a Space that is on air, PRESENT
    nothing but one that is holding."""
    event = Event.LOST if life.state is State.HOLDING else Event.PRESENT
    return Input(event, present=present)
