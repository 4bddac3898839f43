import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.shared.index import Flag, Record
from rostra.log.cursor import Cursor, advance, jump, lacking
from rostra.log.index import Records


@st.composite
def logs(draw: st.DrawFn) -> tuple[Records, bytes]:
    """A log of a few fragments, some numbers left out, and its bytes: all different, so that any mistake shows."""
    number, offset, encoded = draw(st.integers(0, 50)), 0, b""
    for _ in range(draw(st.integers(1, 12))):
        size = draw(st.integers(1, 20))
        encoded += Record(number, 1, offset, size, Flag.HOLD, 0, 0).encode()
        number += draw(st.sampled_from([1, 1, 1, 4]))
        offset += size
    return Records(encoded), bytes(range(256))[:offset]


@given(logs(), st.data())
def test_however_little_is_sent_at_a_time_every_byte_arrives_once_and_in_order(
    log: tuple[Records, bytes], data: st.DataObject
) -> None:
    records, content = log
    cursor, received = Cursor(records[0].number), b""
    while size := lacking(cursor, records)[1]:
        offset, size = lacking(cursor, records)
        sent = size - data.draw(st.integers(0, size))
        received += content[offset : offset + sent]
        before, cursor = cursor, advance(cursor, sent, records)
        assert (cursor > before) is (sent > 0)
    assert received == content


@given(logs(), st.data())
def test_a_log_that_grows_meanwhile_changes_nothing(log: tuple[Records, bytes], data: st.DataObject) -> None:
    records, content = log
    encoded = b"".join(record.encode() for record in records)
    grown = Records(encoded[:48])
    cursor, received = Cursor(records[0].number), b""
    while len(received) < len(content):
        offset, size = lacking(cursor, grown)
        sent = size - data.draw(st.integers(0, size))
        received += content[offset : offset + sent]
        cursor = advance(cursor, sent, grown)
        if len(grown) < len(records) and (sent == size or data.draw(st.booleans())):
            grown.extend(encoded[len(grown) * 48 : (len(grown) + 1) * 48])
    assert received == content


@given(logs(), st.data())
def test_sending_in_two_steps_is_sending_in_one(log: tuple[Records, bytes], data: st.DataObject) -> None:
    records, _ = log
    cursor = Cursor(records[0].number)
    total = data.draw(st.integers(0, lacking(cursor, records)[1]))
    first = data.draw(st.integers(0, total))
    assert advance(advance(cursor, first, records), total - first, records) == advance(cursor, total, records)


@given(logs(), st.data())
def test_the_place_is_at_byte_zero_exactly_between_fragments(log: tuple[Records, bytes], data: st.DataObject) -> None:
    records, _ = log
    cursor = Cursor(records[0].number)
    sent = data.draw(st.integers(0, lacking(cursor, records)[1]))
    between = {0, *(record.end for record in records)}
    assert (advance(cursor, sent, records).byte == 0) is (sent in between)


@given(logs())
def test_more_than_there_is_cannot_have_been_sent(log: tuple[Records, bytes]) -> None:
    records, content = log
    with pytest.raises(AssertionError):
        advance(Cursor(records[0].number), len(content) + 1, records)


@given(logs(), st.integers(0, 120))
def test_a_jump_never_goes_back(log: tuple[Records, bytes], number: int) -> None:
    records, _ = log
    cursor = advance(Cursor(records[0].number), records[0].size, records)
    assert jump(cursor, number) == max(cursor, Cursor(number))


def test_half_a_fragment_is_never_jumped_over() -> None:
    with pytest.raises(AssertionError):
        jump(Cursor(5, 1), 9)


def test_an_empty_log_lacks_nothing() -> None:
    assert lacking(Cursor(0), Records()) == (0, 0)
