"""Where a Space keeps its files, and how they are read and written (DESIGN 6 and 7)."""

import os
from pathlib import Path

from rostra.kernel.errors import PeerError, Unavailable
from rostra.kernel.ids import is_space_id
from rostra.kernel.io.files import Lock, make_private, replace
from rostra.kernel.limits import ROSTER_BYTES_MAX
from rostra.space import lifecycle, roster, spec
from rostra.space.lifecycle import Event, Life


class Folder:
    """`<data>/spaces/<id>/`, and its shared memory in `<shared>/<id>/`."""

    def __init__(self, data: Path, shared: Path, space: str) -> None:
        self.space = space
        self.path = data / "spaces" / space
        self.shared = shared / space
        self.spec_json = self.path / "space.json"
        self.state_json = self.path / "state.json"
        self.stage = self.path / "stage"
        """All that a stage may write to, and nothing else lies there: a folder is what the kernel can bound."""
        self.roster_json = self.stage / "roster.json"
        self.journal = self.path / "journal.jsonl"
        self.journal_lock = self.path / "journal.lock"
        self.stage_sock = self.stage / "stage.sock"
        self.programme_sock = self.path / "programme.sock"
        self.programmes = self.path / "programmes"
        self.mix_ring = self.shared / "mix.ring"
        self.return_ring = self.shared / "return.ring"

    def make(self) -> "Folder":
        make_private(self.stage)
        make_private(self.shared)
        before = self.path / "roster.json"  # where 0.1 kept it
        if before.exists() and not self.roster_json.exists():
            before.replace(self.roster_json)
        return self

    def read_spec(self) -> spec.Spec:
        """Raises PeerError `space.unknown`."""
        try:
            return spec.decode(self.spec_json.read_bytes())
        except FileNotFoundError:
            raise PeerError("space.unknown", f"There is no Space “{self.space}”.", "Check the link.") from None

    def write_spec(self, announced: spec.Spec) -> None:
        replace(self.spec_json, spec.encode(announced), sync=True)

    def read_life(self) -> Life | None:
        """The life at the end of the journal, or None before it has one."""
        try:
            return lifecycle.last(self.journal.read_bytes())
        except FileNotFoundError:
            return None

    def read_roster(self) -> roster.Roster:
        """The roster as a restarted stage finds it; empty before anyone came.

        Raises OperatorError `roster.unreadable`, also when it is larger than a stage of ours would write it: whoever
        reads it need not believe the stage.
        """
        try:
            with self.roster_json.open("rb") as file:
                return roster.decode(file.read(ROSTER_BYTES_MAX + 1))
        except FileNotFoundError:
            return roster.Roster()

    def write_roster(self, seats: roster.Roster) -> None:
        replace(self.roster_json, roster.encode(seats))


def check_sock(data: Path) -> Path:
    """The command socket of the process that guests test with: one a machine, for all Spaces."""
    return data / "check.sock"


def spaces(data: Path) -> list[str]:
    """The ids of the Spaces in a data directory."""
    folder = data / "spaces"
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in folder.iterdir() if is_space_id(entry.name) and (entry / "space.json").exists()
    )


class Journal:
    """The lifecycle's only pen: whoever holds it (the programme while it runs, else the studio) owns the lifecycle.

    Raises Unavailable `journal.held` when another process holds it.
    """

    def __init__(self, folder: Folder) -> None:
        self._lock = Lock(folder.journal_lock)
        if not self._lock.acquire():
            self._lock.release()
            raise Unavailable(
                "journal.held", "The Space's programme is at work.", "Send the command to it, or try again."
            )
        try:
            self._descriptor = os.open(folder.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._cut_torn_line()
        except OSError:
            self._lock.release()
            raise

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._descriptor).st_size
        tail = os.pread(self._descriptor, 65_536, max(0, size - 65_536))
        os.ftruncate(self._descriptor, size - len(tail) + tail.rfind(b"\n") + 1)

    def append(self, life: Life, event: Event | None, **facts: object) -> None:
        """Write a transition and make it durable: a few hundred bytes, a few times an event. All of the line, or none.

        Raises OSError when the disk refuses it.
        """
        end = os.fstat(self._descriptor).st_size
        line = lifecycle.encode(life, event, **facts)
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, end)
            raise

    def close(self) -> None:
        os.close(self._descriptor)
        self._lock.release()
