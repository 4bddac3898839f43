"""The studio without a server: a clock that the test turns, a client of the application, processes behind sockets."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from rostra.kernel.clock import to_rfc3339
from rostra.kernel.units import SECOND_NS
from rostra.space.commands import Request
from rostra.space.io import sockets

T = 1_800_000_000 * SECOND_NS
AUDIENCE, STUDIO = "https://live.example:8001", "https://live.example:8000"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ns = T - 7200 * SECOND_NS

    def __call__(self) -> int:
        return self.now_ns

    def forward(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)

    def after(self, seconds: float) -> str:
        return to_rfc3339(self.now_ns + int(seconds * SECOND_NS))


class Process:
    """Somebody behind a command socket: remembers what it was asked and answers as told."""

    def __init__(self, path: Path, handle: Callable[[Request], dict[str, Any]]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._handle = handle
        self._server = sockets.Server(path, self._answer)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _answer(self, request: Request) -> dict[str, Any]:
        self.asked.append((request.verb, request.args))
        return self._handle(request)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._server.poll(0.02)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()


class Client:
    """The application as a client sees it, each call on its own loop."""

    def __init__(self, app: Any, token: str = "") -> None:
        self._app = app
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self._headers, **options.pop("headers", {})}
        return asyncio.run(self._call(method, path, headers=headers, **options))

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=STUDIO) as client:
            return await client.request(method, path, **options)

    def as_link(self, url: str) -> "Client":
        return Client(self._app, url.partition("#")[2])
