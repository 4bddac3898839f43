"""Streams that Rostra did not write, and a server that says exactly what a test tells it to."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rostra.ear.parse import Box, Boxes
from support.voices import run_program

CMAF = "+empty_moov+default_base_moof+cmaf"


def ffmpeg_stream(path: Path, codec: str, *options: str, seconds: float = 5.0, flags: str = CMAF) -> bytes:
    """A fragmented MP4 of a tone, by FFmpeg: fragments of about 0.64 s. `codec` is `libopus` or `aac`."""
    tone = ["-f", "lavfi", "-i", f"sine=f=440:sample_rate=48000:d={seconds}"]
    cut = ["-f", "mp4", "-movflags", flags, "-frag_duration", "640000"]
    run_program("ffmpeg", "-v", "error", "-y", *tone, "-c:a", codec, *options, *cut, str(path), data=b"")
    return path.read_bytes()


def boxes(stream: bytes) -> list[Box]:
    return list(Boxes().feed(stream))


def pieces(stream: bytes) -> tuple[bytes, list[bytes]]:
    """An MP4 stream as (init segment, fragments)."""
    init, fragments = b"", []
    for box in boxes(stream):
        if box.kind in (b"ftyp", b"moov"):
            init += box.data
        elif box.kind == b"moof":
            fragments.append(box.data)
        elif box.kind == b"mdat":
            fragments[-1] += box.data
    return init, fragments


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


LIVE = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mp4\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

Answer = Callable[[bytes], bytes]
"""From the request's head to all that is sent before the connection is closed."""


class Scripted:
    """Answers the n-th connection with the n-th answer; `requests` are the heads that came."""

    def __init__(self, answers: Sequence[bytes | Answer], certificate: Path | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answers = answers
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self.requests: list[bytes] = []
        scheme = "http" if certificate is None else "https"
        self.base = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: nobody came
                return
            if self._tls is not None:
                try:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                except OSError:  # a client that does not trust us
                    connection.close()
                    continue
            with connection:
                head = b""
                while b"GET ".startswith(head[:4]) and b"\r\n\r\n" not in head and (data := connection.recv(4096)):
                    head += data
                self.requests.append(head)
                connection.sendall(answer if isinstance(answer, bytes) else answer(head))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def scripted(*answers: bytes | Answer, certificate: Path | None = None) -> Iterator[Scripted]:
    server = Scripted(answers, certificate)
    try:
        yield server
    finally:
        server.close()


def make_certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    signed = builder.add_extension(address, False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path
