"""A listener's place in the log: the fragment it is at, and how many bytes of that it has been given.

Fragments lie in the file in order and without gaps between them, whatever their numbers. So everything a reader still
lacks is one run of bytes, and a place moves on by adding. Places compare as tuples do: earlier is less.
"""

from typing import NamedTuple

from rostra.log.index import Records


class Cursor(NamedTuple):
    """The next byte wanted is `byte` of fragment `number`. `byte` is 0 between fragments."""

    number: int
    byte: int = 0


def lacking(cursor: Cursor, records: Records) -> tuple[int, int]:
    """(offset, size) in fragments.m4s of all that the log holds from `cursor` on; the size is 0 at the live edge."""
    at = records.place(cursor.number)
    if at == len(records):
        return (records[-1].end if records else 0), 0
    record = records[at]
    offset = record.offset + (cursor.byte if record.number == cursor.number else 0)
    return offset, records[-1].end - offset


def advance(cursor: Cursor, sent: int, records: Records) -> Cursor:
    """The place after `sent` more bytes, none of them beyond what was `lacking`."""
    at = records.place(cursor.number)
    byte = sent
    if at < len(records) and records[at].number == cursor.number:
        byte += cursor.byte
    while byte:
        assert at < len(records), "sent more than there is"
        record = records[at]
        if byte < record.size:
            return Cursor(record.number, byte)
        byte -= record.size
        at += 1
        cursor = Cursor(record.number + 1)
    return cursor


def jump(cursor: Cursor, number: int) -> Cursor:
    """The place at fragment `number`, if that lies ahead. Only between fragments: half of one is first sent whole."""
    assert cursor.byte == 0, "a jump from within a fragment"
    return max(cursor, Cursor(number))
