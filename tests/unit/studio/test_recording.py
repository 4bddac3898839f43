"""The recording's ranges, against the plain bytes they are cut from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import OperatorError, PeerError
from rostra.studio.recording import BODY, HEAD, Recording, decode, parse_range


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 50), st.data())
def test_pieces_are_the_slice(head_bytes: int, start: int, length: int, data: st.DataObject) -> None:
    head, body = bytes(range(head_bytes)), bytes(range(100, 100 + start + length))
    found = Recording(head_bytes, start, start + length)
    whole = head + body[start:]
    assert found.size == len(whole)
    first = data.draw(st.integers(0, found.size - 1))
    last = data.draw(st.integers(first, found.size - 1))
    files = {HEAD: head, BODY: body}
    got = b"".join(files[name][offset : offset + size] for name, offset, size in found.pieces(first, last))
    assert got == whole[first : last + 1]


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("", None),
        ("bytes=0-", (0, 99)),
        ("bytes=0-0", (0, 0)),
        ("bytes=90-500", (90, 99)),
        ("bytes=-5", (95, 99)),
        ("bytes=-500", (0, 99)),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
    ],
)
def test_single_ranges_are_understood_and_others_ignored(header: str | None, part: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_what_lies_outside_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_range(header, 100)
    assert caught.value.code == "range.unsatisfiable"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"v": 2}', b'{"v": 1, "head_bytes": 5}'])
def test_a_damaged_description_is_the_operator_s(data: bytes) -> None:
    with pytest.raises(OperatorError):
        decode(data)
