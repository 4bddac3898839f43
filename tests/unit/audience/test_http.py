"""Bytes in, requests out: what a client may send, and what becomes of what it may not."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.audience import http
from rostra.audience.http import (
    HEAD_BYTES_MAX,
    Health,
    Live,
    Missing,
    Moved,
    NotAllowed,
    Page,
    Parser,
    Preflight,
    Range,
    Refused,
    Replay,
    Request,
    Response,
    State,
    Static,
)

HOST = b"Host: x\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n"
KEPT = "GET / 1.1 keep"
A_AND_B = ["GET /a 1.1 keep", "GET /b 1.1 keep"]
MALFORMED = ["400 request.malformed"]


def said(*feeds: bytes) -> list[str]:
    """The transcript of a connection: `GET /path keep|close`, or the status of a refusal."""
    parser = Parser()
    lines = []
    for data in feeds:
        for one in parser.feed(data):
            if isinstance(one, Refused):
                return [*lines, f"{one.status} {one.code}"]
            query = f"?{one.query}" if one.query else ""
            lines.append(f"{one.method} {one.path}{query} {one.version} {'keep' if one.keep_alive else 'close'}")
    return lines


@dataclass
class Case:
    """A script: what comes in, piece by piece, and what is made of it."""

    name: str
    feeds: tuple[bytes, ...]
    lines: list[str]


CASES = [
    Case("plain", (GET + HOST,), [KEPT]),
    Case("split", tuple(bytes([b]) for b in b"GET /s/a/live HTTP/1.1\r\n" + HOST), ["GET /s/a/live 1.1 keep"]),
    Case("not yet whole", (GET + b"Host: x\r\n",), []),
    Case("pipelined", (b"GET /a HTTP/1.1\r\n" + HOST + b"GET /b HTTP/1.1\r\n" + HOST,), A_AND_B),
    Case("pipelined, cut", (b"GET /a HTTP/1.1\r\n" + HOST + b"GET /b HT", b"TP/1.1\r\n" + HOST), A_AND_B),
    Case("too much pipelined", ((GET + HOST) * 17,), [*[KEPT] * 16, "400 request.too_many"]),
    Case("close", (GET + b"Connection: close\r\n" + HOST,), ["GET / 1.1 close"]),
    Case("HTTP/1.0", (b"GET / HTTP/1.0\r\n\r\n",), ["GET / 1.0 close"]),
    Case("HTTP/1.0, kept", (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",), ["GET / 1.0 keep"]),
    Case("query", (b"GET /s/a/live?rendition=aac HTTP/1.1\r\n" + HOST,), ["GET /s/a/live?rendition=aac 1.1 keep"]),
    Case("absolute", (b"GET http://x:8001/s/a?b=c HTTP/1.1\r\n" + HOST,), ["GET /s/a?b=c 1.1 keep"]),
    Case("absolute, no path", (b"GET http://x HTTP/1.1\r\n" + HOST,), [KEPT]),
    Case("asterisk", (b"OPTIONS * HTTP/1.1\r\n" + HOST,), ["OPTIONS * 1.1 keep"]),
    Case("upgrade", (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + HOST,), ["GET / 1.1 close"]),
    Case("connect", (b"CONNECT x:443 HTTP/1.1\r\n" + HOST,), MALFORMED),
    Case("HTTP/2 preface", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), MALFORMED),
    Case("TLS", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",), MALFORMED),
    Case("noise", (b"\0\0\0\0\r\n\r\n",), MALFORMED),
    Case("unknown method", (b"BREW / HTTP/1.1\r\n" + HOST,), MALFORMED),
    Case("no host", (GET + b"\r\n",), ["400 request.host"]),
    Case("two hosts", (GET + b"Host: a\r\n" + HOST,), ["400 request.host"]),
    Case("huge header", (GET + b"A: " + b"a" * HEAD_BYTES_MAX,), ["431 request.too_large"]),
    Case("huge header, in bits", (GET + b"A: ", *[b"a" * 1000] * 9), ["431 request.too_large"]),
    Case("huge target", (b"GET /" + b"a" * HEAD_BYTES_MAX,), ["431 request.too_large"]),
    Case("many headers", (GET + b"A: b\r\n" * 65 + HOST,), ["431 request.too_large"]),
    Case("a body", (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n" + HOST + b"abc",), ["413 request.body"]),
    Case("no body", (GET + b"Content-Length: 0\r\n" + HOST,), [KEPT]),
    Case("chunks", (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"0\r\n\r\n",), ["413 request.body"]),
    Case(
        "smuggling, CL.TE",
        (GET + b"Content-Length: 30\r\nTransfer-Encoding: chunked\r\n" + HOST + b"0\r\n\r\n" + GET,),
        MALFORMED,
    ),
    Case("smuggling, two lengths", (GET + b"Content-Length: 0\r\nContent-Length: 9\r\n" + HOST,), MALFORMED),
    Case("smuggling, space before colon", (GET + b"Content-Length : 9\r\n" + HOST,), MALFORMED),
    Case("zero byte", (GET + b"A: b\0c\r\n" + HOST,), MALFORMED),
    Case("no path", (b"GET nowhere HTTP/1.1\r\n" + HOST,), MALFORMED),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_transcript(case: Case) -> None:
    assert said(*case.feeds) == case.lines


def test_a_body_that_never_comes_is_refused_before_it_is_awaited() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n" + HOST
    assert said(head) == ["413 request.body"]


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_no_bytes_make_the_parser_fail(feeds: list[bytes]) -> None:
    parser = Parser()
    for data in feeds:
        if any(isinstance(one, Refused) for one in parser.feed(data)):
            break


@given(st.integers(1, 60))
def test_where_bytes_are_cut_makes_no_difference(every: int) -> None:
    whole = b"GET /a?b HTTP/1.1\r\nRange: bytes=0-1\r\n" + HOST + b"HEAD /c HTTP/1.1\r\n" + HOST
    assert said(*(whole[at : at + every] for at in range(0, len(whole), every))) == said(whole)


def route(path: str, method: str = "GET", query: str = "") -> http.Action:
    return http.route(Request(method, path, query))


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/", Page()),
        ("/healthz", Health()),
        ("/readyz", Health()),
        ("/s/talk", Page("talk")),
        ("/s/talk/", Moved("/s/talk")),
        ("/s/talk/live", Live("talk", "opus")),
        ("/s/talk/state.json", State("talk")),
        ("/s/talk/recording.m4a", Replay("talk")),
        ("/static/listener/page.js", Static("listener/page.js")),
        ("/static/../secret", Static("../secret")),
        ("/s/talk/live/", Missing()),
        ("/s/talk/other", Missing()),
        ("/s/../live", Missing()),
        ("/s/%2e%2e/live", Missing()),
        ("/s/TALK", Missing()),
        ("/s/a", Missing()),
        ("/s//live", Missing()),
        ("//s/talk", Missing()),
        ("*", Missing()),
        ("/favicon.ico", Missing()),
    ],
)
def test_route(path: str, action: http.Action) -> None:
    assert route(path) == action
    assert route(path, "HEAD") == action


def test_the_rendition_is_in_the_query() -> None:
    assert route("/s/talk/live", query="rendition=aac") == Live("talk", "aac")
    assert route("/s/talk/live", query="x=1&rendition=aac&y") == Live("talk", "aac")
    assert route("/s/talk/live", query="rendition=%00&%zz") == Live("talk", "\0")


def test_other_methods() -> None:
    assert route("/s/talk/live", "POST") == NotAllowed()
    assert route("/s/talk", "DELETE") == NotAllowed()
    assert route("/nothing", "POST") == Missing()
    assert route("/s/talk/live", "OPTIONS") == Preflight()
    assert route("/s/talk", "OPTIONS") == NotAllowed()


SIZE, ETAG = 1000, '"e"'
REFUSED = "416"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("bytes=0-", Range(0, 1000)),
        ("bytes=0-0", Range(0, 1)),
        ("bytes=10-19", Range(10, 20)),
        ("bytes=990-5000", Range(990, 1000)),
        ("bytes=-10", Range(990, 1000)),
        ("bytes=-5000", Range(0, 1000)),
        ("Bytes = 1 - 2", Range(1, 3)),
        ("bytes=1000-", REFUSED),
        ("bytes=5000-6000", REFUSED),
        ("bytes=-0", REFUSED),
        ("bytes=9-2", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("bytes=0--1", None),
        ("lines=0-1", None),
        ("bytes=99999999999999999999999-", None),
        ("", None),
    ],
)
def test_range(given: str, wanted: Range | str | None) -> None:
    found = http.wanted_range(Request("GET", "/", headers={"range": given}), SIZE, ETAG)
    if wanted == REFUSED:
        assert isinstance(found, Response)
        assert found.status == 416
        assert ("Content-Range", "bytes */1000") in found.headers
    else:
        assert found == wanted


def test_a_range_of_another_version_is_all_of_this_one() -> None:
    headers = {"range": "bytes=5-", "if-range": '"other"'}
    assert http.wanted_range(Request("GET", "/", headers=headers), SIZE, ETAG) is None
    headers["if-range"] = ETAG
    assert http.wanted_range(Request("GET", "/", headers=headers), SIZE, ETAG) == Range(5, 1000)
    assert http.wanted_range(Request("HEAD", "/", headers=headers), SIZE, ETAG) is None


@pytest.mark.parametrize(
    ("given", "same"),
    [(None, False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("", False)],
)
def test_unchanged(given: str | None, same: bool) -> None:
    headers = {} if given is None else {"if-none-match": given}
    assert http.unchanged(Request("GET", "/", headers=headers), '"a"') is same


def test_an_answer_says_its_length_and_its_fate() -> None:
    data = http.encode(http.HEALTHY, "now", keep_alive=True)
    assert data.startswith(b"HTTP/1.1 200 OK\r\nDate: now\r\n")
    assert b"Content-Length: 3\r\n" in data
    assert b"Connection: keep-alive\r\n" in data
    assert data.endswith(b"\r\n\r\nok\n")
    assert http.encode(http.HEALTHY, "now", head_only=True).endswith(b"\r\n\r\n")
    assert b"Connection: close" in http.encode(http.HEALTHY, "now")
    assert b"Content-Length" not in http.encode(Response(304), "now")


def test_a_problem_is_for_programs_and_people() -> None:
    response = http.problem(503, "space.scheduled", "Not yet.", retry_after_s=9, state="scheduled")
    body = json.loads(response.body)
    assert body["code"] == "space.scheduled"
    assert body["type"].endswith("space.scheduled")
    assert body["state"] == "scheduled"
    assert ("Retry-After", "9") in response.headers
    assert ("Content-Type", "application/problem+json") in response.headers
