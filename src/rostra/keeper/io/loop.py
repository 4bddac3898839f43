"""The keeper's process: once a second, what the workers counted and the programmes say becomes `state.json`."""

import signal
import threading
import time
from pathlib import Path
from typing import Final

import structlog

from rostra.keeper import counters as sums
from rostra.keeper import state as public
from rostra.kernel.clock import Now
from rostra.kernel.errors import RostraError, Unavailable
from rostra.kernel.io import memory
from rostra.kernel.io.files import Follower, replace
from rostra.kernel.io.system import now
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.log.io.files import Reader
from rostra.space import lifecycle, state
from rostra.space.io import sockets
from rostra.space.io.folder import Folder, spaces
from rostra.space.lifecycle import LIVE, Life
from rostra.space.spec import Spec

log = structlog.get_logger()

TURN_MS: Final = 1000
BEAT_MS: Final = 200
ASK_MS: Final = 200
"""How long a programme may take to answer; it answers within a tick."""

ASK_AGAIN_MS: Final = 5000
"""A programme that did not answer is let be for this long: ten of them must not make everybody's state late."""


class Watched:
    """One Space: its files, read again when they change, and what was written of it."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.written: public.Written | None = None
        self._files = Follower()
        self._spec: Spec | None = None
        self._life: Life | None = None
        self._offset_ms: float | None = None
        self._replay_s: float | None = None
        self._reader: Reader | None = None
        self._ask_ns = 0

    def document(self, listeners: int | None, moment: Now) -> dict[str, object]:
        """The public state. Raises RostraError, OSError when the Space's files cannot be read."""
        self._read()
        assert self._spec is not None
        assert self._life is not None
        life, speaking = self._ask(moment) if self._life.state in LIVE else (self._life, None)
        facts = state.Facts(listeners, speaking, None, False, self._offset_ms, self._replay_s)
        return state.document(self._spec, life, self._sound(facts, life, moment), moment.wall_ns)

    def _read(self) -> None:
        self._files.follow(self.folder.spec_json, self._read_spec)
        self._files.follow(self.folder.journal, self._read_life)
        self._files.follow(self._recording, self._read_recording)

    def _read_spec(self) -> None:
        self._spec = self.folder.read_spec()

    def _read_life(self) -> None:
        assert self._spec is not None
        self._life = self.folder.read_life() or lifecycle.begin(self._spec, 0)
        journal = self.folder.journal
        self._offset_ms = state.on_air_offset_ms(journal.read_bytes() if journal.exists() else b"")

    @property
    def _recording(self) -> Path:
        return self.folder.programmes / "floor" / "aac" / "recording.json"

    def _read_recording(self) -> None:
        recording = self._recording
        self._replay_s = public.replay_s(recording.read_bytes()) if recording.exists() else None

    def _ask(self, moment: Now) -> tuple[Life, dict[str, str] | None]:
        """The programme's own word, or while it is away the journal's."""
        assert self._life is not None
        if moment.mono_ns >= self._ask_ns:
            try:
                return public.heard(sockets.call(self.folder.programme_sock, "status", deadline_ms=ASK_MS))
            except RostraError as error:
                self._ask_ns = moment.mono_ns + (ASK_AGAIN_MS * MS_NS if isinstance(error, Unavailable) else 0)
        return self._life, None

    def _sound(self, facts: state.Facts, life: Life, moment: Now) -> state.Facts:
        """What the log says: the last fragment, and whether it is fresh."""
        if self._reader is not None and (life.state not in LIVE or self._reader.replaced()):
            self.close()
        if life.state not in LIVE:
            return facts
        self._reader = self._reader or Reader(self.folder.programmes / "floor" / "opus")
        self._reader.poll()
        last = self._reader.last
        if last is None:
            return facts
        return public.sounding(facts, last.number, last.wall_ns, moment.wall_ns)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class Keeper:
    """The loop. `run` returns after `stop`."""

    def __init__(self, data: Path, shared: Path, counters: Counters) -> None:
        self._data = data
        self._shared = shared
        self._counters = counters
        self._watched: dict[str, Watched] = {}
        self._workers: dict[Path, tuple[int, Counters]] = {}
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        """A turn a second; a late one is not made up for."""
        due_ns = now().mono_ns
        while not self._stopping:
            self._counters.set(HEARTBEAT, now().mono_ns)
            if now().mono_ns >= due_ns:
                self.turn(now())
                due_ns = max(due_ns + TURN_MS * MS_NS, now().mono_ns)
            time.sleep(max(0.0, min(BEAT_MS * MS_NS, due_ns - now().mono_ns) / SECOND_NS))
        for watched in self._watched.values():
            watched.close()

    def turn(self, moment: Now) -> None:
        """Look at everything once."""
        listening = sums.listeners(self._readings(), moment.mono_ns)
        there = set(spaces(self._data))
        for gone in self._watched.keys() - there:
            self._watched.pop(gone).close()
        for space in sorted(there):
            self._counters.set(HEARTBEAT, now().mono_ns)
            count = None if listening is None else listening.get(space, 0)
            try:
                self._publish(space, count, moment)
            except (RostraError, OSError) as error:
                self._counters.add("faults")
                log.warning("state_unwritten", space=space, error=str(error))
        self._counters.set("spaces", len(there))

    def _publish(self, space: str, listeners: int | None, moment: Now) -> None:
        watched = self._watched.get(space)
        if watched is None:
            watched = self._watched[space] = Watched(Folder(self._data, self._shared, space))
        document = watched.document(listeners, moment)
        written = public.write_again(watched.written, document, moment.wall_ns)
        if written is not None:
            replace(watched.folder.state_json, state.encode(document))
            watched.written = written
            self._counters.add("writes")

    def _readings(self) -> list[dict[str, int]]:
        """Every worker's counters. One that is just being made is left for the next turn."""
        readings = []
        for path in self._shared.glob("worker-*.counters"):
            try:
                inode = path.stat().st_ino
                known = self._workers.get(path)
                if known is None or known[0] != inode:
                    known = self._workers[path] = (inode, Counters(memory.attach(path)))
            except (RostraError, OSError, ValueError):
                continue
            readings.append(known[1].read())
        return readings


def run(data: Path, shared: Path, counters: Counters) -> None:
    """Keep the public state until SIGTERM."""
    keeper = Keeper(data, shared, counters)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: keeper.stop())
    keeper.run()
