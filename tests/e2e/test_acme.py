"""A certificate from Pebble, Let's Encrypt's authority for tests: ordered, served, renewed."""

import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.audience import Heard, request
from support.certificates import serial_of
from support.pebble import Pebble, pebble
from support.server import ROSTRA, Server, free_port, wait_for

NAME, STUDIO = "live.example.org", "studio.example.org"
LIFE_S = 24
"""A certificate's life; it is renewed after 16 s."""


class Https(Server):
    """A server whose name nobody here can look up: it is found at 127.0.0.1, and asked for by its name."""

    def __init__(self, data: Path, pebble: Pebble, roots: Path, *options: str) -> None:
        self._trusting = ssl.create_default_context(cafile=str(roots))
        self._trusting.check_hostname = False
        super().__init__(data, *options, trust=roots, REQUESTS_CA_BUNDLE=str(pebble.trust))

    def open(self, asked: str | urllib.request.Request, timeout_s: float) -> Any:
        return urllib.request.urlopen(asked, timeout=timeout_s, context=self._trusting)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), life_s=LIFE_S) as running:
        yield running


@pytest.fixture(scope="module")
def roots(authority: Pebble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority.roots(tmp_path_factory.mktemp("roots") / "roots.pem")


def options(authority: Pebble) -> list[str]:
    return [
        *("--public-url", f"https://{NAME}", "--studio-url", f"https://{STUDIO}"),
        *("--acme-email", "tests@example.org", "--acme-directory", authority.directory),
        *("--acme-port", str(authority.questions)),
    ]


def connect(port: int, name: str, roots: Path) -> ssl.SSLSocket:
    """A connection that has checked the chain and the name, as a browser does."""
    trusting = ssl.create_default_context(cafile=str(roots))
    return trusting.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname=name)


def test_until_there_is_a_certificate_the_ports_are_closed_and_port_80_says_why(
    authority: Pebble, roots: Path, tmp_path: Path
) -> None:
    ports = free_port(), free_port()
    authority.point(NAME, "127.0.0.9")
    told = ["--studio-port", str(ports[0]), "--audience-port", str(ports[1]), *options(authority)]
    log = tmp_path / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*ROSTRA, "serve", "--data", str(tmp_path / "data"), *told],
            stdout=out,
            stderr=out,
            env=os.environ | {"REQUESTS_CA_BUNDLE": str(authority.trust)},
        )
    try:
        refusal = wait_for(lambda: next(iter(events(log, "certificate_refused")), None), 60, "the first attempt")
        assert refusal["whose"] == "operator"
        assert NAME in refusal["reason"]
        assert "port 80" in refusal["hint"]
        assert refusal["again_in_s"] == 30
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)
        with pytest.raises(urllib.error.HTTPError, match="503") as waiting:
            urllib.request.urlopen(f"http://127.0.0.1:{authority.questions}/s/abc", timeout=10)
        assert "certificate" in waiting.value.read().decode()
        waiting.value.close()
        assert not (tmp_path / "data" / "tls" / "certificate.pem").exists()
    finally:
        process.terminate()
        process.wait(30)
        authority.point(NAME, "127.0.0.1")


def events(log: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def test_it_is_ordered_served_on_both_ports_and_renewed_while_people_listen(
    authority: Pebble, roots: Path, tmp_path: Path
) -> None:
    server = Https(tmp_path / "data", authority, roots, *options(authority))
    port = server.audience_port
    try:
        kept = server.data / "tls"
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in (kept, *kept.iterdir())} == {
            "tls": "0o700",
            "accounts.json": "0o600",
            "certificate.pem": "0o600",
        }
        with connect(port, NAME, roots) as audience, connect(server.studio_port, STUDIO, roots) as studio:
            first = serial_of(audience)
            assert serial_of(studio) == first, "one certificate for both names"
        moved = urllib.request.Request(f"http://127.0.0.1:{authority.questions}/s/abc?x=1")
        with pytest.raises(urllib.error.HTTPError, match="307") as sent_on:
            urllib.request.build_opener(_Stay).open(moved, timeout=10)
        assert sent_on.value.headers["Location"] == f"https://{NAME}/s/abc?x=1"
        sent_on.value.close()

        space = server.create(starts_in_s=3000, doors_s=2999).id
        with Listener(port, space, roots) as listener:
            wait_for(lambda: listener.heard.numbers, 40, "the hold music")
            wait_for(lambda: shown(port, NAME, roots) != first, 60, "the renewed certificate at the audience's port")
            wait_for(lambda: shown(server.studio_port, STUDIO, roots) != first, 30, "and at the studio's")
            at = listener.heard.numbers[-1]
            wait_for(lambda: listener.heard.numbers[-1] >= at + 3, 30, "the sound to go on")
        assert not events(server.log_path, "certificate_refused")
        assert len(server.starts("terminator-0")) == len(server.starts("studio")) == 1, "nothing was restarted"
    finally:
        server.close()


class _Stay(urllib.request.HTTPRedirectHandler):
    """Goes nowhere it is sent."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def shown(port: int, name: str, roots: Path) -> int:
    with connect(port, name, roots) as sock:
        return serial_of(sock)


class Listener:
    """One connection that takes push and checks every fragment."""

    def __init__(self, port: int, space: str, roots: Path) -> None:
        self.heard = Heard()
        self._port, self._space, self._roots = port, space, roots
        self._leaving = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        try:
            while not self._leaving:
                with connect(self._port, NAME, self._roots) as sock:
                    sock.sendall(request(f"/s/{self._space}/live"))
                    while not self._leaving and (data := sock.recv(65_536)):
                        if not self.heard.status and b" 200 " not in data[:20]:
                            break  # the first fragment is not there yet
                        self.heard.feed(data)
                    assert self._leaving or not self.heard.numbers, "thrown out"
                time.sleep(0.2)
        except Exception as fault:
            self._fault = fault

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving = True
        self._thread.join(30)
        if self._fault is not None:
            raise self._fault
