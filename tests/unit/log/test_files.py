import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rostra.kernel.clock import Anchor
from rostra.kernel.errors import OperatorError, Unavailable
from rostra.kernel.shared.index import HEADER_BYTES, RECORD_BYTES, Flag, Record
from rostra.log.index import Sealed
from rostra.log.io import files
from rostra.log.io.files import BUFFER_FRAGMENTS, QUEUE_MAX, Reader, Writer, set_aside
from rostra.media.codec import CODECS
from rostra.media.fragment import init_segment
from support.server import wait_for

ANCHOR = Anchor(1_800_000_000_000_000_000, 5_000_000_000, "boot")
INITS = {codec.name: init_segment(codec) for codec in CODECS}


@pytest.fixture
def programme(tmp_path: Path) -> Path:
    return tmp_path / "programmes" / "floor"


@pytest.fixture
def opened() -> Iterator[Callable[..., Writer]]:
    """Opens writers, and closes those that the test has not."""
    writers: list[Writer] = []

    def open_log(programme: Path, *, planned_s: int = 0, keep: bool = True) -> Writer:
        writers.append(Writer.open(programme, ANCHOR, INITS, planned_s=planned_s, keep=keep))
        return writers[-1]

    yield open_log
    for writer in writers:
        if any(thread.is_alive() for thread in writer._threads):
            writer.close()


Open = Callable[..., Writer]


def sealed(rendition: str, number: int, size: int = 3000) -> Sealed:
    return Sealed(rendition, number, Flag.HOLD, number * 640_000_000, bytes([number % 251]) * size)


def fill(writer: Writer, numbers: range, size: int = 3000) -> None:
    for number in numbers:
        for rendition in INITS:
            writer.append(sealed(rendition, number, size))


def test_a_reader_sees_each_fragment_once_in_order_and_whole(programme: Path, opened: Open) -> None:
    reader = Reader(programme / "opus")
    assert (reader.header, reader.poll(), reader.last) == (None, [], None)
    writer = opened(programme, planned_s=60)
    assert reader.poll() == []
    assert reader.header is not None
    assert reader.header.anchor == ANCHOR
    assert reader.init() == INITS["opus"]
    found: list[Record] = []
    for number in range(20):
        fill(writer, range(number, number + 1))
        found += reader.poll()
    assert writer.flush()
    found += reader.poll()
    assert [record.number for record in found] == list(range(20))
    assert [reader.read(record) for record in found] == [sealed("opus", number).data for number in range(20)]
    assert reader.last == found[-1]
    assert reader.poll() == []
    assert list(reader.records) == found
    assert os.pread(reader.fileno(), 3000, found[3].offset) == sealed("opus", 3).data
    reader.close()


def test_a_reader_passes_over_a_record_that_is_not_whole_yet(programme: Path, opened: Open) -> None:
    writer = opened(programme)
    fill(writer, range(3))
    writer.close()
    index = programme / "opus" / files.INDEX
    whole = index.read_bytes()
    reader = Reader(programme / "opus")
    index.write_bytes(whole[: HEADER_BYTES + 2 * RECORD_BYTES + 17])
    assert [record.number for record in reader.poll()] == [0, 1]
    index.write_bytes(whole)
    assert [record.number for record in reader.poll()] == [2]
    reader.close()


def test_only_one_writer_is_let_in(programme: Path, opened: Open) -> None:
    first = opened(programme)
    with pytest.raises(Unavailable, match="Another process"):
        opened(programme)
    first.close()
    opened(programme)


def test_each_writer_has_the_next_epoch_and_goes_on_with_the_timeline_that_is_there(
    programme: Path, opened: Open
) -> None:
    first = opened(programme)
    assert (first.epoch, first.new, first.due, first.anchor) == (1, True, {"opus": 0, "aac": 0}, ANCHOR)
    fill(first, range(5))
    first.append(sealed("opus", 5))
    first.close()
    second = Writer.open(programme, Anchor(7, 7, "other"), INITS)
    assert (second.epoch, second.new, second.due) == (2, False, {"opus": 6, "aac": 5})
    assert second.anchor == ANCHOR
    second.append(sealed("aac", 5))
    second.close()
    reader = Reader(programme / "aac")
    assert [(record.number, record.epoch) for record in reader.poll()] == [*((n, 1) for n in range(5)), (5, 2)]
    reader.close()
    assert int((programme / files.EPOCH).read_bytes()) == 2


def test_an_epoch_is_never_given_out_twice_even_when_its_file_is_gone(programme: Path, opened: Open) -> None:
    opened(programme).close()
    second = opened(programme)
    fill(second, range(1))
    second.close()
    (programme / files.EPOCH).unlink()
    assert opened(programme).epoch == 3


def test_space_is_allocated_in_advance_and_given_back_at_the_end(programme: Path, opened: Open) -> None:
    writer = opened(programme, planned_s=600)
    data = programme / "aac" / files.DATA
    index = programme / "aac" / files.INDEX
    assert data.stat().st_blocks * 512 >= 600 * 64_000 // 8
    assert index.stat().st_blocks * 512 >= 600 * RECORD_BYTES
    assert index.stat().st_size == HEADER_BYTES
    fill(writer, range(3))
    assert writer.finish()
    assert data.stat().st_size == 9000
    assert data.stat().st_blocks * 512 < 100_000
    assert index.stat().st_blocks * 512 <= 4096


def test_a_log_that_was_finished_can_be_gone_on_with(programme: Path, opened: Open) -> None:
    first = opened(programme, planned_s=60)
    fill(first, range(3))
    first.finish()
    second = opened(programme, planned_s=60)
    assert second.due == {"opus": 3, "aac": 3}


def test_what_is_not_recorded_is_a_buffer_of_two_minutes_and_gone_at_the_end(programme: Path, opened: Open) -> None:
    writer = opened(programme, planned_s=3600, keep=False)
    count = BUFFER_FRAGMENTS + 100
    fill(writer, range(count), size=8192)
    assert writer.flush()
    data = programme / "opus" / files.DATA
    assert data.stat().st_size == count * 8192
    wait_for(lambda: data.stat().st_blocks * 512 <= (BUFFER_FRAGMENTS + 1) * 8192, 5, "the hole")
    reader = Reader(programme / "opus")
    records = reader.poll()
    kept = records[-BUFFER_FRAGMENTS:]
    assert [reader.read(record) for record in kept] == [
        sealed("opus", n, 8192).data for n in range(100, BUFFER_FRAGMENTS + 100)
    ]
    assert set(reader.read(records[50])) == {0}
    reader.close()
    assert writer.finish()
    assert not (programme / "opus").exists()
    assert not (programme / "aac").exists()


def test_a_file_system_that_makes_no_holes_keeps_the_bytes_and_the_log_goes_on(
    programme: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(files, "_fallocate", refuse)
    writer = opened(programme, keep=False)
    fill(writer, range(BUFFER_FRAGMENTS + 20))
    assert writer.flush()
    assert (writer.errors, writer.fault) == (0, "")


def test_a_log_set_aside_keeps_its_readers_and_makes_room_for_another(programme: Path, opened: Open) -> None:
    assert set_aside(programme) is None
    first = opened(programme)
    fill(first, range(2))
    first.close()
    reader = Reader(programme / "opus")
    assert len(reader.poll()) == 2
    assert not reader.replaced()
    assert set_aside(programme) == programme.with_name("floor-1")
    assert reader.replaced()
    anew = Writer.open(programme, Anchor(9, 9), INITS)
    assert (anew.new, anew.anchor) == (True, Anchor(9, 9))
    anew.close()
    assert reader.replaced()
    assert reader.read(reader.records[1]) == sealed("opus", 1).data
    reader.close()
    assert set_aside(programme) == programme.with_name("floor-2"), "epochs go on over the logs of a Space"


def test_an_index_of_another_version_is_named_and_left_alone(programme: Path, opened: Open) -> None:
    opened(programme).close()
    index = programme / "opus" / files.INDEX
    index.write_bytes(b"something else entirely".ljust(HEADER_BYTES, b"\0"))
    with pytest.raises(OperatorError, match="another version"):
        opened(programme)
    assert index.read_bytes().startswith(b"something")


class Refusing:
    """Stands in for writes or syncs of the disk; `errors` remain until it works again."""

    def __init__(self, works: Callable[..., None]) -> None:
        self.works = works
        self.refuses = threading.Event()

    def __call__(self, *arguments: object) -> None:
        if self.refuses.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        self.works(*arguments)


@pytest.mark.parametrize("doing", ["write", "sync"])
def test_a_disk_that_refuses_holds_up_nobody_and_nothing_is_lost_when_it_works_again(
    programme: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    refusing = Refusing(getattr(files.Disk, doing))
    monkeypatch.setattr(files.Disk, doing, lambda *arguments: refusing(*arguments))
    monkeypatch.setattr(files, "RETRY_S", 0.01)
    monkeypatch.setattr(files, "SYNC_S", 0.01)
    writer = opened(programme)
    fill(writer, range(2))
    assert writer.flush()
    refusing.refuses.set()
    fill(writer, range(2, 30))
    wait_for(lambda: writer.errors > 2, 5, "errors")
    assert "No space left" in writer.fault
    refusing.refuses.clear()
    assert writer.flush()
    assert (writer.fault, writer.dropped) == ("", 0)
    reader = Reader(programme / "aac")
    assert [record.number for record in reader.poll()] == list(range(30))
    reader.close()


def test_a_sync_that_takes_for_ever_keeps_no_fragment_from_its_readers(
    programme: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    works = files.Disk.sync

    def slow(disk: files.Disk) -> None:
        goes_on.wait(20)
        works(disk)

    writer = opened(programme)
    monkeypatch.setattr(files.Disk, "sync", slow)
    reader = Reader(programme / "opus")
    for number in range(5):
        fill(writer, range(number, number + 1))
        assert [record.number for record in wait_for(reader.poll, 5, "the next fragment")] == [number]
    assert not writer.flush(0.05)
    goes_on.set()
    assert writer.flush()
    reader.close()


def test_when_the_queue_is_full_the_oldest_fragments_go_and_are_counted(
    programme: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(files.Disk.write)
    monkeypatch.setattr(files.Disk, "write", lambda *arguments: refusing(*arguments))
    monkeypatch.setattr(files, "RETRY_S", 0.01)
    writer = opened(programme)
    refusing.refuses.set()
    writer.append(sealed("opus", 0, 10))
    wait_for(lambda: writer.errors > 0, 5, "the first error")
    for number in range(1, QUEUE_MAX + 6):
        writer.append(sealed("opus", number, 10))
    assert writer.depth == QUEUE_MAX
    assert writer.dropped == 5
    refusing.refuses.clear()
    assert writer.flush()
    reader = Reader(programme / "opus")
    assert [record.number for record in reader.poll()] == [0, *range(6, QUEUE_MAX + 6)]
    assert reader.records.find(3) is None
    reader.close()


def test_a_folder_that_cannot_be_written_is_told_to_the_operator(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "programmes").write_bytes(b"a file where a folder should be")
    with pytest.raises(OperatorError, match="cannot be written"):
        opened(tmp_path / "programmes" / "floor")


ENDLESS = """
import itertools, sys
from pathlib import Path
from rostra.kernel.clock import Anchor
from rostra.kernel.shared.index import Flag
from rostra.log.index import Sealed
from rostra.log.io.files import Writer
from rostra.media.codec import CODECS
from rostra.media.fragment import init_segment

log = Writer.open(Path(sys.argv[1]), Anchor(0, 0), {codec.name: init_segment(codec) for codec in CODECS}, planned_s=600)
for number in itertools.count(max(log.due.values())):
    for name in log.due:
        log.append(Sealed(name, number, Flag.HOLD, 0, bytes([number % 251]) * 3000))
    while log.depth > 20:
        pass
"""


def test_a_writer_that_is_killed_takes_nothing_with_it_that_anyone_has_read(programme: Path, opened: Open) -> None:
    readers = {name: Reader(programme / name) for name in INITS}

    def read_more() -> bool:
        return bool([reader.poll() for reader in readers.values()][-1])

    for life in range(1, 4):
        child = subprocess.Popen([sys.executable, "-c", ENDLESS, str(programme)])
        try:
            for _ in range(5):
                wait_for(read_more, 20, "more fragments")
        finally:
            child.kill()
            child.wait(10)
        writer = opened(programme)
        assert writer.epoch == 2 * life
        for name, reader in readers.items():
            reader.poll()
            assert [record.number for record in reader.records] == list(range(writer.due[name]))
            tail = reader.records[-5:]
            assert [reader.read(record) for record in tail] == [sealed(name, record.number).data for record in tail]
            for number in range(writer.due[name], max(writer.due.values())):
                writer.append(sealed(name, number))
        writer.close()
    for reader in readers.values():
        reader.close()
