"""What has no end: events and the heart, on a real server."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from rostra.space.commands import Request
from rostra.studio.io import watch
from rostra.studio.io.asgi import make_app
from rostra.studio.io.desk import Created, Desk
from support.server import free_port, wait_for


@contextmanager
def serving(desk: Desk, beat: Callable[[], None] = lambda: None) -> Iterator[tuple[str, uvicorn.Server]]:
    port = free_port()
    app = make_app(desk, beat=beat, closing=lambda: server.should_exit)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=10))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, 20, "the server")
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.should_exit = True
        thread.join()


def bearer(created: Created, role: str = "host") -> dict[str, str]:
    return {"authorization": "Bearer " + created.links[role].partition("#")[2]}


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_the_heart_beats_while_the_loop_turns(desk: Desk) -> None:
    beats: list[None] = []
    with serving(desk, lambda: beats.append(None)):
        wait_for(lambda: len(beats) >= 3, 10, "three beats")


def test_watchers_see_changes_as_they_happen(desk: Desk, created: Created, processes: Any) -> None:
    def roster(request: Request) -> dict[str, Any]:
        return {"seats": [{"id": "seat1", "name": "Ada", "role": "host", "level_db": -18.0}], "on_air": False}

    stage = processes(desk.folder(created.space.id).stage_sock, roster)
    with (
        serving(desk) as (base, _),
        httpx.stream("GET", f"{base}/api/v1/spaces/{created.space.id}/events", headers=bearer(created)) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        seen = events(answer)
        first = next(seen)
        assert set(first) == {"space", "stage", "server_time"}
        assert (first["space"]["state"], first["stage"]["seats"][0]["level_db"]) == ("scheduled", -18.0)
        desk.command(created.space.id, "postpone")
        assert any(event["space"]["state"] == "postponed" for event, _ in zip(seen, range(20), strict=False))
        assert len(stage.asked) > 1


def test_many_watchers_share_one_lookup(desk: Desk, created: Created, processes: Any) -> None:
    """Each answer of the stage is numbered: watchers with lookups of their own would never see the same number."""

    def roster(request: Request) -> dict[str, Any]:
        return {"seats": [{"id": "seat1", "name": str(len(stage.asked)), "role": "host"}], "on_air": False}

    stage = processes(desk.folder(created.space.id).stage_sock, roster)
    url = f"/api/v1/spaces/{created.space.id}/events"
    with serving(desk) as (base, _), httpx.Client(base_url=base, headers=bearer(created)) as client:
        with client.stream("GET", url) as one, client.stream("GET", url) as two, client.stream("GET", url) as three:
            streams = [events(each) for each in (one, two, three)]
            seen: list[set[str]] = [set(), set(), set()]
            for _ in range(100):
                for names, stream in zip(seen, streams, strict=True):
                    names.add(next(stream)["stage"]["seats"][0]["name"])
                if set.intersection(*seen):
                    break
        assert set.intersection(*seen)
        wait_for(lambda: _quiet(stage), 10, "the lookups to stop once nobody watches")


def _quiet(stage: Any) -> bool:
    before = len(stage.asked)
    threading.Event().wait(3 * watch.INTERVAL_S)
    return len(stage.asked) == before


def test_a_revoked_link_stops_watching(desk: Desk, created: Created, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RECHECK_S", 0.1)
    with (
        serving(desk) as (base, _),
        httpx.stream("GET", f"{base}/api/v1/spaces/{created.space.id}/events", headers=bearer(created)) as answer,
    ):
        seen = events(answer)
        next(seen)
        desk.revoke(created.space.id, desk.links(created.space.id)[0].id)
        assert len(list(seen)) < 20


def test_the_server_goes_though_somebody_watches(desk: Desk, created: Created) -> None:
    with (
        serving(desk) as (base, server),
        httpx.stream("GET", f"{base}/api/v1/spaces/{created.space.id}/events", headers=bearer(created)) as answer,
    ):
        seen = events(answer)
        next(seen)
        server.should_exit = True
        assert len(list(seen)) < 20
