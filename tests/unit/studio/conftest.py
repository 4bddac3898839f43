"""A desk over a fresh data directory, with a clock that the test turns; its application; processes to talk to."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rostra.space.commands import Request
from rostra.studio.io.asgi import make_app
from rostra.studio.io.desk import Created, Desk
from support.studio import AUDIENCE, STUDIO, Client, Clock, Process


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    desk = Desk(tmp_path / "data", tmp_path / "shared", AUDIENCE, STUDIO, clock=clock, patience_s=0)
    yield desk
    desk.close()


@pytest.fixture
def stranger(desk: Desk) -> Client:
    return Client(make_app(desk))


@pytest.fixture
def owner(desk: Desk, stranger: Client) -> Client:
    return stranger.as_link(desk.owner_link())


@pytest.fixture
def processes() -> Iterator[Callable[[Path, Callable[[Request], dict[str, Any]]], Process]]:
    running: list[Process] = []

    def start(path: Path, handle: Callable[[Request], dict[str, Any]]) -> Process:
        running.append(Process(path, handle))
        return running[-1]

    yield start
    for process in running:
        process.close()


@pytest.fixture
def created(desk: Desk, clock: Clock) -> Created:
    return desk.create("A talk", clock.after(3600))
