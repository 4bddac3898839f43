"""The certifier: obtains the certificate, renews it, and answers on port 80. The only writer of `<data>/tls`.

An order runs on a thread of its own, as the library blocks; the loop answers the authority's questions meanwhile.
"""

import asyncio
import contextlib
import json
import queue
import signal
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httptools
import structlog

from rostra.kernel.errors import OperatorError
from rostra.kernel.io.files import make_private, replace
from rostra.kernel.io.system import now
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.kernel.units import SECOND_NS
from rostra.tls import challenge
from rostra.tls.io import authority, context
from rostra.tls.renewal import Attempts, Certificate, Fault, Whose, order_at_s

log = structlog.get_logger()

TURN_S: Final = 0.25
HEAD_BYTES_MAX: Final = 8192
HEAD_S_MAX: Final = 5.0
CONVERSATIONS_MAX: Final = 256
"""Port 80 sends people on, and answers an authority a dozen times in three months."""

STATUS: Final = "certifier.json"
"""In shared memory: how the attempts went. It outlives this process, so that one that dies again and again does not ask
the authority each time; and not the supervisor, so that whoever restarts Rostra after mending something is not made to
wait."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be had: from whom, for whom, in which file. `home` is where port 80 sends people."""

    directory: str
    email: str
    names: tuple[str, ...]
    certificate: Path
    home: str


class Certifier:
    """The loop. `run` returns after `stop`."""

    def __init__(self, wanted: Wanted, shared: Path, listener: socket.socket, counters: Counters) -> None:
        self._wanted = wanted
        self._status = shared / STATUS
        self._listener = listener
        self._counters = counters
        self._attempts = _recall(self._status)
        self._certificate = self._read()
        self._answers: dict[str, str] = {}
        self._outcome: queue.SimpleQueue[bytes | Fault] = queue.SimpleQueue()
        self._ordering = False
        self._conversations = 0
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        server = await asyncio.start_server(self._converse, sock=self._listener, limit=HEAD_BYTES_MAX)
        while not self._stopping:
            self._counters.set(HEARTBEAT, now().mono_ns)
            self._turn(now().wall_ns / SECOND_NS)
            await asyncio.sleep(TURN_S)
        server.close()

    # the certificate

    def _turn(self, now_s: float) -> None:
        if self._ordering:
            with contextlib.suppress(queue.Empty):
                self._conclude(self._outcome.get_nowait(), now_s)
        elif now_s >= order_at_s(self._certificate, self._wanted.names, self._attempts):
            self._ordering = True
            self._counters.add("orders")
            log.info("ordering", names=self._wanted.names, authority=self._wanted.directory)
            threading.Thread(target=self._order, daemon=True).start()  # whoever stops us need not wait for it

    def _order(self) -> None:
        """On a thread. Whatever happens becomes an outcome."""
        wanted = self._wanted
        try:
            folder = make_private(wanted.certificate.parent)
            account = folder / "accounts.json"
            pem = authority.order(wanted.directory, wanted.email, wanted.names, account, self._publish)
            self._outcome.put(pem)
        except authority.Failed as failed:
            self._outcome.put(failed.fault)
        except OperatorError as error:
            self._outcome.put(Fault(Whose.MACHINE, error.sentence, error.hint))

    def _publish(self, answers: dict[str, str]) -> None:
        self._answers = answers

    def _conclude(self, outcome: bytes | Fault, now_s: float) -> None:
        self._ordering = False
        self._answers = {}
        fault = self._keep(outcome, now_s) if isinstance(outcome, bytes) else outcome
        if fault is None:
            self._attempts = Attempts()
            self._counters.add("certificates")
            assert self._certificate is not None
            self._counters.set("certificate_ends_s", round(self._certificate.ends_s))
            log.info("certificate_obtained", names=self._wanted.names, ends_s=self._certificate.ends_s)
        else:
            self._attempts = self._attempts.failed(now_s, fault.retry_after_s)
            self._counters.add("failures")
            log.error(
                "certificate_refused",
                whose=fault.whose,
                reason=fault.sentence,
                hint=fault.hint,
                again_in_s=round(self._attempts.not_before_s - now_s),
                served_until_s=self._certificate.ends_s if self._certificate else None,
            )
        told = {"v": 1} | asdict(self._attempts) | {"fault": None if fault is None else asdict(fault)}
        with contextlib.suppress(OSError):
            replace(self._status, json.dumps(told).encode())

    def _keep(self, pem: bytes, now_s: float) -> Fault | None:
        """Put a new certificate in the place of the old one, if it is any good."""
        path = self._wanted.certificate
        beside = path.with_suffix(".new")
        try:
            replace(beside, pem, sync=True)
            context.make_context(beside, None)
            found = context.read(beside)
            if not found.usable(self._wanted.names, now_s):
                return Fault(
                    Whose.AUTHORITY,
                    "What the authority signed is not what was asked for.",
                    "Look at this machine’s clock.",
                )
            replace(path, pem, sync=True)
            self._certificate = found
        except OperatorError as error:
            return Fault(Whose.AUTHORITY, error.sentence, "Nothing to do: asked again.")
        except OSError as error:
            return authority.fault_of(error, self._wanted.names, self._wanted.directory)
        finally:
            beside.unlink(missing_ok=True)
        return None

    def _read(self) -> Certificate | None:
        try:
            return context.read(self._wanted.certificate)
        except OperatorError:
            return None

    # port 80

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        if self._conversations >= CONVERSATIONS_MAX:
            writer.close()
            return
        self._conversations += 1
        try:
            async with asyncio.timeout(HEAD_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, httptools.HttpParserError):
            self._counters.add("malformed")
        finally:
            self._conversations -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        self._counters.add("requests")
        asked = _Asked()
        parser = httptools.HttpRequestParser(asked)
        parser.feed_data(head)
        certified = self._certificate is not None and self._certificate.usable(self._wanted.names, time.time())
        method = parser.get_method().decode("ascii")
        return challenge.answer(method, asked.target, self._answers, self._wanted.home, certified=certified)


class _Asked:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.target = ""

    def on_url(self, url: bytes) -> None:
        self.target += url.decode("ascii", "replace")


def _recall(status: Path) -> Attempts:
    try:
        told = json.loads(status.read_bytes())
        return Attempts(int(told["failures"]), float(told["not_before_s"]))
    except (OSError, ValueError, KeyError):
        return Attempts()


def run(wanted: Wanted, shared: Path, listener: socket.socket, counters: Counters) -> None:
    """See to the certificate until SIGTERM."""
    certifier = Certifier(wanted, shared, listener, counters)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: certifier.stop())
    asyncio.run(certifier.run())
