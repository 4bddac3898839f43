"""Debian's browsers, driven by Playwright: nobody here wrote them."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright
from websockets.sync.client import ClientConnection, connect

from support.server import wait_for

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def program(name: str) -> str:
    """The path of a program that the tests drive; a missing one fails the test by name."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: `sh tests/needs.sh` installs what the tests drive")
    return found


@contextmanager
def chromium(
    playwright: Playwright,
    *,
    microphone: Path | None = None,
    environment: dict[str, str] | None = None,
    executable: str | None = None,
    trusted: str = "",
) -> Iterator[Browser]:
    """Chromium; with `microphone`, a WAV file is what its user says, over and over.

    `executable` starts it (inside a namespace, say); the origin `trusted` may use the microphone without TLS.
    """
    arguments = [*QUIET, "--autoplay-policy=no-user-gesture-required", "--allow-loopback-in-peer-connection"]
    if microphone is not None:
        arguments += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        arguments += [f"--use-file-for-fake-audio-capture={microphone}"]
    if trusted:
        arguments += [f"--unsafely-treat-insecure-origin-as-secure={trusted}"]
    options: dict[str, Any] = (
        {} if environment is None else {"env": environment, "ignore_default_args": ["--mute-audio"]}
    )
    browser = playwright.chromium.launch(executable_path=executable or program("chromium"), args=arguments, **options)
    try:
        yield browser
    finally:
        browser.close()


class Firefox:
    """Firefox through WebDriver BiDi (W3C), which it speaks itself: Playwright drives only a Firefox of its own."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0
        self.send("session.new", capabilities={})
        self._context = self.send("browsingContext.create", type="tab")["context"]

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        self._connection.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == self._sent:
                assert answer["type"] == "success", answer
                result: dict[str, Any] = answer["result"]
                return result

    def goto(self, url: str) -> None:
        self.send("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of the promise it makes."""
        answer = self.send(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])


@contextmanager
def firefox(
    folder: Path,
    environment: dict[str, str] | None = None,
    inside: Sequence[str] = (),
    reach: Callable[[str, int], socket.socket] | None = None,
) -> Iterator[Firefox]:
    """Firefox with a profile of its own in `folder`, allowed to play without a click.

    `inside` is the command that starts others where it is to be (in a namespace), `reach` connects to a port there.
    """
    with _firefox_process(folder, environment, inside) as log:
        told = wait_for(
            lambda: re.search(r"WebDriver BiDi listening on (ws://([\d.]+):(\d+))", log.read_text()), 90, "Firefox"
        )
        through = reach and reach(told[2], int(told[3]))
        with connect(f"{told[1]}/session", max_size=None, sock=through) as connection:
            yield Firefox(connection)


@contextmanager
def _firefox_process(folder: Path, environment: dict[str, str] | None, inside: Sequence[str]) -> Iterator[Path]:
    profile, log = folder / "profile", folder / "firefox.log"
    profile.mkdir(parents=True)
    preferences = {"media.autoplay.default": 0, "media.autoplay.blocking_policy": 0, "ui.prefersReducedMotion": 1}
    lines = [f"user_pref({json.dumps(key)}, {json.dumps(value)});" for key, value in preferences.items()]
    if (folder / "user.js").exists():  # what a test wants beside it
        lines.append((folder / "user.js").read_text())
    (profile / "user.js").write_text("\n".join(lines))
    home = {"HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"}
    command = [*inside, program("firefox-esr"), "--headless", "--profile", str(profile), "--remote-debugging-port=0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=(environment or dict(os.environ)) | home)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(20)
