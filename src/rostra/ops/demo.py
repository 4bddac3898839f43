"""One whole Space by itself: `rostra demo`.

It does what people would do, through the same doors: a server is started, a Space announced, two voices join the stage
over WebRTC, the owner arms them, the talk goes on air at its instant, a stranger listens throughout, the owner ends it,
the recording is fetched. What it prints is measured by the stranger, not by the server.
"""

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final

import av
from rich.console import Console

from rostra.ear.io import client
from rostra.ear.measure import Report
from rostra.kernel.errors import Unavailable
from rostra.kernel.io import memory
from rostra.ops.config import load
from rostra.studio.io.desk import Desk

VOICES: Final = (("Voice A", "ada.ogg"), ("Voice B", "ben.ogg"))
DOORS_S: Final = 20.0
"""Hold music before the talk: enough to hear it, and for two browsers' worth of WebRTC to connect on a slow machine."""
TALK_S: Final = 60.0
AFTER_S: Final = 8.0
"""Of a given length, kept for the end and the recording."""


def run(
    data: Path | None,
    length_s: float | None,
    studio_port: int,
    audience_port: int,
    progress: Console,
    *,
    linger: bool,
) -> dict[str, Any]:
    """Hold the Space and return the fields of `demo --json`. With `linger`, stay until Ctrl-C so that people listen.

    `length_s` bounds the whole, from the start of the server to the replay; None means a talk of a minute.
    """
    folder = Path(tempfile.mkdtemp(prefix="rostra-demo-")) if data is None else data.expanduser().absolute()
    talk_s = TALK_S if length_s is None else max(5.0, length_s - DOORS_S - AFTER_S)
    try:
        with _server(folder, studio_port, audience_port, progress):
            result = _hold(folder, talk_s, studio_port, audience_port, progress)
            if linger:
                progress.print(summary(result))
                progress.print(f"\nThe replay is at [bold]{result['audience_url']}[/]. Ctrl-C ends the demonstration.")
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
    return result


def summary(result: dict[str, Any]) -> str:
    """What happened, for a person."""
    return (
        f"On air {result['on_air_offset_ms']:.1f} ms after the announced instant; "
        f"{result['fragments']} fragments heard, {result['gaps']} gaps; "
        f"delay p50 {result['delay_ms_p50']:.0f} ms, p95 {result['delay_ms_p95']:.0f} ms; "
        f"recording of {result['recording_s']:.1f} s."
    )


@contextlib.contextmanager
def _server(folder: Path, studio_port: int, audience_port: int, progress: Console) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "serve.log"
    command = [sys.executable, "-m", "rostra.ops.cli", "serve", "--data", str(folder)]
    command += ["--studio-port", str(studio_port), "--audience-port", str(audience_port), "--workers", "1"]
    with log_path.open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        progress.print("Starting the server …", style="dim")
        for port in (studio_port, audience_port):
            wait_for(partial(_ready, port, server, log_path), 30, "The server did not start.")
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _ready(port: int, server: subprocess.Popen[bytes], log_path: Path) -> bool:
    if server.poll() is not None:
        said = log_path.read_text(errors="replace").strip().splitlines()[-6:]
        raise Unavailable("demo.server", "The server ended at once. It said: " + " ".join(said))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _hold(folder: Path, talk_s: float, studio_port: int, audience_port: int, progress: Console) -> dict[str, Any]:
    settings = load(folder, studio_port=studio_port, audience_port=audience_port)
    starts = datetime.now(UTC) + timedelta(seconds=DOORS_S)
    shared = memory.shared_folder(folder)
    with contextlib.closing(Desk(folder, shared, settings.audience_base, settings.studio_base)) as desk:
        created = desk.create(
            "A demonstration", starts.isoformat(), doors_s=round(DOORS_S) - 1, recording="public"
        ).summary()
        token = desk.owner_link().partition("#")[2]
    studio = Studio(f"http://127.0.0.1:{studio_port}/api/v1/spaces/{created['id']}", token)
    url = created["audience_url"]
    progress.print(f"Listen at [bold]{url}[/]")
    progress.print(f"  doors open in a second with hold music; on air at {starts:%H:%M:%S} UTC", style="dim")

    wait_for(lambda: studio.get()["state"] == "doors_open", 20, "The doors did not open.")
    ear = Ear(url)
    with contextlib.ExitStack() as speakers:
        for name, file in VOICES:
            speakers.enter_context(_speaker(created["links"]["speaker"], name, file))
        wait_for(lambda: _connected(studio.get("/stage")) == len(VOICES), 25, "The voices did not reach the stage.")
        for seat in studio.get("/stage")["seats"]:
            studio.post(f"/seats/{seat['id']}", {"armed": True})
        progress.print("  two voices are on the stage, armed", style="dim")
        wait_for(lambda: studio.get()["state"] == "on_air", DOORS_S + 20, "The talk did not go on air.")
        on_air = time.monotonic()
        progress.print("  [bold red]on air[/]")
        while (left := on_air + talk_s - time.monotonic()) > 0:
            time.sleep(min(left, 10))
            progress.print(f"  on air for {time.monotonic() - on_air:.0f} s", style="dim")
        studio.post("/commands", {"verb": "end"})
        progress.print("  ended", style="dim")
    wait_for(lambda: studio.get()["state"] == "replay", 20, "The replay was not offered.")
    report = ear.finish()
    return {
        "id": created["id"],
        "on_air_offset_ms": studio.get()["on_air_offset_ms"],
        "fragments": report.fragments,
        "gaps": report.gaps,
        "delay_ms_p50": report.delay_ms_p50,
        "delay_ms_p95": report.delay_ms_p95,
        "recording_s": recording_seconds(f"{url}/recording.m4a"),
        "audience_url": url,
    }


def _connected(stage: dict[str, Any]) -> int:
    return sum(seat["connected"] for seat in stage["seats"])


@contextlib.contextmanager
def _speaker(link: str, name: str, file: str) -> Iterator[None]:
    voice = resources.files("rostra.ops") / "voices" / file
    command = [
        sys.executable,
        "-m",
        "rostra.ops.cli",
        "speak",
        link,
        str(voice),
        "--name",
        name,
        "--seat",
        name,
        "--loop",
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


class Studio:
    """The studio's API, as a program of the owner's would use it."""

    def __init__(self, base: str, token: str) -> None:
        self._base, self._token = base, token

    def get(self, path: str = "") -> dict[str, Any]:
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


class Ear:
    """A stranger who listens on a thread from now until the end."""

    def __init__(self, url: str) -> None:
        self._heard: client.Heard | None = None
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._listen, args=(url,), daemon=True)
        self._thread.start()

    def _listen(self, url: str) -> None:
        try:
            self._heard = client.listen(url, wait=True)
        except Exception as fault:  # carried to whoever calls finish
            self._fault = fault

    def finish(self) -> Report:
        """The report, once the end was heard."""
        self._thread.join(30)
        if self._fault is not None:
            raise self._fault
        if self._heard is None:
            raise Unavailable("demo.ear", "The listener never heard the end.", "Look into serve.log with --data.")
        return self._heard.report


def recording_seconds(url: str) -> float:
    """The length of the recording as a player finds it: fetched and decoded to its last sample."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        fetched = io.BytesIO(answer.read())
    with av.open(fetched, "r") as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def wait_for(holds: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    """Wait until `holds`; raises Unavailable `demo.timeout` with the sentence `otherwise`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise Unavailable("demo.timeout", otherwise, "Run it with --data DIR and look into DIR/serve.log.")
        time.sleep(0.1)
