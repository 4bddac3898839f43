"""The recording: a head that the programme wrote at the end, and then the log itself, unchanged (DESIGN 7)."""

import json
from dataclasses import dataclass
from typing import Final

from rostra.audience.http import CROSS_ORIGIN, Headers, Range, Request, Response, problem, unchanged, wanted_range
from rostra.kernel.errors import OperatorError
from rostra.space.lifecycle import State

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Recording:
    """`recording.json`: the .m4a is the head's `head_bytes`, then bytes [start, end) of the log."""

    head_bytes: int
    start: int
    end: int
    duration_s: float

    @property
    def size(self) -> int:
        return self.head_bytes + self.end - self.start

    def etag(self, stamp: int) -> str:
        """Its name; `stamp` (the head's modification time, ns) tells two recordings of the same size apart."""
        return f'"{stamp:x}-{self.size:x}"'


def decode(data: bytes) -> Recording:
    """Raises OperatorError `recording.unreadable`."""
    try:
        document = json.loads(data)
        if document["v"] != VERSION:
            raise ValueError(f"version {document['v']}")
        recording = Recording(document["head_bytes"], document["start"], document["end"], document["duration_s"])
        if not 0 <= recording.start <= recording.end:
            raise ValueError("it ends before it starts")
    except (ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            "recording.unreadable",
            f"A recording.json cannot be read ({error}).",
            "The sound is still in the log beside it.",
        ) from None
    return recording


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) of the head (`of_log` false) or of fragments.m4s."""

    of_log: bool
    start: int
    end: int


def spans(recording: Recording, wanted: Range) -> list[Span]:
    """Where the bytes of a range lie."""
    border = recording.head_bytes
    found = []
    if wanted.start < border:
        found.append(Span(False, wanted.start, min(wanted.end, border)))
    if wanted.end > border:
        shift = recording.start - border
        found.append(Span(True, max(wanted.start, border) + shift, wanted.end + shift))
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A response whose body is sent from files: `head` without a body, then `spans`."""

    status: int
    headers: Headers
    spans: list[Span]


BUSY: Final = problem(
    503,
    "recording.busy",
    "Many are listening to the recording.",
    "Your player will try again.",
    retry_after_s=5,
    headers=CROSS_ORIGIN,
)


def absent(state: State) -> Response:
    """Why there is no recording to be had."""
    if state is State.ENDED:
        return problem(
            403,
            "recording.not_approved",
            "The recording has not been released.",
            "It appears here if the host approves it.",
            headers=CROSS_ORIGIN,
            state=state,
        )
    return problem(404, "recording.none", "There is no recording here.", headers=CROSS_ORIGIN, state=state)


def answer(recording: Recording, stamp: int, request: Request) -> Plan | Response:
    """How a request for the recording is answered: all of it, a range, or not at all."""
    etag = recording.etag(stamp)
    headers: Headers = (
        ("ETag", etag),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "public, no-cache"),
        *CROSS_ORIGIN,
    )
    if unchanged(request, etag):
        return Response(304, headers)
    wanted = wanted_range(request, recording.size, etag)
    if isinstance(wanted, Response):
        return wanted
    status = 200
    if wanted is None:
        wanted = Range(0, recording.size)
    else:
        status = 206
        headers += (("Content-Range", f"bytes {wanted.start}-{wanted.end - 1}/{recording.size}"),)
    headers += (("Content-Type", "audio/mp4"), ("Content-Length", str(wanted.end - wanted.start)))
    return Plan(status, headers, [] if request.method == "HEAD" else spans(recording, wanted))
