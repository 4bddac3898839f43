"""Many listeners who do nothing but take what comes: one epoll loop in a process of its own.

python bench/crowd.py URL COUNT        holds COUNT push connections until it is terminated; a line a second on stdout

Over https every byte is decrypted, which costs this process far more than discarding it does; nobody is verified.
"""

import json
import resource
import select
import signal
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

JOINS_A_TURN = 50


class Crowd:
    def __init__(self, url: str, count: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = (socket.gethostbyname(parts.hostname), parts.port or 80)
        self._tls = ssl._create_unverified_context() if parts.scheme == "https" else None
        self._request = f"GET {parts.path}/live HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._missing = count
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._nothing = bytearray(1 << 20)
        self.bytes = 0
        self.lost = 0

    def _join(self) -> None:
        for _ in range(min(JOINS_A_TURN, self._missing)):
            sock = socket.create_connection(self._address)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock)
            sock.sendall(self._request)
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN)
            self._missing -= 1

    def turn(self) -> None:
        self._join()
        for descriptor, _ in self._epoll.poll(0.05):
            sock = self._sockets[descriptor]
            try:
                taken = self._take(sock)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                taken = 0
            self.bytes += taken
            if taken == 0:
                self.lost += 1
                self._epoll.unregister(sock)
                self._sockets.pop(descriptor).close()

    def _take(self, sock: socket.socket) -> int:
        if self._tls is not None:
            return sock.recv_into(self._nothing)
        return sock.recv_into(self._nothing, 0, socket.MSG_TRUNC)  # Linux: discarded in the kernel, not copied

    def run(self) -> None:
        told = time.monotonic()
        while True:
            self.turn()
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                cpu = resource.getrusage(resource.RUSAGE_SELF)
                state = {"listening": len(self._sockets), "lost": self.lost, "bytes": self.bytes}
                print(json.dumps(state | {"cpu_s": cpu.ru_utime + cpu.ru_stime}), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Crowd(sys.argv[1], int(sys.argv[2])).run()
