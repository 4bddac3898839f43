"""A real terminator on real sockets: before a real worker, and before one that a test plays."""

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rostra.tls.settings import Settings
from support.audience import Heard, Programme, answer, edge, request, shared_memory
from support.certificates import serial_of
from support.server import wait_for
from support.tls import Front, front

QUICK = Settings(handshake_ms=400, closing_ms=300, look_ms=20, idle_ms=20)


class Upstream:
    """A worker that a test plays: it takes connections, and the test says what happens on them."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def accept(self) -> socket.socket:
        self.listener.settimeout(20)
        sock, _ = self.listener.accept()
        sock.settimeout(20)
        return sock


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    playing = Upstream()
    yield playing
    playing.listener.close()


@pytest.fixture
def before(tmp_path: Path, upstream: Upstream) -> Iterator[Front]:
    with front(tmp_path, upstream.port, QUICK) as running:
        yield running


def take(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = sock.recv(65_536)
        assert more, f"closed after {len(data)} bytes"
        data += more
    return bytes(data)


def test_bytes_go_through_unchanged_both_ways(before: Front, upstream: Upstream) -> None:
    with before.connect() as client, upstream.accept() as worker:
        blob = bytes(range(256)) * 4000
        sender = threading.Thread(target=client.sendall, args=(blob,))
        sender.start()
        assert take(worker, len(blob)) == blob
        sender.join(20)
        sender = threading.Thread(target=worker.sendall, args=(blob[::-1],))
        sender.start()
        assert take(client, len(blob)) == blob[::-1]
        sender.join(20)
        wait_for(lambda: before.counters.get("active") == 1)
        assert before.counters.get("bytes_up") == before.counters.get("bytes_down") == len(blob)
    wait_for(lambda: before.counters.get("active") == 0)


def test_a_finished_answer_ends_with_a_goodbye_and_a_broken_one_without(before: Front, upstream: Upstream) -> None:
    strict = before.authority.trusting
    for orderly in (True, False):
        plain = before.plain()
        with strict.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as client:
            worker = upstream.accept()
            worker.sendall(b"the end")
            assert take(client, 7) == b"the end"
            if orderly:
                worker.close()
                assert client.recv(100) == b""
            else:
                worker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                worker.close()
                with pytest.raises(OSError, match=r"EOF|reset"):
                    client.recv(100)


def test_a_slow_listener_is_seen_by_the_worker_and_costs_no_memory(before: Front, upstream: Upstream) -> None:
    with before.connect(), upstream.accept() as worker:
        worker.setblocking(False)
        sent = 0
        patience = selectors.DefaultSelector()
        patience.register(worker, selectors.EVENT_WRITE)
        while patience.select(2):  # for as long as there is room
            sent += worker.send(bytes(65_536))
            assert sent < 32 << 20, "there is no end to what is taken for a client that reads nothing"
        patience.close()
        taken = before.counters.get("bytes_down")
        with before.connect() as other, upstream.accept() as its_worker:
            its_worker.sendall(b"others are served")
            assert take(other, 17) == b"others are served"
        # What was read of the worker and not yet given on is one read at most, whatever the kernel holds.
        assert sum(len(link.down) for link in set(before.terminator._links.values())) <= QUICK.copy_bytes
        assert taken <= sent


def test_a_client_that_sends_faster_than_its_worker_reads_is_held_back(before: Front, upstream: Upstream) -> None:
    with before.connect() as client, upstream.accept() as worker:
        blob = bytes(32 << 20)
        sender = threading.Thread(target=lambda: contextlib.suppress(OSError).__enter__() or client.sendall(blob))
        sender.start()
        wait_for(lambda: any(link.up for link in set(before.terminator._links.values())))
        assert sum(len(link.up) for link in set(before.terminator._links.values())) <= QUICK.copy_bytes
        take(worker, len(blob))
        sender.join(20)
        assert not sender.is_alive()


def test_plain_http_is_told_to_use_https_and_noise_is_hung_up_on(before: Front) -> None:
    with before.plain() as client:
        client.sendall(request("/s/talk"))
        told = answer(client)
        assert told.status == 400
        assert b"https://" in told.body
        assert client.recv(100) == b""
    with before.plain() as client:
        client.sendall(b"\0\1\2")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    with before.plain() as client:
        client.sendall(b"\x16\x03\x01\x00\x05hello")
        with contextlib.suppress(ConnectionResetError):
            assert len(client.recv(100)) <= 7, "an alert at most"
    wait_for(lambda: before.counters.get("handshakes_failed") == 2)
    assert before.counters.get("plain_http") == 1


def test_old_tls_is_refused(before: Front) -> None:
    old = before.authority.trusting
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with before.plain() as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="localhost")


def test_who_is_not_through_in_time_is_let_go(before: Front) -> None:
    silent = [before.plain() for _ in range(5)]
    stalled = before.plain()
    stalled.sendall(b"\x16\x03\x01")
    for sock in (*silent, stalled):
        assert sock.recv(100) == b""
        sock.close()
    wait_for(lambda: before.counters.get("handshakes_pending") == 0)
    assert before.counters.get("handshakes_expired") == 6


def test_the_silent_make_way_when_there_are_too_many(tmp_path: Path, upstream: Upstream) -> None:
    with front(tmp_path, upstream.port, replace(QUICK, handshakes_max=20, handshake_ms=20_000)) as before:
        silent = [before.plain() for _ in range(60)]
        with before.connect(), upstream.accept():
            wait_for(lambda: before.counters.get("handshakes_shed") >= 41)
        assert before.counters.get("handshakes") == 1
        for sock in silent:
            sock.close()


def test_those_in_a_handshake_do_not_make_way_and_arrivals_wait(tmp_path: Path, upstream: Upstream) -> None:
    with front(tmp_path, upstream.port, replace(QUICK, handshakes_max=20, handshake_ms=1500)) as before:
        stalled = [before.plain() for _ in range(20)]
        for sock in stalled:
            sock.sendall(b"\x16\x03\x01")
        wait_for(lambda: len(before.terminator._greeting) == 20)
        with before.connect(), upstream.accept():  # waits in the kernel's queue until the others have had their time
            pass
        assert before.counters.get("handshakes_expired") == 20
        assert before.counters.get("handshakes_shed") == 0
        for sock in stalled:
            sock.close()


def test_without_a_worker_a_client_is_asked_to_come_back(tmp_path: Path) -> None:
    gone = Upstream()
    gone.listener.close()
    with front(tmp_path, gone.port, QUICK) as before, before.connect() as client:
        client.sendall(request("/s/talk/live"))
        told = answer(client)
        assert told.status == 503
        assert told.headers["retry-after"] == "5"


def test_a_new_certificate_is_served_and_a_broken_one_is_not(before: Front, upstream: Upstream) -> None:
    with before.connect() as client, upstream.accept() as worker:
        first = serial_of(client)
        serial = before.authority.sign(before.pem, before.pem, "localhost")
        wait_for(lambda: shown(before, upstream) == serial)
        assert serial != first
        before.pem.write_bytes(before.pem.read_bytes()[:-200])
        time.sleep(5 * QUICK.look_ms / 1000)
        assert shown(before, upstream) == serial
        before.pem.unlink()
        time.sleep(5 * QUICK.look_ms / 1000)
        assert shown(before, upstream) == serial
        worker.sendall(b"still here")
        assert take(client, 10) == b"still here"
    assert before.counters.get("certificates") == 1


def shown(before: Front, upstream: Upstream) -> int:
    with before.connect() as client, upstream.accept():
        return serial_of(client)


def test_at_the_descriptor_limit_nobody_is_hashed_here_in_vain(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(QUICK, descriptors_full=0.1, descriptors_free=0.099)
    with front(tmp_path, upstream.port, quick) as before:
        monkeypatch.setattr(before.terminator, "_descriptors_max", 10 * (before.terminator._descriptors_base + 8))
        with contextlib.ExitStack() as held:
            for _ in range(4):
                held.enter_context(before.connect())
                held.enter_context(upstream.accept())
            wait_for(lambda: before.counters.get("stalled") == 1)
            with pytest.raises(OSError, match="refused"):
                before.plain()
        wait_for(lambda: takes(before))


def takes(before: Front) -> bool:
    try:
        before.connect().close()
    except OSError:
        return False
    return True


# before a real worker


def test_a_flood_of_handshakes_does_not_disturb_those_who_listen(tmp_path: Path) -> None:
    """Handshakes, silence and noise by the hundred; who listens gets every fragment on the connection they have."""
    with (
        shared_memory(tmp_path),
        contextlib.closing(Programme(tmp_path)) as programme,
        edge(tmp_path) as served,
        front(tmp_path, served.port) as before,
    ):
        programme.fragments(3)
        listeners = [before.connect() for _ in range(10)]
        heard = [Heard() for _ in listeners]
        for client in listeners:
            client.sendall(request("/s/talk/live"))
        await_fragment(listeners, heard, 2)
        flooding = [threading.Thread(target=flood, args=(before, kind)) for kind in range(4)]
        for thread in flooding:
            thread.start()
        for number in range(3, 13):
            programme.fragments(1)
            await_fragment(listeners, heard, number)
        for thread in flooding:
            thread.join(60)
        assert all(one.numbers == list(range(2, 13)) for one in heard)
        assert not any(one.notices for one in heard), "nobody was too slow for their worker"
        assert before.counters.get("handshakes") >= 10 + 100
        assert before.counters.get("handshakes_failed") >= 100
        with before.connect() as late:
            late.sendall(request("/healthz"))
            assert answer(late).status == 200
        for client in listeners:
            client.close()


def flood(before: Front, kind: int) -> None:
    """A hundred connections that want to hurt: handshakes, noise, handshakes that stop, silence."""
    held: list[socket.socket] = []
    for _ in range(100):
        with contextlib.suppress(OSError):
            sock = before.plain()
            held.append(sock)
            if kind == 0:
                held[-1] = before.authority.trusting.wrap_socket(sock, server_hostname="localhost")
            elif kind == 1:
                sock.sendall(b"\x16\x03\x01\x00\x05hello")
            elif kind == 2:
                sock.sendall(b"\x16\x03\x01\x40\x00")
    for sock in held:
        sock.close()


def await_fragment(listeners: list[ssl.SSLSocket], heard: list[Heard], number: int) -> None:
    for client, one in zip(listeners, heard, strict=True):
        while not one.numbers or one.numbers[-1] < number:
            data = client.recv(65_536)
            assert data, "thrown out"
            one.feed(data)
