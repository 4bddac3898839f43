"""Command sockets (Unix, stream): a blocking caller, and a server that a loop of any kind can poll."""

import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rostra.kernel.errors import OperatorError, PeerError, RostraError, Unavailable
from rostra.space.commands import (
    Decoder,
    Request,
    decode_request,
    encode_error,
    encode_ok,
    encode_request,
    result,
)


def _through_folder(path: Path, act: Callable[[str], None]) -> None:
    """Unix addresses hold 107 bytes, data directories may be longer: name the socket by its folder's descriptor."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, non-blocking; one left by a dead process is replaced."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    os.fchmod(sock.fileno(), 0o600)  # the mode it will be made with: nobody else may connect for a moment either
    _through_folder(path, sock.bind)
    sock.listen(16)
    return sock


def call(path: Path, verb: str, *, deadline_ms: int = 2000, **args: Any) -> dict[str, Any]:
    """Ask the process behind `path` and wait for its answer.

    Raises:
        Unavailable: `process.away` when nobody answers within `deadline_ms`.
        RostraError: whatever the process itself raised.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(deadline_ms / 1000)
        try:
            _through_folder(path, sock.connect)
            sock.sendall(encode_request(Request(verb, 1, deadline_ms, args)))
            decoder = Decoder()
            while data := sock.recv(65_536):
                for reply in decoder.feed(data):
                    return result(reply)
        except OSError:
            pass
    raise Unavailable(
        "process.away",
        f"The {path.stem} of this Space does not answer.",
        "It runs from a minute before the doors open until the end; if that is now, try again in a second.",
    )


class Server:
    """Answers commands between the turns of a loop. `poll` never waits longer than it is told."""

    def __init__(self, path: Path, handle: Callable[[Request], dict[str, Any]]) -> None:
        self._listener = listen(path)
        self._handle = handle
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def poll(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for commands and answer those that are there."""
        for key, _ in self._selector.select(max(0.0, timeout_s)):
            if key.fileobj is self._listener:
                with contextlib.suppress(BlockingIOError):
                    connection, _ = self._listener.accept()
                    connection.setblocking(False)
                    self._selector.register(connection, selectors.EVENT_READ, Decoder())
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._serve(key.fileobj, key.data)

    def _serve(self, connection: socket.socket, decoder: Decoder) -> None:
        try:
            data = connection.recv(65_536)
            for message in decoder.feed(data):
                connection.sendall(answer(message, self._handle))
        except (OSError, PeerError):
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()

    def close(self) -> None:
        """Hang up on everybody and listen no more."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def answer(message: dict[str, Any], handle: Callable[[Request], dict[str, Any]]) -> bytes:
    """The reply to one decoded message."""
    try:
        request = decode_request(message)
        return encode_ok(request.id, handle(request))
    except RostraError as error:
        return encode_error(message.get("id", 0), error)
    except OSError as error:
        fault = OperatorError("disk.failed", f"A file could not be used: {error.strerror}.", "Look at the disk.")
        return encode_error(message.get("id", 0), fault)
