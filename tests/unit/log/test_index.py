from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.clock import Anchor
from rostra.kernel.shared.index import HEADER_BYTES, RECORD_BYTES, Flag, Header, Record
from rostra.log.index import Records

flags = st.sampled_from([Flag.ON_AIR, Flag.HOLD, Flag.ON_AIR | Flag.HOLD, Flag.HOLD | Flag.FILLED])
any_record = st.builds(
    Record,
    number=st.integers(0, 2**63),
    epoch=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 2**63),
    size=st.integers(0, 2**32 - 1),
    flags=flags,
    wall_ns=st.integers(-(2**62), 2**62),
    crc=st.integers(0, 2**32 - 1),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Records as a writer leaves them: numbers ascend, bytes follow, epochs never fall."""
    number, epoch, offset = draw(st.integers(0, 1000)), 1, 0
    records = []
    for _ in range(draw(st.integers(0, 40))):
        size = draw(st.integers(1, 9000))
        records.append(Record(number, epoch, offset, size, draw(flags), number * 640, 7))
        number += draw(st.sampled_from([1, 1, 1, 1, 5]))
        epoch += draw(st.sampled_from([0, 0, 0, 1]))
        offset += size
    return records


def encoded(records: list[Record]) -> bytes:
    return b"".join(record.encode() for record in records)


@given(any_record)
def test_a_record_survives_its_encoding(record: Record) -> None:
    assert len(record.encode()) == RECORD_BYTES
    assert Record.decode(record.encode()) == record


@given(any_record, st.integers(0, RECORD_BYTES * 8 - 1))
def test_a_record_with_one_bit_wrong_is_no_record(record: Record, bit: int) -> None:
    data = bytearray(record.encode())
    data[bit // 8] ^= 1 << bit % 8
    assert Record.decode(bytes(data)) is None


def test_a_block_of_zeros_is_no_record() -> None:
    assert Record.decode(bytes(RECORD_BYTES)) is None


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**62))
def test_a_header_survives_its_encoding(wall_ns: int, mono_ns: int) -> None:
    header = Header("opus", Anchor(wall_ns, mono_ns, "0d8d1f3b-8a0e-4f4b-a9f6-2f0f3a3d9a11"))
    assert len(header.encode()) == HEADER_BYTES
    assert Header.decode(header.encode()) == header


@given(logs())
def test_records_read_back_as_written(written: list[Record]) -> None:
    records = Records(encoded(written))
    assert list(records) == written
    assert len(records) == len(written)
    assert records[1:3] == written[1:3]


@given(logs(), st.lists(st.integers(1, 400)))
def test_records_that_arrive_in_pieces_are_each_taken_up_once(written: list[Record], pieces: list[int]) -> None:
    data = encoded(written)
    records, found = Records(), []
    ends = [min(len(data), sum(pieces[: at + 1])) for at in range(len(pieces))]
    for end in [*ends, len(data)]:
        found += records.extend(data[len(records) * RECORD_BYTES : end])
    assert found == written


@given(logs(), st.data())
def test_reading_stops_before_a_damaged_record_and_goes_on_when_it_is_mended(
    written: list[Record], data: st.DataObject
) -> None:
    whole = encoded(written)
    if not whole:
        return
    at = data.draw(st.integers(0, len(whole) - 1))
    torn = bytearray(whole)
    torn[at] ^= 0xFF
    records = Records(bytes(torn))
    assert list(records) == written[: at // RECORD_BYTES]
    records.extend(whole[len(records) * RECORD_BYTES :])
    assert list(records) == written


@given(logs(), st.data())
def test_a_stale_record_that_does_not_follow_ends_the_reading(written: list[Record], data: st.DataObject) -> None:
    """What another writer left behind the end is whole, but begins at another byte or goes back in number or epoch."""
    if not written:
        return
    last = written[-1]
    stale = data.draw(
        st.sampled_from(
            [
                Record(last.number + 1, last.epoch, last.end + 1, 5, Flag.HOLD, 0, 0),
                Record(last.number, last.epoch, last.end, 5, Flag.HOLD, 0, 0),
                Record(last.number + 1, last.epoch - 1, last.end, 5, Flag.HOLD, 0, 0),
            ]
        )
    )
    assert list(Records(encoded([*written, stale]))) == written


@given(logs(), st.integers(0, 1300))
def test_a_number_is_found_where_it_is_and_its_place_where_it_would_be(written: list[Record], number: int) -> None:
    records = Records(encoded(written))
    there = [record for record in written if record.number == number]
    assert records.find(number) == (there[0] if there else None)
    assert records.place(number) == sum(record.number < number for record in written)
