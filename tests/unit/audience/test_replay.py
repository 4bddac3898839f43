import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.audience import replay
from rostra.audience.http import Range, Request, Response
from rostra.kernel.errors import OperatorError
from rostra.space.lifecycle import State

FACTS = {"v": 1, "head_bytes": 100, "start": 1000, "end": 1900, "duration_s": 12.5, "first": 3, "last": 9}
RECORDING = replay.decode(json.dumps(FACTS).encode())
HEAD = bytes(range(100))
LOG = bytes(at * 7 % 251 for at in range(3000))


def test_its_size_is_that_of_its_parts() -> None:
    assert RECORDING.size == 1000


@given(st.integers(0, 999), st.integers(1, 1000))
def test_a_range_is_cut_from_the_head_and_the_log(start: int, length: int) -> None:
    whole = HEAD + LOG[1000:1900]
    end = min(1000, start + length)
    data = b"".join(
        (LOG if span.of_log else HEAD)[span.start : span.end] for span in replay.spans(RECORDING, Range(start, end))
    )
    assert data == whole[start:end]


def answer(method: str = "GET", **headers: str) -> replay.Plan | Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return replay.answer(RECORDING, 77, Request(method, "/", headers=named))


def test_all_of_it() -> None:
    plan = answer()
    assert isinstance(plan, replay.Plan)
    headers = dict(plan.headers)
    assert plan.status == 200
    assert headers["Content-Length"] == "1000"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Type"] == "audio/mp4"
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_a_part_of_it() -> None:
    plan = answer(range="bytes=90-109", if_range=RECORDING.etag(77))
    assert isinstance(plan, replay.Plan)
    assert plan.status == 206
    assert ("Content-Range", "bytes 90-109/1000") in plan.headers
    assert plan.spans == [replay.Span(False, 90, 100), replay.Span(True, 1000, 1010)]


def test_head_has_no_body() -> None:
    plan = answer("HEAD", range="bytes=90-109")
    assert isinstance(plan, replay.Plan)
    assert (plan.status, plan.spans) == (200, [])
    assert ("Content-Length", "1000") in plan.headers


def test_unchanged_and_beyond() -> None:
    unchanged, beyond = answer(if_none_match=RECORDING.etag(77)), answer(range="bytes=1000-")
    assert isinstance(unchanged, Response)
    assert unchanged.status == 304
    assert isinstance(beyond, Response)
    assert beyond.status == 416


def test_two_recordings_of_one_size_have_two_names() -> None:
    assert RECORDING.etag(1) != RECORDING.etag(2)


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        (State.ENDED, 403, "recording.not_approved"),
        (State.ON_AIR, 404, "recording.none"),
        (State.SCHEDULED, 404, "recording.none"),
        (State.REPLAY, 404, "recording.none"),
    ],
)
def test_why_there_is_none(state: State, status: int, code: str) -> None:
    response = replay.absent(state)
    assert (response.status, json.loads(response.body)["code"]) == (status, code)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"v":2}', b'{"v":1,"head_bytes":1,"start":9,"end":2,"duration_s":1}']
)
def test_unreadable(data: bytes) -> None:
    with pytest.raises(OperatorError):
        replay.decode(data)
