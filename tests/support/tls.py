"""A terminator in a thread of this process, before whatever listens on a port."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from rostra.kernel.io import memory
from rostra.kernel.shared import counters
from rostra.kernel.shared.counters import Counters
from rostra.tls.io.context import Served
from rostra.tls.io.terminator import Terminator
from rostra.tls.settings import Settings
from support.certificates import Authority
from support.server import free_port


class Front:
    """The terminator, and clients that trust it. `counters` are its counters, as others read them."""

    def __init__(self, folder: Path, upstream_port: int, settings: Settings | None = None) -> None:
        self.authority = Authority(folder / "authority")
        self.pem = folder / "tls.pem"
        self.authority.sign(self.pem, self.pem, "localhost")
        self.trusting = self.authority.trusting
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=4096)
        path = folder / "terminator.counters"
        own = Counters(memory.create(path, counters.SIZE), writer=True)
        self.counters = Counters(memory.attach(path))
        self.terminator = Terminator(
            Served(self.pem, None), self.listener, ("127.0.0.1", upstream_port), own, settings or Settings()
        )
        self._thread = threading.Thread(target=self.terminator.run)
        self._thread.start()

    def close(self) -> None:
        self.terminator.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.listener.close()

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def connect(self) -> ssl.SSLSocket:
        return self.trusting.wrap_socket(self.plain(), server_hostname="localhost")


@contextlib.contextmanager
def front(folder: Path, upstream_port: int, settings: Settings | None = None) -> Iterator[Front]:
    running = Front(folder, upstream_port, settings)
    try:
        yield running
    finally:
        running.close()
