"""The ear's reader of HTTP answers."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.ear.http import HEAD_BYTES_MAX, LINE_BYTES_MAX, Response
from rostra.kernel.errors import PeerError

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: 1\r\na:  2 \r\n\r\n"


def read(*parts: bytes) -> tuple[Response, bytes]:
    response = Response()
    return response, b"".join(map(response.feed, parts))


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """`whole`, in pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


@given(st.data(), st.lists(st.binary(min_size=1, max_size=300), max_size=8))
def test_a_chunked_body_is_the_same_however_it_is_cut(data: st.DataObject, chunks: list[bytes]) -> None:
    wire = CHUNKED + b"".join(b"%X;x=y\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\nTrailer: t\r\n\r\n"
    response, body = read(*data.draw(cut(wire)))
    assert body == b"".join(chunks)
    assert response.ended
    assert response.head is not None
    assert response.head.fields["a"] == "1, 2"


@given(st.data())
def test_whatever_bytes_come_the_only_error_is_the_peers(data: st.DataObject) -> None:
    wire = data.draw(st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED, CHUNKED + b"5\r\n"]))
    response = Response()
    with contextlib.suppress(PeerError):
        response.feed(wire)
        for part in data.draw(st.lists(st.binary(max_size=200), max_size=5)):
            response.feed(part)
        response.close()


def test_a_body_of_stated_length_ends_there() -> None:
    response, body = read(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhel", b"lo")
    assert (response.ended, body) == (True, b"hello")
    with pytest.raises(PeerError):
        response.feed(b"!")


def test_a_body_until_the_end_of_the_connection() -> None:
    response, body = read(b"HTTP/1.0 200 OK\r\n\r\nab", b"cd")
    assert (body, response.ended) == (b"abcd", False)
    assert response.close()


def test_a_connection_that_breaks_in_a_chunk_is_no_end() -> None:
    response, body = read(CHUNKED, b"5\r\nhel")
    assert body == b"hel"
    assert not response.close()


def test_interim_answers_are_passed_over() -> None:
    response, body = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert response.head is not None
    assert (response.head.status, body) == (200, b"ok")


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEAD_BYTES_MAX,
        CHUNKED + b"xyz\r\n",
        CHUNKED + b"-5\r\n",
        CHUNKED + b"1" * 16 + b"\r\n",
        CHUNKED + b"1" * (LINE_BYTES_MAX + 1),
        CHUNKED + b"3\r\nabcd\r\n",
    ],
)
def test_what_is_no_http_is_refused(wire: bytes) -> None:
    with pytest.raises(PeerError, match="not HTTP"):
        read(wire)
