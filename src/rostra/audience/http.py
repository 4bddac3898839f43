"""Requests in, decisions out: what a client asked for, and how it is answered.

`Parser` cuts the bytes of a connection into `Request`s (llhttp does the reading) and turns whatever is no request, or
too much of one, into a `Refused`. `route` names what a request is for. `encode` lays an answer out as bytes.

Nothing here is trusted: a path is only ever looked up, never joined to a folder.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import httptools

from rostra.kernel.ids import is_space_id

HEAD_BYTES_MAX: Final = 8192
"""What nginx and Apache take; a browser's request for a page here has under 1 kB."""

HEADERS_MAX: Final = 64
PIPELINED_MAX: Final = 16
"""Requests sent ahead on one connection; browsers send none."""

REASONS: Final = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    308: "Permanent Redirect",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    410: "Gone",
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. Header names are in lower case; a header that came twice holds both values, comma between."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    version: str = "1.1"
    keep_alive: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Bytes that are not a request we answer: the status to say so with, before the connection is closed."""

    status: int
    code: str
    detail: str


class Parser:
    """Cuts a byte stream into requests. After a `Refused` it must not be fed again."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._ready: list[Request | Refused] = []
        self._unfinished = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def idle(self) -> bool:
        """Whether no request has begun."""
        return self._unfinished == 0

    def feed(self, data: bytes) -> list[Request | Refused]:
        """The requests that are whole now; at most one `Refused`, and only as the last."""
        self._unfinished += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request is whole, and is answered as if it had not asked: HTTP/1.1 it stays
        except httptools.HttpParserError:
            self._refuse(400, "request.malformed", "That is not a request a browser would send.")
        if self._unfinished > HEAD_BYTES_MAX:
            self._refuse(431, "request.too_large", f"A request may have {HEAD_BYTES_MAX} bytes.")
        ready, self._ready = self._ready, []
        return _up_to_refusal(ready)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        self._ready.append(Refused(status, code, detail))

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = []

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """A body is refused when it is announced, so a request is all there is with its head."""
        self._ready.append(self._whole())

    def on_message_complete(self) -> None:
        self._unfinished = 0

    def _whole(self) -> Request | Refused:
        if len(self._ready) >= PIPELINED_MAX:
            return Refused(400, "request.too_many", f"At most {PIPELINED_MAX} requests may be sent ahead.")
        if len(self._headers) > HEADERS_MAX:
            return Refused(431, "request.too_large", f"A request may have {HEADERS_MAX} headers.")
        headers = _fold(self._headers)
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return Refused(413, "request.body", "Nothing here takes a body.")
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            return Refused(505, "request.version", "This is HTTP/1.1.")
        host = headers.get("host")
        if (host is None and version == "1.1") or (host is not None and "," in host):
            return Refused(400, "request.host", "A request names one Host.")
        target = _target(self._target)
        if target is None:
            return Refused(400, "request.malformed", "That is not an address.")
        keep = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        return Request(self._parser.get_method().decode(), *target, headers, version, keep)


def _up_to_refusal(ready: list[Request | Refused]) -> list[Request | Refused]:
    for at, one in enumerate(ready):
        if isinstance(one, Refused):
            return ready[: at + 1]
    return ready


def _fold(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_PRINTABLE: Final = re.compile(rb"[!-~]+")


def _target(raw: bytes) -> tuple[str, str] | None:
    """(path, query) of a request target (RFC 9112, 3.2): origin form, absolute form, or `*`."""
    if not _PRINTABLE.fullmatch(raw):
        return None
    rest = _ABSOLUTE.sub(b"", raw, count=1) if _ABSOLUTE.match(raw) else raw
    path, _, query = rest.partition(b"#")[0].decode().partition("?")
    if path == "" and rest is not raw:
        path = "/"
    return (path, query) if path.startswith("/") or path == "*" else None


# what a request is for


@dataclass(frozen=True, slots=True)
class Page:
    """The listener's page of a Space, or the front page (no Space)."""

    space: str = ""


@dataclass(frozen=True, slots=True)
class Static:
    """A file of the web folder."""

    path: str


@dataclass(frozen=True, slots=True)
class Live:
    """The sound, pushed."""

    space: str
    rendition: str


@dataclass(frozen=True, slots=True)
class State:
    """The public state."""

    space: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The recording."""

    space: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether this worker runs."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """A browser asks whether another site's page may fetch this (CORS)."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The address has another spelling."""

    to: str


@dataclass(frozen=True, slots=True)
class Missing:
    """No such address."""


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """No such method here."""


Action = Page | Static | Live | State | Replay | Health | Preflight | Moved | Missing | NotAllowed

_SPACE_PATH: Final = re.compile(r"/s/([^/]+)(?:/(live|state\.json|recording\.m4a|))?")


def route(request: Request) -> Action:
    """What `request` is for. Whether that exists is not asked here."""
    action = _find(request.path, request.query)
    if request.method in ("GET", "HEAD"):
        return action
    if request.method == "OPTIONS" and isinstance(action, Live | State | Replay):
        return Preflight()
    return action if isinstance(action, Missing) else NotAllowed()


def _find(path: str, query: str) -> Action:
    if path == "/":
        return Page()
    if path in ("/healthz", "/readyz"):
        return Health()
    if path.startswith("/static/"):
        return Static(path.removeprefix("/static/"))
    found = _SPACE_PATH.fullmatch(path)
    if found is None or not is_space_id(found[1]):
        return Missing()
    space, part = found.groups()
    match part:
        case None:
            return Page(space)
        case "":
            return Moved(f"/s/{space}")
        case "live":
            return Live(space, dict(parse_qsl(query, max_num_fields=None)).get("rendition", "opus"))
        case "state.json":
            return State(space)
        case _:
            return Replay(space)


# answers


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Headers = ()
    body: bytes = b""


CROSS_ORIGIN: Final[Headers] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Accept-Ranges, Content-Range, ETag, Retry-After"),
)
"""State and sound are for everybody's pages; there are no credentials here that another site could borrow."""

PREFLIGHT: Final = Response(
    204,
    (
        *CROSS_ORIGIN,
        ("Access-Control-Allow-Methods", "GET, HEAD"),
        ("Access-Control-Allow-Headers", "Range, If-Range, If-None-Match, Cache-Control"),
        ("Access-Control-Max-Age", "86400"),
    ),
)

HEALTHY: Final = Response(200, (("Content-Type", "text/plain"), ("Cache-Control", "no-store")), b"ok\n")

LIVE_HEADERS: Final[Headers] = (
    ("Content-Type", "audio/mp4"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
    ("X-Content-Type-Options", "nosniff"),
    *CROSS_ORIGIN,
)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str = "",
    *,
    retry_after_s: int | None = None,
    headers: Headers = (),
    **more: object,
) -> Response:
    """An error for programs and people (RFC 9457). `code` is stable."""
    body = {"type": f"urn:rostra:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
    retry = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
    kind = (("Content-Type", "application/problem+json"), ("Cache-Control", "no-store"))
    return Response(status, (*kind, *retry, *headers), json.dumps(body | more, ensure_ascii=False).encode())


def refusal(refused: Refused) -> Response:
    return problem(refused.status, refused.code, REASONS[refused.status], refused.detail)


MISSING: Final = problem(404, "address.unknown", "Nothing is here.", "Check the link.")
NOT_ALLOWED: Final = problem(
    405,
    "method.unknown",
    "This can only be read.",
    headers=(("Allow", "GET, HEAD"),),
)


def moved(to: str) -> Response:
    return Response(308, (("Location", to), ("Cache-Control", "public, max-age=300")))


def encode(response: Response, date: str, *, head_only: bool = False, keep_alive: bool = False) -> bytes:
    """The whole response. `date` is an HTTP date (RFC 9110, 5.6.7)."""
    body_less = response.status in (204, 304)
    length: Headers = () if body_less else (("Content-Length", str(len(response.body))),)
    head = head_of(response.status, (*response.headers, *length), date, keep_alive=keep_alive)
    return head if head_only or body_less else head + response.body


def head_of(status: int, headers: Headers, date: str, *, keep_alive: bool = False) -> bytes:
    """Status line and headers, with the empty line."""
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", f"Date: {date}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def live_head(date: str, *, chunks: bool) -> bytes:
    """The head of a push response: chunked, or to HTTP/1.0 bare until the connection closes."""
    return head_of(200, (*LIVE_HEADERS, *((("Transfer-Encoding", "chunked"),) if chunks else ())), date)


# conditions and ranges


def unchanged(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names `etag` (weak comparison, RFC 9110, 13.1.2)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or etag.removeprefix("W/") in {
        one.strip().removeprefix("W/") for one in given.split(",")
    }


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes [start, end) of something."""

    start: int
    end: int


_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


def wanted_range(request: Request, size: int, etag: str) -> Range | Response | None:
    """The range a request asks for: None is all of it, a Response is the 416 to send.

    Several ranges at once are answered with all of it, as RFC 9110 (14.2) allows; no player asks for them.
    """
    given = request.headers.get("range")
    if given is None or request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return None
    found = _RANGE.fullmatch(given.strip())
    if found is None or not (found[1] or found[2]):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        headers = (("Content-Range", f"bytes */{size}"), *CROSS_ORIGIN)
        return problem(416, "range.beyond", "The recording is shorter than that.", headers=headers)
    return Range(start, end)
