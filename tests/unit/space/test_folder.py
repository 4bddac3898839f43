"""A Space's folder: the journal has one pen, and whole lines."""

import os
from pathlib import Path

import pytest

from rostra.kernel.errors import OperatorError, Unavailable
from rostra.kernel.io.files import Lock
from rostra.kernel.limits import ROSTER_BYTES_MAX
from rostra.kernel.units import SECOND_NS
from rostra.space import lifecycle
from rostra.space.io.folder import Folder, Journal
from rostra.space.lifecycle import Event, Life
from rostra.space.roster import Roster
from rostra.space.spec import Spec

T = 1_800_000_000 * SECOND_NS
LIFE = lifecycle.begin(Spec("abc", "A talk", T), T)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data", tmp_path / "shared", "abc").make()


def test_only_one_process_holds_the_pen(folder: Folder) -> None:
    journal = Journal(folder)
    with pytest.raises(Unavailable, match="at work"):
        Journal(folder)
    journal.close()
    Journal(folder).close()


def test_a_line_that_the_disk_took_half_of_is_taken_back(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(folder)
    journal.append(LIFE, None)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) - 10])

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(LIFE, Event.DOORS_DUE)
    assert folder.read_life() == LIFE
    journal.append(lifecycle.step(LIFE, lifecycle.Input(Event.POSTPONE), Spec("abc", "A talk", T), T), Event.POSTPONE)
    journal.close()
    found = folder.read_life()
    assert isinstance(found, Life)
    assert found.state is lifecycle.State.POSTPONED


def test_a_pen_that_cannot_be_taken_up_is_not_kept(folder: Folder) -> None:
    folder.journal.mkdir()
    with pytest.raises(OSError, match="directory"):
        Journal(folder)
    lock = Lock(folder.journal_lock)
    assert lock.acquire()
    lock.release()


@pytest.mark.parametrize(
    "written",
    [
        b"[" * 200_000,
        b"{}" + b" " * ROSTER_BYTES_MAX,
        b'{"v":1,"seats":[{"id":1,"name":"a","role":"host","armed":true,"muted":false}]}',
        b'{"v":1,"seats":[{"id":"a","name":["a"],"role":"host","armed":true,"muted":false}]}',
        b'{"v":1,"seats":[{"id":"a","name":"a","role":"king","armed":true,"muted":false}]}',
        b'{"v":1,"seats":7}',
    ],
)
def test_a_roster_is_not_believed(folder: Folder, written: bytes) -> None:
    folder.roster_json.write_bytes(written)
    with pytest.raises(OperatorError, match="cannot be read"):
        folder.read_roster()


def test_a_roster_of_an_earlier_release_is_found_where_the_stage_looks(folder: Folder) -> None:
    folder.roster_json.unlink(missing_ok=True)
    (folder.path / "roster.json").write_bytes(b'{"v":1,"seats":[]}')
    assert folder.make().read_roster() == Roster()
    assert folder.roster_json.exists()
    assert folder.roster_json.parent == folder.stage_sock.parent == folder.stage
