"""A real `rostra serve` on free ports, its processes by name, and its API as a program would use it."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROSTRA = [sys.executable, "-m", "rostra.ops.cli"]


def wait_for(look: Callable[[], T], timeout_s: float = 20, what: str | Callable[[], str] = "") -> T:
    """What `look` returns once it is true; an AssertionError naming `what` (by then) after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout_s} s for {what() if callable(what) else what or look}")
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*arguments: str, timeout_s: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `rostra …` to its end."""
    return subprocess.run(
        [*ROSTRA, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, **options
    )


def in_seconds(seconds: float) -> str:
    """An instant so many seconds from now, as `--starts-at` takes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


class Problem(Exception):
    """An answer of 400 or above."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


class Space:
    """One Space through the API, with the owner's rights."""

    def __init__(self, server: "Server", created: dict[str, Any]) -> None:
        self.server = server
        self.id: str = created["id"]
        self.url: str = created["audience_url"]
        self.links: dict[str, str] = created["links"]
        self.folder = server.data / "spaces" / self.id

    def get(self, path: str = "") -> dict[str, Any]:
        return self.server.ask("GET", f"/api/v1/spaces/{self.id}{path}")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.server.ask("POST", f"/api/v1/spaces/{self.id}{path}", body)

    def command(self, verb: str, **more: Any) -> dict[str, Any]:
        return self.post("/commands", {"verb": verb, **more})

    @property
    def state(self) -> str:
        return str(self.public()["state"])

    def public(self) -> dict[str, Any]:
        """state.json as the audience gets it."""
        with self.server.open(f"{self.url}/state.json", 5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def first_on_air_ns(self) -> int:
        return int(next(entry for entry in self.journal() if entry["state"] == "on_air")["since_ns"])

    def journal(self) -> list[dict[str, Any]]:
        path = self.folder / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def await_state(self, state: str, timeout_s: float = 30) -> None:
        def seen() -> str:
            went = [(entry["state"], entry.get("cause")) for entry in self.journal()]
            return f"the Space to be {state}; it went {went}, with {self.seats()}"

        wait_for(lambda: (entries := self.journal()) and entries[-1]["state"] == state, timeout_s, seen)

    def seats(self) -> dict[str, dict[str, Any]]:
        return {seat["name"]: seat for seat in self.get("/stage")["seats"]}

    def await_seats(self, *names: str, timeout_s: float = 30) -> None:
        wait_for(
            lambda: {name for name, seat in self.seats().items() if seat["connected"]} >= set(names),
            timeout_s,
            f"{names} on the stage",
        )

    def arm(self, *names: str) -> None:
        for name in names:
            self.post(f"/seats/{self.seats()[name]['id']}", {"armed": True})


class Server:
    """`rostra serve`; `pid(job)` is the process that does a job now, by the supervisor's own log.

    `options` are more of its options. With `trust`, both ports speak TLS, and that file's authority signed for them.
    Without `ready` nobody waits until it answers, and `owner_link` is not known.
    """

    def __init__(
        self, data: Path, *options: str, trust: Path | None = None, ready: bool = True, **environment: str
    ) -> None:
        self.data = data
        self.scheme = "http" if trust is None else "https"
        self._tls = None if trust is None else ssl.create_default_context(cafile=str(trust))
        self.studio_port, self.audience_port = free_port(), free_port()
        self.log_path = data / "serve.log"
        data.mkdir(parents=True, exist_ok=True)
        self._log = self.log_path.open("ab")
        ports = ["--studio-port", str(self.studio_port), "--audience-port", str(self.audience_port)]
        self.process = subprocess.Popen(
            [*ROSTRA, "serve", "--data", str(data), *ports, "--workers", "2", *options],
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            env=os.environ | environment,
        )
        if not ready:
            return
        try:
            wait_for(lambda: self._ready(self.studio_port) and self._ready(self.audience_port), 60, "the server")
        except BaseException:
            self.close()
            raise
        self.owner_link = re.search(r"https?://\S+/#\S+", self.log_path.read_text())[0]  # type: ignore[index]
        self.token = self.owner_link.partition("#")[2]

    def _ready(self, port: int) -> bool:
        assert self.process.poll() is None, self.log_path.read_text()
        try:
            with self.open(f"{self.scheme}://localhost:{port}/readyz", 5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def open(self, asked: str | urllib.request.Request, timeout_s: float) -> Any:
        """A request to one of the two ports, whichever way they are spoken to."""
        return urllib.request.urlopen(asked, timeout=timeout_s, context=self._tls)

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(40)
        self._log.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, token: str | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.scheme}://localhost:{self.studio_port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with self.open(request, 15) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                raise Problem(refused.code, json.load(refused)) from None

    def create(self, *, starts_in_s: float, doors_s: float, **more: Any) -> Space:
        """Announce a Space through the command line, as an operator's script would."""
        options = [f"--{key.replace('_', '-')}={value}" for key, value in more.items()]
        done = run(
            *["space", "create", "--data", str(self.data), "--title", "A test of everything", "--json"],
            *["--starts-at", in_seconds(starts_in_s), "--doors", f"{doors_s}s", *options],
        )
        assert done.returncode == 0, done.stderr
        return Space(self, json.loads(done.stdout.splitlines()[-1]))

    def _events(self) -> Iterator[dict[str, Any]]:
        for line in self.log_path.read_text().splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def starts(self, job: str) -> list[int]:
        """The pids that did `job`, in the order they were started."""
        return [e["pid"] for e in self._events() if e["event"] == "started" and e.get("job") == job]

    def pid(self, job: str) -> int:
        return self.starts(job)[-1]

    def kill(self, job: str, number: signal.Signals = signal.SIGKILL) -> float:
        """Send a signal to the process that does `job`; returns the monotonic time of it."""
        pid, at = self.pid(job), time.monotonic()
        os.kill(pid, number)
        return at

    def await_restart(self, job: str, before: int, timeout_s: float = 20) -> float:
        """Wait until `job` was started more often than `before` times; returns the monotonic time."""
        wait_for(lambda: len(self.starts(job)) > before, timeout_s, f"a new {job}")
        return time.monotonic()


@contextmanager
def serving(
    data: Path, *options: str, trust: Path | None = None, ready: bool = True, **environment: str
) -> Iterator[Server]:
    server = Server(data, *options, trust=trust, ready=ready, **environment)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def speaking(space: Space, file: Path, name: str, role: str = "speaker") -> Iterator[subprocess.Popen[bytes]]:
    """A voice on the stage, from a file, by `rostra speak`."""
    child = subprocess.Popen(
        [*ROSTRA, "speak", space.links[role], str(file), "--name", name, "--seat", name, "--loop"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)
