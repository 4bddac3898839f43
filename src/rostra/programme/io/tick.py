"""The programme's process: every 20 ms a frame, on the machine's grid, whatever happens.

One thread mixes, encodes and answers commands between the ticks; the log and the journal are written by threads of
their own, so that a disk never makes a tick late. A tick reads the stage's frame of 40 ms ago, moves the Space's life,
mixes, tells the stage what music sounds, and hands packets to the log. Frames that are more than a second overdue, as
after a restart, are hold music marked `filled`, mixed as fast as they go.
"""

import gc
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
import structlog

from rostra.kernel.clock import Anchor, Now, grid_anchor
from rostra.kernel.errors import OperatorError, PeerError, RostraError
from rostra.kernel.io import memory
from rostra.kernel.io.files import ABSENT, stamp
from rostra.kernel.io.system import now
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.shared.index import Flag
from rostra.kernel.shared.ring import SIZE, Frame, Ring, plausible
from rostra.kernel.units import FRAGMENT_FRAMES, FRAGMENT_SAMPLES, FRAME_NS, FRAME_SAMPLES, MS_NS, SECOND_NS
from rostra.log.index import Sealed
from rostra.log.io import files
from rostra.log.io.recording import HEAD, write_recording
from rostra.media.codec import AAC, CODECS
from rostra.media.fragment import init_segment
from rostra.media.loudness import Meter
from rostra.programme import hold
from rostra.programme.dynamics import Limiter
from rostra.programme.io import music
from rostra.programme.io.journal import Pen
from rostra.programme.io.libav import Encoder
from rostra.programme.renditions import ENCODINGS, WARM_SAMPLES
from rostra.programme.transitions import CLOSE_FRAMES, FADE_FRAMES, Desk, Mixed, Presence
from rostra.programme.writer import Packager
from rostra.space import lifecycle, notices
from rostra.space.commands import Request
from rostra.space.io.folder import Folder, Journal
from rostra.space.io.sockets import Server
from rostra.space.lifecycle import Event, Input, Life, State
from rostra.space.spec import Recording, Spec

LAG: Final = 2
"""Frames between the stage's writing and the programme's reading: the stage may be that late unnoticed."""

FILLED_FRAMES: Final = 50
"""Frames later than a second are filled with hold music: the ring holds 2.56 s."""

STALE_NS: Final = 600 * SECOND_NS
"""A Space that was never on air and has a log older than this was postponed, or its machine was off: it begins a new
one, and need not fill the hole."""

AWAY_NS: Final = 300 * SECOND_NS
"""A start moved further away than this: the programme ends, and the supervisor starts it again in time."""

REPEAT_FRAMES: Final = 8 * FRAGMENT_FRAMES
"""How often state and speaker are told to those who came meanwhile."""

STEP_NS: Final = 100 * MS_NS
"""A wall clock that moved by more than this against the monotonic one was set by somebody."""

SPIN_NS: Final = 1_500_000
"""The last stretch before a tick is slept precisely; epoll wakes up to a millisecond late."""

COLLECT_FRAMES: Final = 3000
"""Garbage is collected once a minute, when there is time; what lives from the start is never looked at again."""

BEATS_MAX: Final = 240
"""A minute for closing the log and cutting the recording of hours."""

INITS: Final = {codec.name: init_segment(codec) for codec in CODECS}

LATE_MS: Final = (1, 2, 5, 10, 20, 50, 100)
"""Upper bounds of the histogram of ticks' lateness; one more bucket holds the rest."""

_VERBS: Final = {verb: Event(verb) for verb in ("go", "hold", "music", "resume", "end", "reschedule", "postpone")} | {
    "cancel": Event.CANCEL
}
_CLOSED: Final = frozenset({State.ENDED, State.REPLAY, State.POSTPONED, State.CANCELLED})
_diagnostics = structlog.get_logger()


def run(folder: Folder, counters: Counters) -> int:
    """Run the programme of a Space until it is over, or SIGTERM. Returns the exit code.

    Raises:
        Unavailable: `journal.held` or `log.held` while a predecessor is still at work.
        OperatorError: the Space's files cannot be read or written, the rings are not there, or a codec is missing.
    """
    journal = Journal(folder)
    life = folder.read_life()
    if life is not None and _abandoned(folder, life, now()):
        life = lifecycle.step(life, Input(Event.AUTO_END_DUE), folder.read_spec(), now().wall_ns)
        journal.append(life, Event.AUTO_END_DUE)
    if life is not None and life.state in _CLOSED:
        _finish_for_predecessor(folder, counters)
        journal.close()
        return 0
    programme = Programme(folder, counters, journal, life)
    _on_sigterm(programme.stop)
    return programme.run()


def _abandoned(folder: Folder, life: Life, at: Now) -> bool:
    """Whether a talk that was on air has been away for so long that it is over: the machine was off for the evening."""
    begun = life.state in lifecycle.LIVE and life.first_on_air_ns is not None
    return begun and _age_ns(folder.programmes / "floor", at) > folder.read_spec().auto_end_s * SECOND_NS


def _finish_for_predecessor(folder: Folder, counters: Counters) -> None:
    """A programme that was killed in its last second left a log without its recording: close it, and cut that."""
    floor, spec = folder.programmes / "floor", folder.read_spec()
    if (floor / AAC.name / files.INDEX).exists() and not (floor / AAC.name / HEAD).exists():
        with _beating(counters):
            log = files.Writer.open(floor, grid_anchor(now()), INITS, keep=spec.recording is not Recording.OFF)
            log.finish()
            _cut_recording(folder, spec, _heard_before(folder))


def _on_sigterm(stop: Callable[[], None]) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        stop()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _beating(counters: Counters) -> Iterator[None]:
    """Keep the heartbeat alive while the process waits for a disk; not for ever, or nobody would see that it hangs."""
    done = threading.Event()

    def beat() -> None:
        for _ in range(BEATS_MAX):
            counters.set(HEARTBEAT, time.monotonic_ns())
            if done.wait(0.25):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@dataclass(slots=True)
class _Heard:
    """The frames in which the talk was heard: the first, and the one after the last. None before it was."""

    first: int | None = None
    end: int | None = None

    def count(self, frame: int) -> None:
        if self.first is None:
            self.first = frame
        self.end = frame + 1


def _heard_before(folder: Folder) -> _Heard:
    """What the journal says of the frames that predecessors put on air."""
    entries = [entry for line in folder.journal.read_bytes().splitlines() if (entry := _entry(line))]
    first = next((entry["on_air_frame"] for entry in entries if "on_air_frame" in entry), None)
    end = next((entry["off_air_frame"] for entry in reversed(entries) if "off_air_frame" in entry), None)
    return _Heard(first, end)


def _entry(line: bytes) -> dict[str, Any]:
    """A line of the journal; empty when it cannot be read."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _cut_recording(folder: Folder, spec: Spec, heard: _Heard) -> None:
    if spec.recording is not Recording.OFF:
        write_recording(folder.programmes / "floor", heard.first, heard.end)


class Programme:
    """All that the process holds. `run` is the loop; everything else is called by it."""

    def __init__(self, folder: Folder, counters: Counters, journal: Journal, life: Life | None) -> None:
        self._folder = folder
        self._counters = counters
        self._pen = Pen(journal)
        self._spec_stamp = ABSENT
        self._spec = self._follow_spec() or folder.read_spec()
        self._mix = Ring(memory.create(folder.mix_ring, SIZE))
        self._return = Ring(memory.create(folder.return_ring, SIZE))
        self._music = music.load(folder.shared.parent)
        self._desk, self._limiter, self._presence, self._meter = Desk(), Limiter(), Presence(), Meter()
        self._measured: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        self._stopping = False
        self._told: dict[str, Any] = {}
        self._speaking: dict[str, str] = {"seat": "", "name": ""}
        self._late = [0] * (len(LATE_MS) + 1)
        self._late_ns_max = 0
        self._caught_up = False
        started = now()
        self._life = life or self._begin(started)
        self._open_log(started)
        self._heard = _Heard() if self._log.new else _heard_before(folder)
        self._skew_ns = started.wall_ns - started.mono_ns

    def _begin(self, at: Now) -> Life:
        life = lifecycle.begin(self._spec, at.wall_ns)
        self._pen.append(life, None)
        return life

    def _open_log(self, at: Now) -> None:
        floor = self._folder.programmes / "floor"
        if self._life.first_on_air_ns is None and _age_ns(floor, at) > STALE_NS:
            files.set_aside(floor)
        planned_s = self._spec.doors_s + self._spec.planned_s
        keep = self._spec.recording is not Recording.OFF
        self._log = files.Writer.open(floor, grid_anchor(at), INITS, planned_s=planned_s, keep=keep)
        self._anchor = _local(self._log.anchor, at)
        self._packager = Packager(self._log.due)
        self.frame = self._packager.first_frame
        self._grid = self._anchor.mono_ns // FRAME_NS
        warm = np.take(self._music, np.arange(-WARM_SAMPLES, 0) + self.frame * FRAME_SAMPLES, mode="wrap")
        self._encoders = {encoding.codec.name: Encoder(encoding, warm) for encoding in ENCODINGS}

    # The loop.

    def stop(self) -> None:
        """End cleanly after the tick that is running: what is whole is written, the Space's life goes on."""
        self._stopping = True

    def run(self) -> int:
        """Tick until the Space is over or `stop` was called. The exit code is 0 either way."""
        server = Server(self._folder.programme_sock, self._answer)
        _diagnostics.info("programme_starts", space=self._folder.space, frame=self.frame, epoch=self._log.epoch)
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            while not self._stopping and not self._over():
                self._turn(server)
        finally:
            gc.enable()
            gc.unfreeze()
            self._folder.programme_sock.unlink(missing_ok=True)
        with _beating(self._counters):
            return self._finish() if self._over() else self._leave()

    def _turn(self, server: Server) -> None:
        wait_ns = self._anchor.mono_ns + self.frame * FRAME_NS - time.monotonic_ns()
        if wait_ns > 0:
            server.poll((wait_ns - SPIN_NS) / SECOND_NS)
            self._sleep()
            return
        self._tick(now(), -wait_ns)
        if self.frame % FRAGMENT_FRAMES == 0:
            server.poll(0)  # while catching up, commands are answered too

    def _sleep(self) -> None:
        left_ns = self._anchor.mono_ns + self.frame * FRAME_NS - time.monotonic_ns()
        if 0 < left_ns <= SPIN_NS:
            time.sleep(left_ns / SECOND_NS)

    def _over(self) -> bool:
        return self._desk.closed and self._packager.frames_left(self.frame) == 0

    # A tick.

    def _tick(self, at: Now, late_ns: int) -> None:
        filled = late_ns > FILLED_FRAMES * FRAME_NS
        wall_ns = self._anchor.wall_of_frame(self.frame, at)
        talk = None if filled else self._heard_from_stage()
        if not filled:
            self._count_tick(at, late_ns, talk)
            self._live(talk, wall_ns)
        mixed = self._desk.mix(self._life.state is State.ON_AIR and not filled, talk, self._music_now())
        self._publish(mixed)
        self._packager.frame(self.frame, self._flags(mixed, filled), wall_ns)
        if not filled:
            self._tell(talk)
        self._encode(self._limiter(mixed.pcm))
        self.frame += 1
        self._counters.set(HEARTBEAT, time.monotonic_ns())
        if self.frame % COLLECT_FRAMES == 0 and not filled:
            gc.collect()

    def _heard_from_stage(self) -> Frame | None:
        """The stage reads what strangers send, and its mix is taken with care."""
        frame = self._mix.read(self._grid + self.frame - LAG)
        return None if frame is None else plausible(frame)

    def _music_now(self) -> hold.Samples:
        start = self.frame % hold.LOOP_FRAMES * FRAME_SAMPLES
        return self._music[start : start + FRAME_SAMPLES]

    def _flags(self, mixed: Mixed, filled: bool) -> Flag:
        flags = Flag.ON_AIR if mixed.talk_heard or (self._life.state is State.ON_AIR and not filled) else Flag(0)
        if mixed.talk_heard:
            self._heard.count(self.frame)
        if mixed.hold_heard:
            flags |= Flag.HOLD
        return flags | Flag.FILLED if filled else flags

    def _publish(self, mixed: Mixed) -> None:
        on_air = self._life.state is State.ON_AIR
        self._return.write(self._grid + self.frame, Frame(mixed.hold, on_air=on_air))

    def _encode(self, pcm: hold.Samples) -> None:
        self._measure(pcm)
        for name, encoder in self._encoders.items():
            for packet in encoder.feed(pcm):
                self._append(self._packager.packet(name, packet))

    def _append(self, sealed: Sealed | None) -> None:
        if sealed is not None:
            self._log.append(sealed)
            self._counters.add("fragments")
            self._counters.add("filled", bool(sealed.flags & Flag.FILLED))

    def _measure(self, pcm: hold.Samples) -> None:
        """The loudness of what sounds, a fragment at a time: 0.3 % of a core."""
        self._measured.append(pcm)
        if len(self._measured) * FRAME_SAMPLES == FRAGMENT_SAMPLES:
            self._meter.feed(np.concatenate(self._measured))
            self._measured.clear()

    def _count_tick(self, at: Now, late_ns: int, talk: Frame | None) -> None:
        counters = self._counters
        counters.add("ticks")
        self._caught_up = self._caught_up or late_ns < FRAME_NS
        if self._caught_up:
            self._late[sum(late_ns >= bound * MS_NS for bound in LATE_MS)] += 1
            self._late_ns_max = max(self._late_ns_max, late_ns)
            counters.set("late_ns_max", self._late_ns_max)
        if talk is None:
            counters.add("frames_missing")
        if self.frame % FRAGMENT_FRAMES == 0:
            counters.set("disk_errors", self._log.errors + self._pen.errors)
            counters.set("fragments_dropped", self._log.dropped)
            self._spec = self._follow_spec() or self._spec
        self._watch_clock(at)

    def _follow_spec(self) -> Spec | None:
        """The announcement when it has been changed (recording, start on GO, …); None while it is what it was."""
        found = stamp(self._folder.spec_json)
        if found == self._spec_stamp:
            return None
        try:
            spec, self._spec_stamp = self._folder.read_spec(), found
        except (OSError, RostraError):
            return None
        return spec

    def _watch_clock(self, at: Now) -> None:
        skew_ns = at.wall_ns - at.mono_ns
        step_ns = skew_ns - self._skew_ns
        self._skew_ns = skew_ns
        if abs(step_ns) > STEP_NS:
            self._counters.add("clock_steps")
            _diagnostics.warning("clock_stepped", space=self._folder.space, step_ms=step_ns // MS_NS)
            self._pen.append(self._life, None, clock_step_ms=step_ns // MS_NS, frame=self.frame)

    # The Space's life.

    def _live(self, talk: Frame | None, wall_ns: int) -> None:
        """Let the stage and the time move the life, as of the frame that begins at `wall_ns`."""
        given = self._presence.receive(talk, self._life)
        if given is not None:
            self._step(given, wall_ns)
        while (awaited := lifecycle.due(self._life, self._spec)) and awaited[0] <= wall_ns:
            self._step(Input(awaited[1]), wall_ns)
        if self._life.state is State.SCHEDULED and awaited and awaited[0] - wall_ns > AWAY_NS:
            self.stop()

    def _step(self, given: Input, wall_ns: int) -> None:
        before, after = self._life, lifecycle.step(self._life, given, self._spec, wall_ns)
        self._life = after
        if notices.public(after) == notices.public(before):
            return
        self._pen.append(after, given.event, frame=self.frame, **self._facts(before, after))
        _diagnostics.info("state", space=self._folder.space, state=after.state, cause=after.cause, frame=self.frame)
        if after.state in _CLOSED:
            self._desk.close()

    def _facts(self, before: Life, after: Life) -> dict[str, object]:
        """What is worth keeping beside a transition: where on the timeline the talk began, and how punctually."""
        if after.state is State.ON_AIR and before.first_on_air_ns is None:
            assert after.first_on_air_ns is not None
            offset_ns = after.first_on_air_ns - after.starts_at_ns
            return {"on_air_frame": self.frame, "on_air_offset_ms": offset_ns / MS_NS}
        if before.state is State.ON_AIR and after.state is not State.ON_AIR:
            return {"off_air_frame": self.frame + (CLOSE_FRAMES if after.state in _CLOSED else FADE_FRAMES)}
        return {}

    def _tell(self, talk: Frame | None) -> None:
        """Notices: the state and the speaker when they change, and again for those who came meanwhile."""
        again = self.frame % REPEAT_FRAMES == 0
        public, speaking = notices.public(self._life), self._speaker(talk)
        if again or public != self._told:
            self._packager.notice(self.frame, notices.state(self._life))
        if again or speaking != self._speaking:
            self._packager.notice(self.frame, notices.encode("speaking", **speaking))
        self._told, self._speaking = public, speaking

    def _speaker(self, talk: Frame | None) -> dict[str, str]:
        if self._life.state is not State.ON_AIR:
            return {"seat": "", "name": ""}
        if talk is None or talk.speaker == self._speaking["seat"]:
            return self._speaking
        return {"seat": talk.speaker, "name": self._name(talk.speaker)}

    def _name(self, seat_id: str) -> str:
        try:
            seat = self._folder.read_roster().find(seat_id)
        except (OSError, OperatorError):
            return ""
        return seat.name if seat else ""

    # Commands.

    def _answer(self, request: Request) -> dict[str, Any]:
        if request.verb == "status":
            return self._status()
        event = _VERBS.get(request.verb)
        if event is None:
            raise PeerError("command.unknown", f"A programme has no command “{request.verb}”.")
        self._spec = self._follow_spec() or self._spec
        given = Input(event, _instant(request, "until_ns"), _instant(request, "starts_at_ns"))
        if event is Event.RESCHEDULE and given.starts_at_ns is None:
            raise PeerError("command.malformed", "A new start is needed.", "Give starts_at_ns.")
        self._step(given, self._anchor.wall_of_frame(self.frame, now()))
        return _plain(self._life)

    def _status(self) -> dict[str, Any]:
        loudness_lufs = self._meter.short_term()
        on_air = self._speaking["seat"]
        return _plain(self._life) | {
            "speaking": dict(self._speaking) if on_air else None,
            "fragment": self.frame // FRAGMENT_FRAMES - 1,
            "frame": self.frame,
            "epoch": self._log.epoch,
            "loudness_lufs": loudness_lufs if np.isfinite(loudness_lufs) else None,
            "late_ms_max": self._late_ns_max / MS_NS,
            "late_ticks": dict(zip([*(f"under_{bound}_ms" for bound in LATE_MS), "more"], self._late, strict=True)),
            "disk_fault": self._log.fault,
        }

    # The end.

    def _leave(self) -> int:
        """Make way for a successor: it fills what is not whole."""
        self._log.close()
        self._pen.close()
        _diagnostics.info("programme_stops", space=self._folder.space, frame=self.frame)
        return 0

    def _finish(self) -> int:
        """The Space is over: bring the encoders' last packets out, close the log, cut the recording."""
        silence = np.zeros(FRAGMENT_SAMPLES // 4, np.float32)
        for name, encoder in self._encoders.items():
            for packet in encoder.feed(silence):
                self._append(self._packager.packet(name, packet))
        self._log.finish()
        _cut_recording(self._folder, self._spec, self._heard)
        self._pen.close()
        _diagnostics.info("programme_ends", space=self._folder.space, state=self._life.state, frame=self.frame)
        return 0


def _instant(request: Request, name: str) -> int | None:
    value = request.args.get(name)
    if value is not None and not isinstance(value, int):
        raise PeerError("command.malformed", f"{name} is not a number of nanoseconds.")
    return value


def _plain(life: Life) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(lifecycle.encode(life, None))
    return entry


def _local(anchor: Anchor, at: Now) -> Anchor:
    """The anchor by this boot's monotonic clock. After a reboot the wall clock says how far the timeline has run."""
    if anchor.boot_id == at.boot_id:
        return anchor
    mono_ns = at.mono_ns - anchor.elapsed_ns(at)
    return Anchor(anchor.wall_ns, mono_ns - mono_ns % FRAME_NS, at.boot_id)


def _age_ns(programme: Path, at: Now) -> int:
    """How long ago the last fragment of an existing log was mixed; 0 when there is none."""
    last = None
    if (programme / CODECS[0].name / files.INDEX).exists():
        reader = files.Reader(programme / CODECS[0].name)
        reader.poll()
        last = reader.last
        reader.close()
    return 0 if last is None else at.wall_ns - last.wall_ns
