"""The terminator: TLS for the audience, in front of the workers, which speak plain HTTP on a port of this machine.

One epoll loop that copies. A turn serves, always in this order: those who are through, then arrivals, then handshakes
for a few milliseconds. So a flood of handshakes takes a share of each turn and no more, and whoever listens is served
in between. A connection buffers one read each way at most: while one side does not take it, nothing is read from the
other, and so the worker sees a slow listener as it would without us.
"""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.units import MS_NS
from rostra.tls import hello
from rostra.tls.hello import Speaks
from rostra.tls.io.context import Served
from rostra.tls.settings import Settings

log = structlog.get_logger()

EVENTS_MAX: Final = 4096
"""More than can be in a handshake at once, so that those who listen are always among the named."""

ROUNDS: Final = 4
"""Reads of one connection in a row, before the others have their turn."""

GONE: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
NOTHING: Final = memoryview(b"")


class Link:
    """A client's connection, and the one to a worker that belongs to it.

    `fd` is the client's descriptor, -1 once it is closed. `up` and `down` are what the other side has not taken yet.
    The masks are what epoll watches for; -1: not yet.
    """

    __slots__ = ("client", "client_mask", "deadline_ns", "down", "fd", "up", "worker", "worker_mask")

    def __init__(self, client: socket.socket, deadline_ns: int) -> None:
        self.client = client
        self.fd = client.fileno()
        self.worker: socket.socket | None = None
        self.deadline_ns = deadline_ns
        self.up = NOTHING
        self.down = NOTHING
        self.client_mask = -1
        self.worker_mask = -1


class Terminator:
    """The loop. `run` returns after `stop`, having closed every connection."""

    def __init__(
        self, served: Served, listener: socket.socket, upstream: tuple[str, int], counters: Counters, settings: Settings
    ) -> None:
        self._served = served
        self._listener = listener
        self._upstream = upstream
        self._counters = counters
        self._settings = settings
        self._epoll = select.epoll()
        self._silent: dict[int, Link] = {}
        self._greeting: dict[int, Link] = {}
        self._links: dict[int, Link] = {}
        self._closing: dict[int, Link] = {}
        self._active = 0
        self._again: set[Link] = set()
        self._beat_ns = 0
        self._look_ns = 0
        self._stopping = False
        self._descriptors_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._descriptors_base = len(list(Path("/proc/self/fd").iterdir()))
        self._listening = self._waiting = False
        self._listen()

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        while not self._stopping:
            self.turn()
        for link in [*self._silent.values(), *self._greeting.values(), *self._links.values(), *self._closing.values()]:
            self._close(link)
        self._epoll.close()

    # a turn

    def turn(self) -> None:
        """Wait for something to do, and do a share of it."""
        patience_s = 0.0 if self._again else self._settings.idle_ms / 1000
        events = self._epoll.poll(patience_s, EVENTS_MAX)
        again, self._again = self._again, set()
        for link in again:
            self._guard(link, link.fd, select.EPOLLIN)
        arriving = False
        greeting: list[tuple[Link, int]] = []
        for fd, mask in events:
            if (through := self._links.get(fd)) is not None:
                self._guard(through, fd, mask)
            elif (greeted := self._silent.get(fd) or self._greeting.get(fd)) is not None:
                greeting.append((greeted, mask))
            elif (leaving := self._closing.get(fd)) is not None:
                self._drain(leaving)
            else:
                arriving |= fd == self._listener.fileno()
        if arriving:
            self._arrivals()
        self._greet(greeting)
        now_ns = time.monotonic_ns()
        if now_ns - self._beat_ns >= 100 * MS_NS:
            self._beat(now_ns)

    def _beat(self, now_ns: int) -> None:
        """Ten times a second: the heartbeat, deadlines, the certificate, the descriptor limit."""
        self._beat_ns = now_ns
        self._counters.set(HEARTBEAT, now_ns)
        self._counters.set("active", self._active)
        self._counters.set("handshakes_pending", len(self._silent) + len(self._greeting))
        for held, name in ((self._silent, "expired"), (self._greeting, "expired"), (self._closing, "")):
            while held and (link := next(iter(held.values()))).deadline_ns <= now_ns:
                if name:
                    self._counters.add(f"handshakes_{name}")
                self._close(link)
        if now_ns - self._look_ns >= self._settings.look_ms * MS_NS:
            self._look_ns = now_ns
            if self._served.look():
                self._counters.add("certificates")
        self._mind_the_limits()

    # arrivals

    @property
    def _descriptors(self) -> int:
        return self._descriptors_base + len(self._silent) + len(self._greeting) + len(self._closing) + len(self._links)

    def _mind_the_limits(self) -> None:
        used = self._descriptors / self._descriptors_max
        if self._listening and used >= self._settings.descriptors_full:
            self._deafen()
        elif not self._listening and used <= self._settings.descriptors_free:
            self._listen()
        elif self._waiting and not self._crowded:
            self._epoll.register(self._listener, select.EPOLLIN)
            self._waiting = False

    def _listen(self) -> None:
        """Take arrivals. What is set here, accepted connections inherit."""
        sock, settings = self._listener, self._settings
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.user_timeout_ms)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.copy_bytes)
        sock.listen(4096)
        self._epoll.register(sock, select.EPOLLIN)
        self._listening, self._waiting = True, False

    def _deafen(self) -> None:
        """Out of the port's group, so that the kernel hashes nobody to us in vain."""
        if not self._waiting:
            self._epoll.unregister(self._listener)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RD)
        self._listening = self._waiting = False
        self._counters.add("stalled")
        log.warning("descriptors_full", used=self._descriptors, limit=self._descriptors_max)

    @property
    def _crowded(self) -> bool:
        return len(self._silent) + len(self._greeting) >= self._settings.handshakes_max

    def _arrivals(self) -> None:
        for _ in range(self._settings.arrivals_per_turn):
            if self._crowded and not self._silent:
                self._epoll.unregister(self._listener)  # the others wait in the kernel's queue
                self._waiting = True
                return
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in FULL:
                    self._deafen()
                    return
                continue
            sock.setblocking(False)
            self._counters.add("accepts")
            if self._crowded:  # who has said nothing makes way, the longest silent first
                self._counters.add("handshakes_shed")
                self._close(next(iter(self._silent.values())))
            link = Link(sock, time.monotonic_ns() + self._settings.handshake_ms * MS_NS)
            self._silent[link.fd] = link
            self._watch_client(link, select.EPOLLIN)
        self._mind_the_limits()

    # handshakes

    def _greet(self, greeting: list[tuple[Link, int]]) -> None:
        """Hear who begins to speak, then handshakes for a slice of time; whom it does not reach, epoll names again."""
        for link, _ in greeting:
            if link.fd in self._silent:
                self._attempt(link, self._hear_first)
        until_ns = time.monotonic_ns() + self._settings.handshake_slice_ms * MS_NS
        for link, _ in greeting:
            if link.fd in self._greeting:
                self._attempt(link, self._shake)
                if time.monotonic_ns() >= until_ns:
                    return

    def _attempt(self, link: Link, step: Callable[[Link], None]) -> None:
        try:
            step(link)
        except OSError:
            self._fail(link)
        except Exception:
            self._fault(link)

    def _fault(self, link: Link) -> None:
        """A mistake of ours met one connection: it ends, it is counted, and nobody else is touched."""
        log.exception("fault")
        self._counters.add("faults")
        self._close(link)

    def _fail(self, link: Link) -> None:
        self._counters.add("handshakes_failed")
        self._close(link)

    def _hear_first(self, link: Link) -> None:
        """The first byte says whether this is TLS at all."""
        first = link.client.recv(1, socket.MSG_PEEK)
        if not first:
            self._close(link)
            return
        match hello.speaks(first):
            case Speaks.TLS:
                self._greeting[link.fd] = self._silent.pop(link.fd)
            case Speaks.HTTP:
                self._counters.add("plain_http")
                self._last_word(link, hello.IS_HTTPS)
            case Speaks.NEITHER:
                self._fail(link)

    def _shake(self, link: Link) -> None:
        """Go on with a handshake, or begin it."""
        if not isinstance(link.client, ssl.SSLSocket):
            context = self._served.context
            link.client = context.wrap_socket(link.client, server_side=True, do_handshake_on_connect=False)
        assert isinstance(link.client, ssl.SSLSocket)
        try:
            link.client.do_handshake()
        except ssl.SSLWantReadError:
            self._watch_client(link, select.EPOLLIN)
            return
        except ssl.SSLWantWriteError:
            self._watch_client(link, select.EPOLLOUT)
            return
        self._counters.add("handshakes")
        if link.client.session_reused:
            self._counters.add("handshakes_resumed")
        self._connect(link)

    def _connect(self, link: Link) -> None:
        """To a worker, now that this client has proved to be one. The real address of the client (PROXY protocol
        version 2) would go ahead of everything else here, as the first bytes of `up`.
        """
        worker = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        worker.setblocking(False)
        worker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._settings.worker_buffer_bytes)
        link.worker = worker
        self._links[link.fd] = self._links[worker.fileno()] = self._greeting.pop(link.fd)
        self._active += 1
        if worker.connect_ex(self._upstream) not in (0, errno.EINPROGRESS):
            self._unanswered(link)
            return
        self._watch(link)

    def _unanswered(self, link: Link) -> None:
        """No worker takes connections: all are full, or gone."""
        self._counters.add("unanswered")
        self._last_word(link, hello.COME_BACK)

    # those who are through

    def _guard(self, link: Link, fd: int, mask: int) -> None:
        """Copy what there is to copy. A fault of one connection ends that one."""
        if link.worker is None or fd < 0:
            return
        try:
            if fd == link.fd:
                self._of_client(link, mask)
            else:
                self._of_worker(link, mask)
            if link.worker is not None:
                self._watch(link)
        except ConnectionRefusedError:
            self._unanswered(link)
        except OSError:
            self._close(link)
        except Exception:
            self._fault(link)

    def _of_client(self, link: Link, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._downwards(link)
        if mask & select.EPOLLIN and link.worker is not None:
            self._upwards(link)
        elif mask & GONE:
            self._close(link)

    def _of_worker(self, link: Link, mask: int) -> None:
        assert link.worker is not None
        if mask & select.EPOLLERR:
            refused = link.worker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
            if refused:
                self._unanswered(link)
            else:
                self._close(link)  # a broken response is told from a finished one: no goodbye
            return
        if mask & select.EPOLLOUT:
            self._upwards(link)
        if mask & (select.EPOLLIN | GONE) and link.worker is not None:
            self._downwards(link)

    def _upwards(self, link: Link) -> None:
        """From the client to the worker."""
        assert link.worker is not None
        if link.up and not self._give(link, link.worker, "up"):
            return
        for _ in range(ROUNDS):
            try:
                data = link.client.recv(self._settings.copy_bytes)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                self._close(link)
                return
            self._counters.add("bytes_up", len(data))
            link.up = memoryview(data)
            if not self._give(link, link.worker, "up"):
                return
        self._again.add(link)  # what TLS has decrypted already, epoll knows nothing of

    def _downwards(self, link: Link) -> None:
        """From the worker to the client."""
        assert link.worker is not None
        if link.down and not self._give(link, link.client, "down"):
            return
        for _ in range(ROUNDS):
            try:
                data = link.worker.recv(self._settings.copy_bytes)
            except BlockingIOError:
                return
            if not data:
                self._last_word(link, b"")
                return
            self._counters.add("bytes_down", len(data))
            link.down = memoryview(data)
            if not self._give(link, link.client, "down"):
                return

    def _give(self, link: Link, to: socket.socket, way: str) -> bool:
        """Send what is pending that way. Returns whether all of it was taken."""
        pending: memoryview = getattr(link, way)
        try:
            while pending:
                pending = pending[to.send(pending) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            setattr(link, way, pending)
            return False
        setattr(link, way, NOTHING)
        return True

    # endings

    def _last_word(self, link: Link, data: bytes) -> None:
        """Say it, say goodbye (RFC 8446 6.1), and let the client finish its sentence before the connection closes."""
        self._forget(link)
        client = link.client
        with contextlib.suppress(OSError):
            if data:
                client.send(data)
            if isinstance(client, ssl.SSLSocket):
                client.unwrap()
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        link.deadline_ns = time.monotonic_ns() + self._settings.closing_ms * MS_NS
        self._closing[link.fd] = link
        self._watch_client(link, select.EPOLLIN)

    def _drain(self, link: Link) -> None:
        try:
            if os.read(link.fd, self._settings.copy_bytes):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(link)

    def _forget(self, link: Link) -> None:
        """Out of every list; the worker's side is closed."""
        for held in (self._silent, self._greeting, self._closing, self._links):
            held.pop(link.fd, None)
        self._again.discard(link)
        if link.worker is not None:
            self._active -= 1
            del self._links[link.worker.fileno()]
            link.worker.close()
            link.worker = None

    def _close(self, link: Link) -> None:
        self._forget(link)
        link.client.close()
        link.fd = -1

    # watching

    def _watch(self, link: Link) -> None:
        """Read from a side only when the other has taken everything."""
        assert link.worker is not None
        client = (select.EPOLLOUT if link.down else 0) | (0 if link.up else select.EPOLLIN) | select.EPOLLRDHUP
        worker = (select.EPOLLOUT if link.up else 0) | (0 if link.down else select.EPOLLIN)
        self._watch_client(link, client)
        if worker != link.worker_mask:
            change = self._epoll.register if link.worker_mask < 0 else self._epoll.modify
            change(link.worker.fileno(), worker)
            link.worker_mask = worker

    def _watch_client(self, link: Link, mask: int) -> None:
        if mask != link.client_mask:
            change = self._epoll.register if link.client_mask < 0 else self._epoll.modify
            change(link.fd, mask)
            link.client_mask = mask


def run(
    served: Served, listener: socket.socket, upstream: tuple[str, int], counters: Counters, settings: Settings
) -> None:
    """Terminate TLS until SIGTERM."""
    terminator = Terminator(served, listener, upstream, counters, settings)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: terminator.stop())
    terminator.run()
