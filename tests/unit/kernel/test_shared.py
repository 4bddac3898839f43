"""What processes share: rings, counters, the index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import OperatorError
from rostra.kernel.shared import counters, ring
from rostra.kernel.shared.ring import SLOTS, Frame, Ring
from rostra.kernel.units import FRAME_SAMPLES


def make_ring() -> Ring:
    buffer = memoryview(bytearray(ring.SIZE))
    ring.format_ring(buffer)
    return Ring(buffer)


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1).map(sorted), st.integers(0, 10**6))
def test_a_frame_is_read_under_its_own_number_or_not_at_all(numbers: list[int], asked: int) -> None:
    shared = make_ring()
    for number in numbers:
        shared.write(number, Frame(np.full(FRAME_SAMPLES, number, np.float32), armed=2, present=1, speaker="seat"))
    kept = {number % SLOTS: number for number in numbers}
    for number in (asked, numbers[-1]):
        frame = shared.read(number)
        if kept.get(number % SLOTS) == number:
            assert frame is not None
            assert frame.pcm[0] == frame.pcm[-1] == np.float32(number)
            assert (frame.armed, frame.present, frame.speaker) == (2, 1, "seat")
        else:
            assert frame is None


def test_a_slot_that_is_being_written_is_not_read() -> None:
    shared = make_ring()
    shared.write(5, Frame(np.ones(FRAME_SAMPLES, np.float32)))
    shared._slots[5]["check"] = 4
    assert shared.read(5) is None


def test_an_older_layout_is_refused() -> None:
    with pytest.raises(OperatorError, match="another version"):
        Ring(memoryview(bytearray(ring.SIZE)))
    with pytest.raises(OperatorError, match="another version"):
        counters.Counters(memoryview(bytearray(counters.SIZE)))


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-(2**40), 2**40)), max_size=50))
def test_a_reader_sees_what_the_writer_counted(steps: list[tuple[str, int]]) -> None:
    buffer = memoryview(bytearray(counters.SIZE))
    writer = counters.Counters(buffer, writer=True)
    reader = counters.Counters(buffer)
    expected: dict[str, int] = {}
    for name, amount in steps:
        writer.add(name, amount)
        expected[name] = expected.get(name, 0) + amount
        assert reader.get(name) == expected[name]
    assert reader.read() == expected
    assert counters.Counters(buffer, writer=True).read() == expected, "a restarted writer goes on"


def test_what_a_writer_that_was_taken_over_says_spoils_nothing() -> None:
    wild = np.array([0.5, np.nan, np.inf, -np.inf, 3e38, -3e38] * 160, np.float32)
    tame = ring.plausible(Frame(wild, armed=1)).pcm
    assert tame[:6].tolist() == [0.5, 0, 0, 0, 1, -1]
    assert (tame.shape, tame.dtype) == ((FRAME_SAMPLES,), np.float32)
