"""The static part of the audience port: every file of the web folder, ready to be sent, in memory.

Files are small and few (a page is some tens of kilobytes), so they are read once, compressed once and named by their
content. What is not in the table does not exist: no path reaches the file system.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rostra.audience.http import MISSING, Headers, Request, Response, unchanged

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "json": "application/json",
    "webmanifest": "application/manifest+json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "txt": "text/plain; charset=utf-8",
    "woff2": "font/woff2",
    "opus": "audio/ogg",
    "mp3": "audio/mpeg",
}
_COMPRESSED_ALREADY: Final = frozenset({"png", "ico", "woff2", "opus", "mp3"})
_COMPRESS_FROM: Final = 512
"""Below this gzip saves less than its own headers and a Vary cost."""

POLICY: Final = (
    "default-src 'self'; media-src 'self' blob:; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY: Final[Headers] = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)

LISTENER: Final = "listener/index.html"
HOME: Final = "listener/home.html"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in one or two encodings. `etag` names the plain bytes; the compressed ones have a name of their own."""

    kind: str
    plain: bytes
    zipped: bytes
    etag: str


Site = Mapping[str, Asset]


def make(files: Mapping[str, bytes]) -> dict[str, Asset]:
    """The site of `files`, by path within the web folder."""
    return {path: _asset(path, data) for path, data in files.items() if _suffix(path) in TYPES}


def _asset(path: str, data: bytes) -> Asset:
    zipped = b""
    if _suffix(path) not in _COMPRESSED_ALREADY and len(data) >= _COMPRESS_FROM:
        zipped = gzip.compress(data, 9, mtime=0)
    return Asset(TYPES[_suffix(path)], data, zipped, hashlib.sha256(data).hexdigest()[:20])


def _suffix(path: str) -> str:
    return path.rpartition(".")[2]


def answer(site: Site, path: str, request: Request, *, status: int = 200) -> Response:
    """The file at `path`, or that it has not changed, or that there is none."""
    asset = site.get(path)
    if asset is None:
        return MISSING
    zipped = asset.zipped and takes_gzip(request)
    etag = f'"{asset.etag}-gz"' if zipped else f'"{asset.etag}"'
    headers: Headers = (("ETag", etag), ("Cache-Control", "public, max-age=300"), *SECURITY)
    if asset.zipped:
        headers = (("Vary", "Accept-Encoding"), *headers)
    if status == 200 and unchanged(request, etag):
        return Response(304, headers)
    if zipped:
        headers = (("Content-Encoding", "gzip"), *headers)
    return Response(status, (("Content-Type", asset.kind), *headers), asset.zipped if zipped else asset.plain)


def takes_gzip(request: Request) -> bool:
    """Whether `Accept-Encoding` names gzip and does not forbid it (RFC 9110, 12.5.3)."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name in ("gzip", "*"):
            weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
            return weight.strip("0.") != ""
    return False
