"""A Space whose log grows when a test says so, a worker that serves it, and listeners that check what they get."""

import contextlib
import json
import selectors
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rostra.audience.io.epoll import Worker
from rostra.audience.settings import Settings
from rostra.kernel.clock import grid_anchor
from rostra.kernel.io import memory, system
from rostra.kernel.shared import counters
from rostra.kernel.shared.counters import Counters
from rostra.kernel.shared.index import Flag
from rostra.kernel.units import FRAGMENT_FRAMES, FRAGMENT_NS
from rostra.log.io.files import Writer
from rostra.media import fragment as cmaf
from rostra.media.boxes import walk
from rostra.media.codec import CODECS, Codec
from rostra.programme.writer import Packager
from rostra.space import lifecycle
from rostra.space.io.folder import Folder, Journal
from rostra.space.lifecycle import Cause, Event, State
from rostra.space.notices import SCHEME
from rostra.space.spec import Recording, Spec
from support.encode import encode, tone
from support.server import free_port


@cache
def packets(codec: Codec) -> list[bytes]:
    """A few fragments' worth of a tone; 20 s of it sound like any other."""
    return encode(codec, tone(codec.packet_samples * codec.packets_per_fragment * 8))


class Programme:
    """A Space that is live, and the writer of its log."""

    def __init__(self, data: Path, space: str = "talk", state: State = State.ON_AIR, **spec: Any) -> None:
        self.shared = memory.shared_folder(data)
        self.folder = Folder(data, self.shared, space).make()
        now = system.now()
        self.spec = Spec(id=space, title="A talk", starts_at_ns=now.wall_ns, doors_s=60, **spec)
        self.folder.write_spec(self.spec)
        self.life = replace(lifecycle.begin(self.spec, now.wall_ns), state=state, cause=Cause.TIME)
        self.say(state)
        self._anchor = grid_anchor(now)
        self._open()

    def _open(self) -> None:
        self._closed = False
        inits = {codec.name: cmaf.init_segment(codec) for codec in CODECS}
        keep = self.spec.recording is not Recording.OFF
        self.log = Writer.open(self.folder.programmes / "floor", self._anchor, inits, keep=keep)
        self._packager = Packager(self.log.due)
        self._frame = self._packager.first_frame

    @property
    def number(self) -> int:
        """The fragment that comes next."""
        return self._frame // FRAGMENT_FRAMES

    def say(self, state: State, event: Event | None = None) -> None:
        """Write the state of the Space to its journal."""
        self.life = replace(self.life, state=state, since_ns=system.now().wall_ns)
        journal = Journal(self.folder)
        journal.append(self.life, event)
        journal.close()

    def fragments(self, count: int = 1, *, lose: bool = False) -> None:
        """Append fragments to the log, of all renditions; or lose them, as a full queue would."""
        for _ in range(count):
            number = self.number
            for frame in range(self._frame, self._frame + FRAGMENT_FRAMES):
                self._packager.frame(frame, Flag.ON_AIR, self._anchor.wall_ns + number * FRAGMENT_NS)
            self._frame += FRAGMENT_FRAMES
            for codec in CODECS:
                stock = packets(codec)
                for at in range(codec.packets_per_fragment):
                    packet = stock[(number * codec.packets_per_fragment + at) % len(stock)]
                    sealed = self._packager.packet(codec.name, packet)
                    if sealed is not None and not lose:
                        self.log.append(sealed)
        assert self.log.flush()

    def close(self) -> None:
        """The programme dies, unless it ended."""
        if not self._closed:
            self._closed = True
            self.log.close()

    def restart(self) -> None:
        """The programme died; its successor goes on."""
        self.close()
        self._open()

    def end(self, state: State = State.ENDED) -> None:
        self.say(state, Event.END)
        self._closed = True
        self.log.finish()


class Edge:
    """A worker in a thread of this process, on a free port. `counters` are its counters, as the keeper reads them."""

    def __init__(self, data: Path, settings: Settings | None = None) -> None:
        shared = memory.shared_folder(data)
        self.port = free_port()  # bound by its number, as ops does: an ephemeral port is lost by shutdown(2)
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=4096)
        path = shared / "worker-0.counters"
        own = Counters(memory.create(path, counters.SIZE), writer=True)
        self.worker = Worker(data, shared, self.listener, own, settings or Settings())
        self.counters = Counters(memory.attach(path))
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()

    def close(self) -> None:
        self.worker.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.listener.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, path: str, method: str = "GET", *, version: str = "1.1", **headers: str) -> "Answer":
        """One request on a connection of its own; underscores in header names stand for hyphens."""
        with self.connect() as sock:
            sock.sendall(request(path, method, version, **headers))
            return answer(sock, bodyless=method == "HEAD")


@contextlib.contextmanager
def shared_memory(data: Path) -> Iterator[Path]:
    """The shared folder of a data directory, removed afterwards."""
    shared = memory.shared_folder(data)
    try:
        yield shared
    finally:
        shutil.rmtree(shared)


@contextlib.contextmanager
def edge(data: Path, settings: Settings | None = None) -> Iterator[Edge]:
    served = Edge(data, settings)
    try:
        yield served
    finally:
        served.close()


def request(path: str, method: str = "GET", version: str = "1.1", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode()


class Answer:
    """A response: status, headers in lower case, body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(sock: socket.socket, *, bodyless: bool = False) -> Answer:
    """Read one response that says its length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65_536)
        assert more, f"closed after {data!r}"
        data += more
    status, headers, body = split_head(data)
    length = 0 if bodyless or status in (204, 304) else int(headers["content-length"])
    while len(body) < length:
        more = sock.recv(65_536)
        assert more, "closed in mid-body"
        body += more
    return Answer(status, headers, body)


def split_head(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers, rest


class Heard:
    """Takes a push response as it comes and checks its framing: a head, chunks, and in each a whole number of boxes."""

    def __init__(self) -> None:
        self._pending = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.numbers: list[int] = []
        self.notices: list[dict[str, Any]] = []
        self.body = b""
        self.clean = False

    def feed(self, data: bytes) -> None:
        assert not self.clean, "bytes after the end"
        self._pending += data
        if not self.status and b"\r\n\r\n" in self._pending:
            self.status, self.headers, self._pending = split_head(self._pending)
        while self.status and b"\r\n" in self._pending:
            size_text, _, rest = self._pending.partition(b"\r\n")
            size = int(size_text, 16)
            if len(rest) < size + 2:
                return
            chunk, self._pending = rest[:size], rest[size + 2 :]
            assert rest[size : size + 2] == b"\r\n"
            self.clean = size == 0
            self._chunk(chunk)

    def _chunk(self, chunk: bytes) -> None:
        self.body += chunk
        numbers, notices = boxes(chunk)
        for told in notices:
            if told["type"] == "gap":
                assert self.numbers
                assert told["from"] == self.numbers[-1] + 1
                self.numbers.append(told["to"] - 1)
        for number in numbers:
            assert not self.numbers or number == self.numbers[-1] + 1, f"{number} after {self.numbers[-1]}"
        self.numbers += numbers
        self.notices += notices

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [notice for notice in self.notices if notice["type"] == kind]


def boxes(data: bytes) -> tuple[list[int], list[dict[str, Any]]]:
    """The numbers of the fragments in `data`, and the notices."""
    numbers, notices = [], []
    for kind, start, end in walk(data):
        if kind == b"prft":
            (media_time,) = struct.unpack_from(">Q", data, start + 16)
            numbers.append(media_time // 30_720)
        elif kind == b"emsg":
            scheme, _, message = data[start + 24 : end].split(b"\0", 2)
            assert scheme.decode() == SCHEME
            notices.append(json.loads(message))
    return numbers, notices


class Crowd:
    """Many listeners, read together. `heard[i]` is what listener i got; `raw` keeps the bytes instead of parsing."""

    def __init__(self, port: int, count: int, path: str = "/s/talk/live") -> None:
        self._selector = selectors.DefaultSelector()
        self.heard = [Heard() for _ in range(count)]
        self.sockets: list[socket.socket] = []
        self.broken = 0
        for heard in self.heard:
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            sock.sendall(request(path))
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, heard)
            self.sockets.append(sock)

    def listen(self, until: Any, timeout_s: float = 20) -> None:
        """Read until `until()` holds."""
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, "the crowd waited in vain"
            for key, _ in self._selector.select(0.05):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                try:
                    data = sock.recv(262_144)
                except ConnectionResetError:
                    data = b""
                if data:
                    key.data.feed(data)
                else:
                    self.broken += not key.data.clean
                    self._selector.unregister(sock)

    def await_fragment(self, number: int) -> None:
        """Until everybody has fragment `number`."""
        self.listen(lambda: all(heard.numbers and heard.numbers[-1] >= number for heard in self.heard))

    def close(self) -> None:
        self._selector.close()
        for sock in self.sockets:
            sock.close()


@contextlib.contextmanager
def crowd(port: int, count: int, path: str = "/s/talk/live") -> Iterator[Crowd]:
    listeners = Crowd(port, count, path)
    try:
        yield listeners
    finally:
        listeners.close()
