"""Listening sockets."""

import errno
import socket

from rostra.kernel.errors import OperatorError


def claim(address: str, port: int) -> None:
    """Make sure that nobody listens on the port yet: SO_REUSEPORT alone would let two servers share it unnoticed.

    Raises OperatorError `port.in_use`, `port.forbidden` or `bind.unknown`.
    """
    with _socket(address) as probe:
        _bind(probe, address, port)


def listen(address: str, port: int, *, take: bool = True) -> socket.socket:
    """A listening socket that shares its port with its siblings; the kernel spreads the arrivals over them.

    Without `take` the port is only held: whoever comes is refused, until a process that gets the socket listens.
    """
    sock = _socket(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(sock, address, port)
    if take:
        sock.listen(4096)
    sock.setblocking(False)
    return sock


def listen_privately(count: int) -> list[socket.socket]:
    """Sockets on one port that only this machine reaches, of the kernel's choice.

    Each is bound by the port's number: one that was bound to port 0 loses it when it stops listening for a while.
    """
    with _socket("127.0.0.1") as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(first, "127.0.0.1", 0)
        port = first.getsockname()[1]
        return [listen("127.0.0.1", port) for _ in range(count)]


def _socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _bind(sock: socket.socket, address: str, port: int) -> None:
    try:
        sock.bind((address, port))
    except socket.gaierror:
        raise OperatorError(
            "bind.unknown",
            f"“{address}” is not an address.",
            "Use --bind 127.0.0.1, 0.0.0.0, or one of this machine's.",
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(
                "port.in_use", f"Port {port} is in use by another program.", "Stop it, or choose another port."
            ) from None
        if error.errno == errno.EACCES:
            raise OperatorError(
                "port.forbidden",
                f"Port {port} needs more rights than this user has.",
                "Choose a port above 1023, or let a terminator hold the low one.",
            ) from None
        raise OperatorError(
            "bind.unknown",
            f"{address} cannot be listened on: {error.strerror}.",
            "Use --bind with an address of this machine.",
        ) from None
