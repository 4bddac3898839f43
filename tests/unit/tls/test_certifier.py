"""The certifier with an authority that is not there: what is served stays, and it says what is wrong."""

import datetime
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from acme import errors, messages

from rostra.kernel.io import memory
from rostra.kernel.shared import counters
from rostra.kernel.shared.counters import Counters
from rostra.tls.io import authority, certifier
from rostra.tls.io.certifier import Wanted
from rostra.tls.renewal import Fault, Whose
from support.certificates import Authority
from support.server import free_port, wait_for

NAME = "live.example.org"


@contextmanager
def running(folder: Path, certificate: Path) -> Iterator[tuple[int, Counters]]:
    """A certifier in a thread of this process; its port, and its counters."""
    port = free_port()
    listener = socket.create_server(("127.0.0.1", port))
    path = folder / "certifier.counters"
    own = Counters(memory.create(path, counters.SIZE), writer=True)
    wanted = Wanted(f"http://127.0.0.1:{free_port()}/dir", "a@example.org", (NAME,), certificate, f"https://{NAME}")
    made = certifier.Certifier(wanted, folder, listener, own)
    thread = threading.Thread(target=lambda: certifier.asyncio.run(made.run()))
    thread.start()
    try:
        yield port, Counters(memory.attach(path))
    finally:
        made.stop()
        thread.join(20)
        assert not thread.is_alive()
        listener.close()


def status(folder: Path) -> dict[str, object]:
    path = folder / certifier.STATUS
    wait_for(path.exists, 20, "a first attempt")
    found: dict[str, object] = json.loads(path.read_bytes())
    return found


def test_a_failed_renewal_leaves_what_is_served_and_says_whose_fault_it_is(tmp_path: Path) -> None:
    certificate = tmp_path / "tls" / "certificate.pem"
    certificate.parent.mkdir()
    # A day of 34 hours is over, and that is more than two thirds.
    Authority(tmp_path / "authority").sign(certificate, certificate, NAME, life=datetime.timedelta(hours=10))
    before = certificate.read_bytes()
    with running(tmp_path, certificate) as (port, counted):
        assert status(tmp_path)["failures"] == 1
        assert counted.get("failures") == 1
        with pytest.raises(urllib.error.HTTPError, match="307") as moved:
            urllib.request.build_opener(_Stay).open(f"http://127.0.0.1:{port}/s/x", timeout=20)
        moved.value.close()
    assert certificate.read_bytes() == before


def test_a_certificate_with_more_than_a_third_of_its_life_left_is_let_be(tmp_path: Path) -> None:
    certificate = tmp_path / "tls" / "certificate.pem"
    certificate.parent.mkdir()
    Authority(tmp_path / "authority").sign(certificate, certificate, NAME, life=datetime.timedelta(hours=14))
    with running(tmp_path, certificate) as (_, counted):
        beat = wait_for(lambda: counted.get(counters.HEARTBEAT))
        wait_for(lambda: counted.get(counters.HEARTBEAT) != beat)
        assert counted.get("orders") == 0


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def test_without_a_certificate_it_tries_says_why_not_and_waits(tmp_path: Path) -> None:
    certificate = tmp_path / "tls" / "certificate.pem"
    with running(tmp_path, certificate) as (port, counted):
        told = status(tmp_path)
        assert told["failures"] == 1
        fault = told["fault"]
        assert isinstance(fault, dict)
        assert fault["whose"] == "network"
        assert "cannot be reached" in fault["sentence"]
        with pytest.raises(urllib.error.HTTPError, match="503") as waiting:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
        waiting.value.close()
        assert counted.get("orders") == 1
    with running(tmp_path, certificate) as (port, counted):  # it died, say, and was started again
        wait_for(lambda: counted.get(counters.HEARTBEAT))
        with pytest.raises(urllib.error.HTTPError, match="503") as waiting:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
        waiting.value.close()
        assert counted.get("orders") == 1, "a successor does not ask sooner"
    assert not certificate.exists()


def test_port_80_bears_noise(tmp_path: Path) -> None:
    with running(tmp_path, tmp_path / "tls" / "certificate.pem") as (port, counted):
        for noise in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"x" * 20_000, b"GET / HTTP/1.1\r\n"):
            with socket.create_connection(("127.0.0.1", port), 20) as sock:
                sock.sendall(noise)
                sock.shutdown(socket.SHUT_WR)
                while read(sock):
                    pass
        wait_for(lambda: counted.get("malformed") >= 3)
        with pytest.raises(urllib.error.HTTPError, match="503") as waiting:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
        waiting.value.close()


def read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (requests.exceptions.ConnectionError("x"), Whose.NETWORK),
        (requests.exceptions.SSLError("x"), Whose.NETWORK),
        (requests.exceptions.ReadTimeout("x"), Whose.NETWORK),
        (errors.TimeoutError(), Whose.AUTHORITY),
        (messages.Error(typ="urn:ietf:params:acme:error:rateLimited", detail="too many"), Whose.AUTHORITY),
        (messages.Error(typ="urn:ietf:params:acme:error:caa", detail="not here"), Whose.OPERATOR),
        (errors.IssuanceError(messages.Error(typ="urn:ietf:params:acme:error:dns", detail="x")), Whose.OPERATOR),
        (PermissionError(13, "Permission denied", "/srv/tls"), Whose.MACHINE),
        (OSError(28, "No space left on device", "/srv/tls"), Whose.MACHINE),
        (KeyError("newOrder"), Whose.AUTHORITY),
    ],
)
def test_every_failure_is_somebodys(error: Exception, whose: Whose) -> None:
    fault = authority.fault_of(error, [NAME], "https://ca.example/dir")
    assert isinstance(fault, Fault)
    assert fault.whose is whose
    assert fault.hint
