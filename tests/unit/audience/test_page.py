import gzip

import pytest

from rostra.audience import page
from rostra.audience.http import MISSING, Request

TEXT = b"<!doctype html>" + b"<p>Live.</p>" * 100
SITE = page.make(
    {
        page.LISTENER: TEXT,
        page.HOME: b"<!doctype html>",
        "listener/app.js": TEXT,
        "icon.png": bytes(2000),
        "README.md": TEXT,
        "listener/Makefile": TEXT,
    }
)


def ask(path: str, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = Request("GET", "/", headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = page.answer(SITE, path, request, status=status)
    return response.status, dict(response.headers), response.body


def test_a_page_comes_with_its_policy_and_may_be_framed() -> None:
    status, headers, body = ask(page.LISTENER)
    assert (status, body) == (200, TEXT)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not any(name.startswith("Access-Control") for name in headers)


def test_gzip_for_those_who_take_it() -> None:
    _, plain, _ = ask(page.LISTENER)
    _, zipped, body = ask(page.LISTENER, accept_encoding="br, gzip")
    assert gzip.decompress(body) == TEXT
    assert zipped["Content-Encoding"] == "gzip"
    assert zipped["ETag"] != plain["ETag"]
    assert zipped["Vary"] == plain["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("given", "takes"),
    [
        ("gzip", True),
        ("GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
def test_accept_encoding(given: str, takes: bool) -> None:
    assert page.takes_gzip(Request("GET", "/", headers={"accept-encoding": given})) is takes


def test_what_is_compressed_already_or_small_is_left_as_it_is() -> None:
    for path in ("icon.png", page.HOME):
        _, headers, _ = ask(path, accept_encoding="gzip")
        assert "Content-Encoding" not in headers
        assert "Vary" not in headers


def test_unchanged() -> None:
    _, headers, _ = ask("listener/app.js")
    status, again, body = ask("listener/app.js", if_none_match=headers["ETag"])
    assert (status, body) == (304, b"")
    assert again["ETag"] == headers["ETag"]


def test_the_page_of_an_unknown_space_is_never_unchanged() -> None:
    _, headers, _ = ask(page.LISTENER)
    status, _, body = ask(page.LISTENER, 404, if_none_match=headers["ETag"])
    assert (status, body) == (404, TEXT)


@pytest.mark.parametrize("path", ["", "listener", "listener/", "../page.py", "README.md", "listener/Makefile"])
def test_what_is_not_in_the_table_does_not_exist(path: str) -> None:
    assert page.answer(SITE, path, Request("GET", "/")) == MISSING
