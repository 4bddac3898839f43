"""Every way a log can be left by a crash, on a disk that forgets (`support.disk`), through the code that writes it."""

from itertools import pairwise
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rostra.kernel.shared.index import HEADER_BYTES, RECORD_BYTES, Flag, Record
from rostra.log.append import Appender
from rostra.log.index import Records, Sealed
from rostra.log.recovery import BEHIND_MAX, CHECKED, due, standing
from support.disk import ForgetfulFile

PLANNED_BYTES = 4096
"""Allocated in advance, and full of what was there before, as a careless file system leaves it."""


class Disks(RuleBasedStateMachine):
    """Appends, syncs, faults, killed processes and power cuts, in any order.

    `written` is every fragment that was appended and not lost, `synced` how many of them a sync has vouched for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bits: list[bool] = []
        self.index = ForgetfulFile(bytes(HEADER_BYTES), self.lot)
        self.data = ForgetfulFile(b"\xa5" * PLANNED_BYTES, self.lot)
        self.epoch = 1
        self.written: list[tuple[Record, bytes]] = []
        self.synced = 0
        self.appender = Appender(self.index, self.data)

    def lot(self) -> bool:
        return self.bits.pop() if self.bits else False

    def next_fragment(self, data: bytes) -> Sealed:
        number = self.written[-1][0].number + 1 if self.written else 0
        return Sealed("opus", number, Flag.HOLD, number, data)

    @precondition(lambda self: len(self.written) - self.synced < CHECKED)
    @rule(data=st.binary(min_size=1, max_size=100))
    def append(self, data: bytes) -> None:
        record = self.appender.append(self.next_fragment(data), self.epoch)
        self.written.append((record, data))

    @rule(data=st.binary(min_size=1, max_size=100), after=st.integers(0, 99))
    def fail_to_write_data(self, data: bytes, after: int) -> None:
        self.data.write_fault = min(after, len(data) - 1)
        with pytest.raises(OSError, match="No space"):
            self.appender.append(self.next_fragment(data), self.epoch)

    @rule(data=st.binary(min_size=1, max_size=100), after=st.integers(0, RECORD_BYTES - 1))
    def fail_to_write_a_record(self, data: bytes, after: int) -> None:
        self.index.write_fault = after
        with pytest.raises(OSError, match="No space"):
            self.appender.append(self.next_fragment(data), self.epoch)

    @rule()
    def sync(self) -> None:
        self.appender.sync()
        self.synced = len(self.written)

    @rule(which=st.booleans(), bits=st.lists(st.booleans(), max_size=60))
    def fail_to_sync(self, which: bool, bits: list[bool]) -> None:
        self.bits = bits
        (self.index if which else self.data).sync_fault = True
        with pytest.raises(OSError, match="Input/output"):
            self.appender.sync()

    @rule(data=st.binary(min_size=1, max_size=100), where=st.sampled_from(["data", "index"]), after=st.integers(0, 99))
    def be_killed_while_appending(self, data: bytes, where: str, after: int) -> None:
        """The kernel lives on, and with it all that was written: only the fragment in hand is lost."""
        if where == "data":
            self.fail_to_write_data(data, after)
        else:
            self.fail_to_write_a_record(data, after % RECORD_BYTES)
        self.restart()
        assert self.appender.count == len(self.written)

    @rule(bits=st.lists(st.booleans(), max_size=400))
    def lose_power(self, bits: list[bool]) -> None:
        self.bits = bits
        self.data.lose_power()
        self.index.lose_power()
        self.restart()
        assert self.appender.count >= self.synced
        del self.written[self.appender.count :]
        self.synced = min(self.synced, len(self.written))

    def restart(self) -> None:
        self.epoch += 1
        self.appender = Appender(self.index, self.data)

    @rule()
    def finish(self) -> None:
        self.appender.finish()
        self.synced = len(self.written)
        assert self.data.size() == self.appender.end

    @invariant()
    def readers_see_exactly_what_was_written_and_every_byte_of_it(self) -> None:
        seen = list(Records(bytes(self.index.cache[HEADER_BYTES:])))
        assert seen == [record for record, _ in self.written]
        for record, data in self.written:
            assert self.data.read(record.offset, record.size) == data

    @invariant()
    def numbers_and_bytes_follow_without_a_gap(self) -> None:
        for (before, _), (after, _) in pairwise(self.written):
            assert (after.number, after.offset) == (before.number + 1, before.end)


TestDisks = Disks.TestCase
TestDisks.settings = settings(max_examples=max(150, settings.default.max_examples), stateful_step_count=40)


def log(sizes: list[int]) -> tuple[list[Record], bytes]:
    data, records = b"", []
    for number, size in enumerate(sizes):
        piece = bytes([number % 256]) * size
        records.append(Record(number, 1, len(data), size, Flag.HOLD, 0, crc32(piece)))
        data += piece
    return records, data


def stands(records: list[Record], data: bytes) -> int:
    index = b"".join(record.encode() for record in records)
    return standing(index, len(data), lambda offset, size: data[offset : offset + size]).count


@given(st.lists(st.integers(1, 50), max_size=30), st.data())
def test_the_log_ends_before_the_first_fragment_whose_bytes_are_not_its_own(
    sizes: list[int], data: st.DataObject
) -> None:
    records, content = log(sizes)
    assert stands(records, content) == len(records)
    if records:
        at = data.draw(st.integers(0, len(content) - 1))
        damaged = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        assert stands(records, damaged) == sum(record.end <= at for record in records)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.data())
def test_a_data_file_that_lost_its_tail_loses_those_fragments_alone(sizes: list[int], data: st.DataObject) -> None:
    records, content = log(sizes)
    left = data.draw(st.integers(0, len(content)))
    assert stands(records, content[:left]) == sum(record.end <= left for record in records)


def test_the_check_goes_back_until_a_whole_run_stands() -> None:
    """Three sound fragments at the end prove nothing about the forty before them."""
    records, content = log([10] * (2 * CHECKED))
    bad = records[-CHECKED // 2].offset
    damaged = bytearray(content)
    damaged[bad] ^= 1
    earlier = records[-CHECKED].offset
    damaged[earlier] ^= 1
    assert stands(records, bytes(damaged)) == len(records) - CHECKED


def test_the_check_costs_the_same_however_long_the_log_is() -> None:
    records, content = log([10] * 1000)
    read: list[int] = []
    index = b"".join(record.encode() for record in records)

    def watched(offset: int, size: int) -> bytes:
        read.append(offset)
        return content[offset : offset + size]

    assert standing(index, len(content), watched).count == 1000
    assert len(read) == CHECKED


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_both_renditions_go_on_and_neither_writes_a_number_twice(opus: int, aac: int) -> None:
    last = {"opus": Record(opus, 1, 0, 1, Flag.HOLD, 0, 0), "aac": Record(aac, 1, 0, 1, Flag.HOLD, 0, 0)}
    number = due(last)
    assert number["opus"] > opus
    assert number["aac"] > aac
    assert max(number.values()) == max(opus, aac) + 1
    assert max(number.values()) - min(number.values()) <= BEHIND_MAX


def test_a_new_log_begins_at_zero() -> None:
    assert due({"opus": None, "aac": None}) == {"opus": 0, "aac": 0}
