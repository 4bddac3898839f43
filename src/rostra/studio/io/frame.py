"""What holds for every exchange with the studio: bounded bodies, security headers, a problem instead of a bare 500."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rostra.kernel.errors import PeerError
from rostra.kernel.limits import SDP_BYTES_MAX
from rostra.studio.api import PROBLEM_TYPE, Problem, problem, problem_of

BODY_BYTES_MAX: Final = SDP_BYTES_MAX
"""An SDP is the largest thing anyone sends here; JSON bodies are a few hundred bytes."""

BODY_WAIT_S: Final = 10.0
"""A phone on a bad line sends 64 kB in less; who trickles bytes to hold a place does not."""

CONTENT_SECURITY: Final = (
    "default-src 'self'; media-src 'self' blob:; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

_ALWAYS: Final = (
    (b"content-security-policy", CONTENT_SECURITY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"microphone=(self), camera=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_WHIP: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Location, ETag, Link"),
)
"""WHIP clients come from anywhere with a Bearer token and no cookie (RFC 9725 4.1); the API is for its own pages."""


def cache_of(path: str) -> bytes:
    """Static files may be kept for minutes, the page is asked for anew; what the API says is true now only."""
    if path.startswith("/static/"):
        return b"public, max-age=300"
    return b"no-cache" if path == "/" else b"no-store"


class Frame:
    """ASGI middleware, next to the server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _dress(scope["path"], message["headers"])}
            await send(message)

        try:
            body = await _body(scope, receive)
            await self._app(scope, _replay(body, receive), dressed)
        except PeerError as error:
            await send_problem(dressed, problem_of(error))
        except Exception:
            if not started:
                await send_problem(dressed, problem(500, "internal", "Something went wrong here.", "Try again."))
            raise


def _dress(path: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name for name, _ in headers}
    wanted = (*_ALWAYS, *(_WHIP if path.startswith("/whip/") else ()), (b"cache-control", cache_of(path)))
    return [*headers, *(header for header in wanted if header[0] not in there)]


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The whole body. Raises PeerError `request.too_large` before reading what is announced to be, `request.slow`."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise _too_large()
    if not length.strip(b"0") and b"transfer-encoding" not in headers:
        return b""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise PeerError("request.malformed", "The request ended early.", "Send it again.")
                body += message.get("body", b"")
                if len(body) > BODY_BYTES_MAX:
                    raise _too_large()
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise PeerError("request.slow", "The request came too slowly.", "Send it again.") from None


def _too_large() -> PeerError:
    return PeerError("request.too_large", f"Nothing here needs more than {BODY_BYTES_MAX} bytes.", "Send less.")


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def send_problem(send: Send, found: Problem) -> None:
    """Answer with a problem document (RFC 9457)."""
    body = found.model_dump_json(exclude_none=True).encode()
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
