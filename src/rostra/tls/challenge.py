"""Port 80: the authority's questions are answered, everybody else is sent to HTTPS or asked to wait."""

from collections.abc import Mapping
from typing import Final

WELL_KNOWN: Final = "/.well-known/acme-challenge/"
"""RFC 8555 8.3."""

WAIT_S: Final = 10

_WAITING: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="10"><title>In a moment</title>
<body style="font:1.2rem/1.5 system-ui;max-width:32em;margin:20vh auto;padding:0 1em">
<p>This site is waiting for its certificate, without which nobody could come in safely.
It takes a minute at most times. This page looks again by itself.</p></body></html>
"""


def answer(method: str, target: str, answers: Mapping[str, str], home: str, *, certified: bool) -> bytes:
    """The whole response to a request. `answers` are key authorizations by token, `home` the HTTPS origin."""
    path = target.partition("?")[0]
    if path.startswith(WELL_KNOWN):
        found = answers.get(path.removeprefix(WELL_KNOWN))
        if found is None:
            return _response("404 Not Found", "text/plain", "No such question.\n", head=method == "HEAD")
        return _response("200 OK", "text/plain", found, head=method == "HEAD")
    if not target.startswith("/"):  # CONNECT, OPTIONS *, a proxy's absolute form: not for us
        return _response("400 Bad Request", "text/plain", "Ask for a path.\n")
    if certified:
        return _response("307 Temporary Redirect", "text/plain", "", f"Location: {home}{target}")
    return _response(
        "503 Service Unavailable", "text/html; charset=utf-8", _WAITING, f"Retry-After: {WAIT_S}", head=method == "HEAD"
    )


def _response(status: str, kind: str, body: str, *more: str, head: bool = False) -> bytes:
    data = body.encode()
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(data)}",
        "Cache-Control: no-store",
        "Connection: close",
        *more,
        "",
        "",
    )
    return "\r\n".join(lines).encode("latin-1") + (b"" if head else data)
