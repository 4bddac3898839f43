"""Pebble, Let's Encrypt's authority for tests, and its name server, on free ports."""

import json
import os
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.browsers import program
from support.certificates import Authority
from support.server import free_port, wait_for


@dataclass(frozen=True, slots=True)
class Pebble:
    """`directory` is its address, `trust` the certificate that its own HTTPS has, `questions` the port it asks at."""

    directory: str
    trust: Path
    questions: int
    management: int
    names: int

    def roots(self, into: Path) -> Path:
        """The root of what it signs; another one each time that Pebble starts."""
        with urllib.request.urlopen(f"{self._managed}/roots/0", context=self._context(), timeout=10) as answer:
            into.write_bytes(answer.read())
        return into

    @property
    def _managed(self) -> str:
        return f"https://localhost:{self.management}"

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.trust))

    def point(self, name: str, *addresses: str) -> None:
        """Let `name` have these addresses and no others."""
        for verb, told in (("clear-a", {}), ("add-a", {"addresses": addresses})):
            body = json.dumps({"host": f"{name}."} | told).encode()
            urllib.request.urlopen(f"http://127.0.0.1:{self.names}/{verb}", body, timeout=10).close()


@contextmanager
def pebble(folder: Path, *, life_s: int) -> Iterator[Pebble]:
    """An authority whose certificates live for `life_s` seconds, and that looks every name up at 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    own = Authority(folder)
    own.sign(folder / "cert.pem", folder / "key.pem", "localhost")
    listen, management, questions, names, dns = (free_port() for _ in range(5))
    config = {
        "listenAddress": f"127.0.0.1:{listen}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "cert.pem"),
        "privateKey": str(folder / "key.pem"),
        "httpPort": questions,
        "tlsPort": free_port(),
        "certificateValidityPeriod": life_s,
    }
    (folder / "config.json").write_text(json.dumps({"pebble": config}))
    resolver = ["-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{names}", "-defaultIPv6", ""]
    resolver += ["-http01", "", "-https01", "", "-tlsalpn01", ""]
    authority = ["-config", str(folder / "config.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    with ExitStack() as running:
        running.enter_context(_running(folder, "pebble-challtestsrv", *resolver))
        running.enter_context(_running(folder, "pebble", *authority))
        for port in (listen, management, names):
            wait_for(lambda port=port: _answers(port), 30, "Pebble")  # type: ignore[misc]
        yield Pebble(f"https://localhost:{listen}/dir", own.file, questions, management, names)


@contextmanager
def _running(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [program(name), *arguments],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True
