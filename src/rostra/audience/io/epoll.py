"""The worker: one epoll loop for everybody who listens, arrives, or reads a page (DESIGN 6, "Order of service").

A turn serves, always in this order: sound for those already listening, for a few milliseconds; laggards that have room;
arrivals, up to a budget; pages and state; replays. Whatever is left over waits for the next turn, so nothing a newcomer
or a reader does delays the sound by more than one turn.

There is no object and no task per listener (`rostra.audience.io.crowd`). Connections that do not listen have a
`Conversation` each, and there is a bound to those. A fault in one closes that one, and is counted.
"""

import contextlib
import errno
import gc
import os
import resource
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Final

import structlog

from rostra.audience import http, live, page, replay
from rostra.audience.http import Refused, Request, Response
from rostra.audience.io import web
from rostra.audience.io.crowd import GONE, Crowd
from rostra.audience.io.source import Source
from rostra.audience.settings import Settings
from rostra.door.verdict import Arrival, Decision, decide
from rostra.kernel.errors import RostraError
from rostra.kernel.io.system import now
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.units import MS_NS
from rostra.media.codec import BY_NAME
from rostra.space.io.folder import Folder

log = structlog.get_logger()

Admits = Callable[[str], bool]

EVENTS_MAX: Final = 512
SOURCES_MAX: Final = 256
"""Spaces remembered at once; those nobody listens to are forgotten first."""

READ_BYTES: Final = http.HEAD_BYTES_MAX + 1
DRAIN_BYTES_MAX: Final = 65_536
"""What a refused client may still send before its connection is closed under it."""

FULL: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
STATE_MS: Final = 200
"""How old a remembered `state.json` may be."""


class Transfer:
    """A body sent from files: (descriptor, position, end) each, in order."""

    def __init__(self, parts: list[tuple[int, int, int]], descriptors: tuple[int, ...]) -> None:
        self.parts = deque(parts)
        self._descriptors = descriptors

    def send(self, fd: int, limit: int) -> int:
        """Send up to `limit` bytes. Raises BlockingIOError when there is no room, OSError when nobody is there."""
        source, position, end = self.parts[0]
        sent = os.sendfile(fd, source, position, min(limit, end - position))
        if sent == 0:
            raise OSError(errno.EIO, "the recording is shorter than it says")
        self.parts[0] = (source, position + sent, end)
        if position + sent == end:
            self.parts.popleft()
        return sent

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


class Conversation:
    """A connection that does not listen (yet). `mask` is what it is watched for; 0: not yet."""

    __slots__ = ("deadline_ns", "drained", "fd", "keep", "mask", "out", "parser", "requests", "transfer")

    def __init__(self, fd: int, deadline_ns: int) -> None:
        self.fd = fd
        self.deadline_ns = deadline_ns
        self.parser: http.Parser | None = http.Parser()
        self.requests: deque[Request | Refused] = deque()
        self.out = memoryview(b"")
        self.transfer: Transfer | None = None
        self.keep = True
        self.drained = 0
        self.mask = 0

    @property
    def answering(self) -> bool:
        return bool(self.out) or self.transfer is not None


class Worker:
    """The loop. `run` returns after `stop`, having closed every connection."""

    def __init__(
        self,
        data: Path,
        shared: Path,
        listener: socket.socket,
        counters: Counters,
        settings: Settings,
        admits: Admits | None = None,
    ) -> None:
        self._admits = admits
        self._data = data
        self._shared = shared
        self._listener = listener
        self._counters = counters
        self._settings = settings
        self._epoll = select.epoll()
        self._crowd = Crowd(self._epoll, counters, settings)
        self._site = web.load()
        self._sources: dict[str, Source] = {}
        self._states: dict[str, tuple[int, Response]] = {}
        self._talks: dict[int, Conversation] = {}
        self._transfers = 0
        self._date = ""
        self._date_s = -1
        self._live_heads: tuple[bytes, ...] = ()
        self._live_heads_date = ""
        self._beat_ns = 0
        self._fed_ns = 0
        self._stopping = False
        self._descriptors_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._descriptors_base = len(list(Path("/proc/self/fd").iterdir()))
        self._listening = False
        self._take_over()
        self._listen()

    def _take_over(self) -> None:
        """Those whom a dead predecessor counted as listening have left."""
        for name, value in self._counters.read().items():
            if name.endswith("/listeners") and value:
                self._counters.set(name, 0)
                self._counters.add("leaves", value)
                self._counters.add("leaves_crash", value)

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        gc.collect()
        gc.freeze()
        while not self._stopping:
            self.turn()
        self._close()

    # a turn

    def turn(self) -> None:
        """Wait for something to do, and do a share of it."""
        events = self._epoll.poll(self._patience_s(), EVENTS_MAX)
        now_ns = time.monotonic_ns()
        arriving = False
        writable: list[int] = []
        talking: list[tuple[Conversation, int]] = []
        for fd, mask in events:
            talk = self._talks.get(fd)
            if talk is not None:
                talking.append((talk, mask))
            elif self._crowd.has(fd):
                if mask & GONE:
                    self._crowd.leave(fd)
                else:
                    writable.append(fd)
            else:
                arriving = True
        if now_ns - self._fed_ns >= self._settings.poll_ms * MS_NS:
            self._fed_ns = now_ns
            self._crowd.feed(now_ns)
        self._crowd.flush(now_ns + self._settings.slice_ms * MS_NS)
        for fd in writable:
            self._crowd.writable(fd)
        if arriving:
            self._arrivals()
        self._converse(talking)
        if now_ns - self._beat_ns >= 100 * MS_NS:
            self._beat(now_ns)

    def _patience_s(self) -> float:
        """How long there may be nothing to do."""
        if self._crowd.flushing:
            return 0.0
        return (self._settings.idle_ms if self._crowd.idle else self._settings.poll_ms) / 1000

    def _beat(self, now_ns: int) -> None:
        """Ten times a second: the heartbeat, deadlines, the descriptor limit."""
        self._beat_ns = now_ns
        self._counters.set(HEARTBEAT, time.monotonic_ns())
        self._crowd.expire(now_ns)
        for talk in [talk for talk in self._talks.values() if now_ns >= talk.deadline_ns]:
            self._expire(talk)
        self._counters.set("listeners", self._crowd.listeners)
        self._counters.set("conversations", len(self._talks))
        self._mind_the_limit()

    @property
    def _descriptors(self) -> int:
        return self._descriptors_base + self._crowd.listeners + len(self._talks) + 2 * self._transfers

    def _mind_the_limit(self) -> None:
        used = self._descriptors / self._descriptors_max
        if self._listening and used >= self._settings.descriptors_full:
            self._deafen()
        elif not self._listening and used <= self._settings.descriptors_free:
            self._listen()

    # listening

    def _listen(self) -> None:
        """Take arrivals. What is set here, accepted connections inherit."""
        sock, settings = self._listener, self._settings
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, settings.user_timeout_ms)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer_bytes)
        sock.listen(4096)
        self._epoll.register(sock, select.EPOLLIN)
        self._listening = True

    def _deafen(self) -> None:
        """Take no more arrivals: out of the port's group, so that the kernel hashes nobody to us in vain."""
        self._epoll.unregister(self._listener)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RD)
        self._listening = False
        self._counters.add("stalled")
        log.warning("descriptors_full", used=self._descriptors, limit=self._descriptors_max)

    def _arrivals(self) -> None:
        until_ns = time.monotonic_ns() + self._settings.slice_ms * MS_NS
        for _ in range(self._settings.arrivals_per_turn):
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in FULL:
                    self._deafen()
                    return
                continue
            if self._admits is not None and not self._admits(address[0]):
                self._counters.add("strangers")
                sock.close()
                continue
            sock.setblocking(False)
            self._counters.add("accepts")
            talk = Conversation(sock.detach(), time.monotonic_ns() + self._settings.head_ms * MS_NS)
            self._guard(talk, select.EPOLLIN)
            if time.monotonic_ns() >= until_ns:
                break
        self._mind_the_limit()

    # conversations

    def _converse(self, talking: list[tuple[Conversation, int]]) -> None:
        """Serve those that have said something or have room, for a slice; whom it does not reach, epoll names again."""
        until_ns = time.monotonic_ns() + self._settings.slice_ms * MS_NS
        share = 0 if self._crowd.flushing else self._settings.transfer_bytes
        last = []
        for talk, mask in talking:
            if talk.transfer is not None and not talk.out:
                last.append((talk, mask))
            else:
                self._guard(talk, mask)
                if time.monotonic_ns() >= until_ns:
                    return
        for talk, mask in last[: max(1, share // 16_384)] if share else ():
            self._guard(talk, mask)

    def _guard(self, talk: Conversation, mask: int) -> None:
        """Do what is to be done, and let no fault of one connection reach another."""
        try:
            if mask & select.EPOLLIN and not talk.answering:
                self._hear(talk)
            elif mask & select.EPOLLOUT:
                self._answer_on(talk)
            elif mask & GONE:
                self._hang_up(talk)
            if talk.fd >= 0 and not self._crowd.has(talk.fd):
                self._watch(talk)
        except OSError:
            self._hang_up(talk)
        except Exception:
            log.exception("fault")
            self._counters.add("faults")
            self._hang_up(talk)

    def _hear(self, talk: Conversation) -> None:
        try:
            data = os.read(talk.fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._hang_up(talk)
        elif talk.parser is None:
            self._drain(talk, len(data))
        else:
            was_idle = talk.parser.idle
            talk.requests.extend(talk.parser.feed(data))
            if was_idle and not talk.parser.idle:
                talk.deadline_ns = time.monotonic_ns() + self._settings.head_ms * MS_NS
            self._serve_all(talk)

    def _drain(self, talk: Conversation, heard: int) -> None:
        """A refused client still talks. Were its connection closed now, a reset would swallow the answer."""
        talk.drained += heard
        if talk.drained > DRAIN_BYTES_MAX:
            self._hang_up(talk)

    def _serve_all(self, talk: Conversation) -> None:
        """Answer what has been asked, one after the other, until an answer has to wait for room."""
        while talk.requests and talk.fd >= 0 and not talk.answering:
            request = talk.requests.popleft()
            self._counters.add("requests")
            if isinstance(request, Refused):
                self._counters.add("malformed")
                self._refuse(talk, http.refusal(request))
            else:
                talk.keep = request.keep_alive
                self._serve(talk, request)
                if talk.parser is None or self._crowd.has(talk.fd):
                    return

    def _refuse(self, talk: Conversation, response: Response) -> None:
        """Answer, say that nothing more will come, and listen no further."""
        talk.keep = False
        talk.parser = None
        talk.requests.clear()
        talk.deadline_ns = time.monotonic_ns() + 2000 * MS_NS
        with contextlib.suppress(BlockingIOError):
            os.write(talk.fd, http.encode(response, self._http_date()))
        sock = socket.socket(fileno=talk.fd)
        try:
            sock.shutdown(socket.SHUT_WR)
        finally:
            sock.detach()

    def _serve(self, talk: Conversation, request: Request) -> None:
        action = http.route(request)
        match action:
            case http.Live():
                response = self._live(talk, request, action)
                if response is None:
                    return
            case http.Replay():
                planned = self._replay(request, action.space)
                if isinstance(planned, replay.Plan):
                    self._transfer(talk, planned, self._source(action.space))
                    return
                response = planned
            case _:
                response = self._plain(request, action)
        head_only = request.method == "HEAD"
        self._say(talk, http.encode(response, self._http_date(), head_only=head_only, keep_alive=talk.keep))

    def _plain(self, request: Request, action: http.Action) -> Response:
        """What is answered from memory."""
        match action:
            case http.State():
                return self._state(action.space)
            case http.Page():
                if not action.space:
                    return page.answer(self._site, page.HOME, request)
                known = self._source(action.space) is not None
                return page.answer(self._site, page.LISTENER, request, status=200 if known else 404)
            case http.Static():
                return page.answer(self._site, action.path, request)
            case http.Health():
                return http.HEALTHY
            case http.Preflight():
                return http.PREFLIGHT
            case http.Moved():
                return http.moved(action.to)
            case http.NotAllowed():
                return http.NOT_ALLOWED
            case _:
                return http.MISSING

    def _say(self, talk: Conversation, data: bytes) -> None:
        """Send a response, or as much as there is room for."""
        try:
            written = os.write(talk.fd, data)
        except BlockingIOError:
            written = 0
        self._counters.add("bytes_other", written)
        talk.out = memoryview(data)[written:]
        self._said(talk)

    def _said(self, talk: Conversation) -> None:
        """Something was sent: what is the connection for now?"""
        if talk.answering:
            talk.deadline_ns = time.monotonic_ns() + self._settings.response_ms * MS_NS
        elif talk.keep:
            talk.deadline_ns = time.monotonic_ns() + self._settings.keep_alive_ms * MS_NS
        else:
            self._hang_up(talk)

    def _answer_on(self, talk: Conversation) -> None:
        """There is room for more of an answer."""
        try:
            if talk.out:
                written = os.write(talk.fd, talk.out)
                talk.out = talk.out[written:]
            elif talk.transfer is not None:
                written = talk.transfer.send(talk.fd, self._settings.transfer_bytes)
                if not talk.transfer.parts:
                    self._drop_transfer(talk)
            else:
                return
        except BlockingIOError:
            return
        self._counters.add("bytes_other", written)
        self._said(talk)
        if not talk.answering:
            self._serve_all(talk)

    def _watch(self, talk: Conversation) -> None:
        """Have epoll name the connection when it can be served again."""
        mask = select.EPOLLOUT if talk.answering else select.EPOLLIN
        if talk.mask == mask:
            return
        if talk.mask == 0:
            if len(self._talks) >= self._settings.conversations_max:
                self._counters.add("crowded_out")
                self._hang_up(next(iter(self._talks.values())))
            self._talks[talk.fd] = talk
            self._epoll.register(talk.fd, mask)
        else:
            self._epoll.modify(talk.fd, mask)
        talk.mask = mask

    def _expire(self, talk: Conversation) -> None:
        self._counters.add("expired")
        if talk.parser is not None and not talk.parser.idle and not talk.answering:
            refused = Refused(408, "request.slow", "The request took too long.")
            with contextlib.suppress(OSError):
                os.write(talk.fd, http.encode(http.refusal(refused), self._http_date()))
        self._hang_up(talk)

    def _hang_up(self, talk: Conversation) -> None:
        """Close a connection. Twice does no harm."""
        if talk.fd < 0:
            return
        self._drop_transfer(talk)
        self._talks.pop(talk.fd, None)
        os.close(talk.fd)
        talk.fd = -1

    # what is asked for

    def _source(self, space: str) -> Source | None:
        """The Space, or None when there is none."""
        source = self._sources.get(space)
        if source is None:
            folder = Folder(self._data, self._shared, space)
            if not folder.spec_json.exists():
                return None
            if len(self._sources) >= SOURCES_MAX:
                self._forget_sources()
            source = self._sources[space] = Source(folder, self._settings)
        source.look(time.monotonic_ns())
        return source if source.spec is not None and source.life is not None else None

    def _forget_sources(self) -> None:
        for space, source in list(self._sources.items()):
            if not self._crowd.serves(space):
                source.close()
                del self._sources[space]
                self._states.pop(space, None)

    def _state(self, space: str) -> Response:
        now_ns = time.monotonic_ns()
        remembered = self._states.get(space)
        if remembered is not None and now_ns - remembered[0] < STATE_MS * MS_NS:
            return remembered[1]
        source = self._source(space)
        if source is None:
            return live.UNKNOWN
        headers = (("Content-Type", "application/json"), ("Cache-Control", "public, max-age=1"), *http.CROSS_ORIGIN)
        response = Response(200, headers, source.state_json())
        self._states[space] = (now_ns, response)
        return response

    def _live(self, talk: Conversation, request: Request, action: http.Live) -> Response | None:
        """Let a listener in (None), or say why not."""
        source = self._source(action.space)
        if source is None or source.life is None or source.spec is None:
            return live.UNKNOWN
        if action.rendition not in BY_NAME:
            return live.NO_RENDITION
        refused = live.closed(source.life, source.spec.doors_s, now().wall_ns)
        chunks = request.version != "1.0"
        if refused is None and not self._ready(source, action.rendition, chunks):
            refused = live.STARTING
        if refused is None and request.method == "GET":
            verdict = decide(Arrival(source.id, self._crowd.listeners))
            if verdict.decision is not Decision.ADMIT:
                refused = live.turned_away(verdict)
        if refused is not None:
            self._counters.add("refused")
            return refused
        head = self._live_head(chunks)
        if request.method == "HEAD":
            talk.keep = False
            self._say(talk, head)
        else:
            self._talks.pop(talk.fd, None)
            watched = talk.mask != 0
            self._crowd.join(talk.fd, source, action.rendition, chunks=chunks, head=head, watched=watched)
        return None

    def _live_head(self, chunks: bool) -> bytes:
        """The same for everybody within a second."""
        date = self._http_date()
        if self._live_heads_date != date:
            self._live_heads = tuple(http.live_head(date, chunks=each) for each in (False, True))
            self._live_heads_date = date
        return self._live_heads[chunks]

    def _ready(self, source: Source, rendition: str, chunks: bool) -> bool:
        try:
            return self._crowd.ready(source, rendition, chunks=chunks, now_ns=time.monotonic_ns())
        except (RostraError, OSError) as error:
            log.error("log_unreadable", space=source.id, error=str(error))
            return False

    def _replay(self, request: Request, space: str) -> replay.Plan | Response:
        source = self._source(space)
        if source is None or source.life is None:
            return live.UNKNOWN
        if source.recording is None:
            return replay.absent(source.life.state)
        return replay.answer(*source.recording, request)

    def _transfer(self, talk: Conversation, plan: replay.Plan, source: Source | None) -> None:
        """Send the head, and have the files follow when nothing else wants the time."""
        assert source is not None
        if plan.spans and self._transfers >= self._settings.transfers_max:
            self._counters.add("refused")
            self._say(talk, http.encode(replay.BUSY, self._http_date(), keep_alive=talk.keep))
            return
        if plan.spans:
            head, body = source.open_recording()
            parts = [(body if span.of_log else head, span.start, span.end) for span in plan.spans]
            talk.transfer = Transfer(parts, (head, body))
            self._transfers += 1
        self._say(talk, http.head_of(plan.status, plan.headers, self._http_date(), keep_alive=talk.keep))

    def _drop_transfer(self, talk: Conversation) -> None:
        if talk.transfer is not None:
            talk.transfer.close()
            talk.transfer = None
            self._transfers -= 1

    def _http_date(self) -> str:
        second = int(time.time())
        if second != self._date_s:
            self._date, self._date_s = formatdate(second, usegmt=True), second
        return self._date

    def _close(self) -> None:
        if self._listening:
            self._epoll.unregister(self._listener)
        self._crowd.close()
        for talk in list(self._talks.values()):
            self._hang_up(talk)
        for source in self._sources.values():
            source.close()
        self._epoll.close()


def run(
    data: Path,
    shared: Path,
    listener: socket.socket,
    counters: Counters,
    settings: Settings,
    admits: Admits | None = None,
) -> None:
    """Serve the audience on `listener` until SIGTERM; with `admits`, only those whose address it admits."""
    worker = Worker(data, shared, listener, counters, settings, admits)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()
