"""One request to an audience's server, over a plain or a TLS socket, with the time at which each byte came."""

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from rostra.ear.http import Head, Response
from rostra.kernel.errors import OperatorError, PeerError, RostraError, Unavailable

CONNECT_S_MAX: Final = 10.0
HEAD_S_MAX: Final = 10.0
STALL_S_MAX: Final = 15.0
"""No byte for as long as 23 fragments last: the connection is dead, whatever the kernel still believes."""

REDIRECTS_MAX: Final = 5
ERROR_BYTES_MAX: Final = 64 * 1024


class NotYet(Unavailable):
    """The server asks us to come back in `retry_s` seconds."""

    def __init__(self, sentence: str, retry_s: float) -> None:
        super().__init__("listen.not_yet", sentence, f"Come back in {retry_s:.0f} s, or wait with --wait.")
        self.retry_s = retry_s


class Broken(Exception):
    """The connection ended before the body did."""


class Connection:
    """A GET whose answer is 200. `began_ns` is the monotonic clock before the address was looked up."""

    def __init__(self, url: str) -> None:
        self.began_ns = time.monotonic_ns()
        for _ in range(REDIRECTS_MAX):
            self._socket = _connect(urlsplit(url))
            self._response = Response()
            self._early = b""
            try:
                head = self._request(url)
                if head.status == 200:
                    self.head = head
                    return
                location = head.fields.get("location") if head.status in (301, 302, 303, 307, 308) else None
                if location is None:
                    raise _refusal(url, head, self.document())
            except RostraError:
                self.close()
                raise
            self.close()
            url = urljoin(url, location)
        raise PeerError("listen.redirects", "The server sends us round in circles.", "Check the address.")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    @property
    def ended(self) -> bool:
        """Whether the whole answer came."""
        return self._response.ended

    def _request(self, url: str) -> Head:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = (
            f"GET {target} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "User-Agent: rostra-listen",
            "Accept: */*",
        )
        try:
            self._socket.sendall("\r\n".join((*lines, "", "")).encode())
        except (OSError, UnicodeError):
            raise _no_answer(parts) from None
        deadline = time.monotonic() + HEAD_S_MAX
        while self._response.head is None:
            try:
                data = self._receive(deadline)
            except Broken:
                data = None
            if not data:
                raise _no_answer(parts)
            self._early += self._response.feed(data)
        return self._response.head

    def _receive(self, deadline: float) -> bytes | None:
        """What the socket has; None when `deadline` passed first. Raises Broken."""
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        self._socket.settimeout(left)
        try:
            return self._socket.recv(65_536)
        except TimeoutError:
            return None
        except OSError:  # reset, or an unclean end of TLS
            raise Broken from None

    def body(self, deadline: float | None = None) -> Iterator[tuple[bytes, int]]:
        """(bytes, wall-clock ns at which they came), until the answer is whole or `deadline` (monotonic s) passed.

        Raises Broken, also when nothing comes for `STALL_S_MAX`; PeerError `http.malformed`.
        """
        if self._early:
            yield self._early, time.time_ns()
        while not self._response.ended:
            stalled = time.monotonic() + STALL_S_MAX
            data = self._receive(stalled if deadline is None else min(stalled, deadline))
            arrived_ns = time.time_ns()
            if data is None:
                if deadline is not None and time.monotonic() >= deadline:
                    return
                raise Broken
            if not data:
                if not self._response.close():
                    raise Broken
                return
            if body := self._response.feed(data):
                yield body, arrived_ns

    def document(self) -> dict[str, Any]:
        """The JSON object in a small body, such as a problem document (RFC 9457); empty when there is none."""
        text = bytearray()
        with contextlib.suppress(Broken, PeerError):
            for data, _ in self.body(time.monotonic() + HEAD_S_MAX):
                text += data
                if len(text) > ERROR_BYTES_MAX:
                    break
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(text)
            if isinstance(document, dict):
                return document
        return {}


def fetch_json(url: str) -> dict[str, Any]:
    """A small JSON object, such as `state.json`. Raises RostraError."""
    connection = Connection(url)
    try:
        return connection.document()
    finally:
        connection.close()


def _connect(parts: SplitResult) -> socket.socket:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise PeerError(
            "listen.address",
            f"“{parts.geturl()}” is not an address that can be listened to.",
            "Write it as http://localhost:8001/s/<id>.",
        )
    try:
        plain = socket.create_connection((host, port or (443 if parts.scheme == "https" else 80)), CONNECT_S_MAX)
    except socket.gaierror:
        raise Unavailable("listen.no_host", f"There is no machine named {host}.", "Check the address.") from None
    except (OSError, UnicodeError):
        raise _no_answer(parts) from None
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain if parts.scheme == "http" else _secure(plain, host)


def _secure(plain: socket.socket, host: str) -> socket.socket:
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise OperatorError(
            "listen.certificate",
            f"The certificate of {host} is not valid: {error.verify_message}.",
            "Renew it, or name its issuer in SSL_CERT_FILE.",
        ) from None
    except OSError:
        plain.close()
        raise Unavailable("listen.tls", f"{host} does not speak TLS there.", "Try http:// instead.") from None


def _no_answer(parts: SplitResult) -> Unavailable:
    return Unavailable("listen.no_answer", f"Nothing answers at {parts.netloc}.", "Is Rostra running there?")


def _refusal(url: str, head: Head, problem: dict[str, Any]) -> RostraError:
    """What a status other than 200 means for whoever wants to listen."""
    said = str(problem.get("detail") or problem.get("title") or "")[:300]
    if head.status == 404:
        return PeerError("listen.unknown", said or f"There is nothing at {url}.", "Check the link.")
    if head.status == 410:
        return Unavailable(
            "listen.over", said or "The Space has ended.", "Its page has the recording, if there is one."
        )
    if head.status in (429, 503):
        return NotYet(said or "The Space cannot be heard yet.", _retry_s(head))
    return Unavailable(
        "listen.refused", said or f"The server answers {head.status}.", "Try again, or tell the operator."
    )


def _retry_s(head: Head) -> float:
    text = head.fields.get("retry-after", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() else 5.0
