"""A Space as a worker sees it: its announcement, its life, its log, its recording, read again when they change."""

import contextlib
import json
import os
from pathlib import Path

import structlog

from rostra.audience import replay
from rostra.audience.settings import Settings
from rostra.kernel.errors import RostraError
from rostra.kernel.io.files import ABSENT, Follower, stamp
from rostra.kernel.io.system import now
from rostra.kernel.units import MS_NS
from rostra.log.io.files import Reader
from rostra.space import lifecycle, state
from rostra.space.io.folder import Folder
from rostra.space.lifecycle import LIVE, Life
from rostra.space.spec import Spec

log = structlog.get_logger()

STATE_AGE_LIVE_MS = 5000
"""The keeper writes every second while a Space is live: older than this, it is away."""

STATE_AGE_MS = 65_000
"""Otherwise it writes every 30 s."""


class Source:
    """Reads are spaced by `look`, so that a crowd asking costs no more than one who asks."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self.folder = folder
        self.id = folder.space
        self.spec: Spec | None = None
        self.life: Life | None = None
        self.listeners: int | None = None
        """Listeners on the whole machine, by the keeper's last count."""
        self.readers: dict[str, Reader] = {}
        self._settings = settings
        self._looked_ns = -1
        self._files = Follower()
        self._state = b""
        self._state_at = ABSENT
        self._recording: tuple[replay.Recording, int] | None = None

    def look(self, mono_ns: int) -> None:
        """Take up what has changed, at most every `look_ms`."""
        if self._looked_ns >= 0 and mono_ns - self._looked_ns < self._settings.look_ms * MS_NS:
            return
        self._looked_ns = mono_ns
        try:
            self._look_at_files()
        except (RostraError, OSError) as error:
            log.warning("unreadable", space=self.id, error=str(error))

    def _look_at_files(self) -> None:
        self._files.follow(self.folder.spec_json, self._read_spec)
        self._files.follow(self.folder.journal, self._read_life)
        self._files.follow(self._recording_json, self._read_recording)
        self._files.follow(self.folder.state_json, self._read_listeners)

    def _read_spec(self) -> None:
        self.spec = self.folder.read_spec()
        self.life = self.life or lifecycle.begin(self.spec, 0)

    def _read_life(self) -> None:
        self.life = self.folder.read_life() or self.life

    def _read_listeners(self) -> None:
        """The keeper's count; no file of ours is worth failing for."""
        self.listeners = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            count = json.loads(self.folder.state_json.read_bytes()).get("listeners")
            self.listeners = count if isinstance(count, int) else None

    # the log

    def reader(self, rendition: str) -> Reader:
        """The log of a rendition; one that was set aside meanwhile is closed first."""
        reader = self.readers.get(rendition)
        if reader is not None and reader.replaced():
            reader.close()
            reader = None
        if reader is None:
            reader = self.readers[rendition] = Reader(self._rendition(rendition))
        return reader

    def _rendition(self, rendition: str) -> Path:
        return self.folder.programmes / "floor" / rendition

    def close(self) -> None:
        for reader in self.readers.values():
            reader.close()
        self.readers.clear()

    # the public state

    def state_json(self) -> bytes:
        """What anybody may know: the keeper's words; our own while it is away, or has yet to hear of a transition."""
        moment = now()
        written = stamp(self.folder.state_json)
        if self._fresh(written[0], moment.wall_ns) and written[0] >= stamp(self.folder.journal)[0]:
            if written != self._state_at:
                self._state, self._state_at = self.folder.state_json.read_bytes(), written
            return self._state
        if self.spec is None or self.life is None:
            return b""
        last = [reader.last for reader in self.readers.values()]
        numbers = [record.number for record in last if record is not None]
        facts = state.Facts(
            listeners=self.listeners,
            fragment=max(numbers, default=None),
            sounding=bool(numbers),
            on_air_offset_ms=self._on_air_offset_ms(),
            replay_s=None if self._recording is None else self._recording[0].duration_s,
        )
        return state.encode(state.document(self.spec, self.life, facts, moment.wall_ns))

    def _fresh(self, written_ns: int, wall_ns: int) -> bool:
        live = self.life is not None and self.life.state in LIVE
        return wall_ns - written_ns < (STATE_AGE_LIVE_MS if live else STATE_AGE_MS) * MS_NS

    def _on_air_offset_ms(self) -> float | None:
        with contextlib.suppress(OSError):
            return state.on_air_offset_ms(self.folder.journal.read_bytes())
        return None

    # the recording

    @property
    def _recording_json(self) -> Path:
        return self._rendition("aac") / "recording.json"

    @property
    def _recording_head(self) -> Path:
        return self._rendition("aac") / "recording.head"

    def _read_recording(self) -> None:
        try:
            found = replay.decode(self._recording_json.read_bytes())
        except FileNotFoundError:
            self._recording = None
        else:
            self._recording = found, stamp(self._recording_head)[0]

    @property
    def recording(self) -> tuple[replay.Recording, int] | None:
        """The recording and the stamp that names it, when its host let it out."""
        if self.life is None or self.life.state is not lifecycle.State.REPLAY:
            return None
        return self._recording

    def open_recording(self) -> tuple[int, int]:
        """Descriptors of the head and of the log, the caller's to close. Raises OSError."""
        head = os.open(self._recording_head, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return head, os.open(self._rendition("aac") / "fragments.m4s", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(head)
            raise
