"""The keeper's process among real files, real sockets and the counters of real workers."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rostra.keeper.io.loop import Keeper
from rostra.kernel.io import memory, system
from rostra.kernel.shared import counters
from rostra.kernel.shared.counters import HEARTBEAT, Counters
from rostra.log.io.recording import write_recording
from rostra.space import lifecycle
from rostra.space.io.sockets import Server
from rostra.space.lifecycle import Event, State
from support.audience import Programme, crowd, edge, shared_memory
from support.server import wait_for


@pytest.fixture(autouse=True)
def shared(tmp_path: Path) -> Iterator[Path]:
    with shared_memory(tmp_path) as folder:
        yield folder


@pytest.fixture
def programme(tmp_path: Path) -> Iterator[Programme]:
    running = Programme(tmp_path)
    running.fragments(3)
    yield running
    running.close()


@pytest.fixture
def keeper(tmp_path: Path, shared: Path) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path, shared, writing(shared / "keeper.counters"))
    yield keeper
    for watched in keeper._watched.values():
        watched.close()


def writing(path: Path) -> Counters:
    return Counters(memory.create(path, counters.SIZE), writer=True)


def public(programme: Programme) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(programme.folder.state_json.read_bytes())
    return document


def test_a_live_space(programme: Programme, keeper: Keeper, shared: Path) -> None:
    worker = writing(shared / "worker-0.counters")
    worker.set("space/talk/listeners", 12)
    worker.set(HEARTBEAT, system.now().mono_ns)
    keeper.turn(system.now())
    found = public(programme)
    assert (found["state"], found["listeners"]) == ("on_air", 12)
    assert found["programme"] == {"live": True, "last_fragment": 2, "on_air_offset_ms": None}


def test_the_programme_is_asked_and_a_silent_one_let_be(programme: Programme, keeper: Keeper) -> None:
    asked = []

    def answer(request: Any) -> dict[str, Any]:
        asked.append(request.verb)
        life = json.loads(lifecycle.encode(programme.life, None))
        return life | {"speaking": {"seat": "s", "name": "Ada"}, "state": "holding"}

    server = Server(programme.folder.programme_sock, answer)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.poll(0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    keeper.turn(system.now())
    stop.set()
    thread.join()
    server.close()
    assert asked == ["status"]
    assert public(programme)["speaking"] == {"seat": "s", "name": "Ada"}
    assert public(programme)["state"] == "holding"
    before = time.monotonic()
    for _ in range(5):
        keeper.turn(system.now())
    assert time.monotonic() - before < 2, "it was asked again though it did not answer"
    assert public(programme)["state"] == "on_air"
    assert public(programme)["speaking"] is None


def test_the_replay_is_offered_after_approval(programme: Programme, keeper: Keeper) -> None:
    programme.fragments(5)
    programme.end()
    recording = write_recording(programme.folder.programmes / "floor", None, None)
    assert recording is not None
    keeper.turn(system.now())
    assert (public(programme)["state"], public(programme)["replay"]) == ("ended", None)
    programme.say(State.REPLAY, Event.APPROVE)
    keeper.turn(system.now())
    assert public(programme)["replay"] == {"url": "/s/talk/recording.m4a", "duration_s": recording.duration_s}
    assert public(programme)["listeners"] is None


def test_a_space_that_cannot_be_read_hides_no_other(programme: Programme, keeper: Keeper, tmp_path: Path) -> None:
    broken = tmp_path / "spaces" / "broken"
    broken.mkdir()
    (broken / "space.json").write_text("{")
    keeper.turn(system.now())
    assert public(programme)["state"] == "on_air"
    assert keeper._counters.get("faults") == 1


def test_a_quiet_space_is_not_written_again_and_again(tmp_path: Path, keeper: Keeper) -> None:
    Programme(tmp_path, "later", State.SCHEDULED).close()
    for _ in range(5):
        keeper.turn(system.now())
    assert keeper._counters.get("writes") == 1


@contextmanager
def keeping(keeper: Keeper) -> Iterator[None]:
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        yield
    finally:
        keeper.stop()
        thread.join(5)
        assert not thread.is_alive()


def test_listeners_are_counted_from_end_to_end(tmp_path: Path, programme: Programme, keeper: Keeper) -> None:
    with edge(tmp_path) as served, keeping(keeper):
        with crowd(served.port, 40) as all_of_them:
            all_of_them.await_fragment(2)
            wait_for(lambda: served.ask("/s/talk/state.json").json["listeners"] == 40, 10)

            forty = [{"type": "count", "listeners": 40}]

            def told() -> bool:
                programme.fragments()
                return all(heard.told("count")[-1:] == forty for heard in all_of_them.heard)

            all_of_them.listen(told)
        wait_for(lambda: served.ask("/s/talk/state.json").json["listeners"] == 0, 10)


def test_while_the_keeper_is_away_the_worker_says_what_it_knows(tmp_path: Path, programme: Programme) -> None:
    with edge(tmp_path) as served:
        found = served.ask("/s/talk/state.json").json
        assert (found["state"], found["listeners"]) == ("on_air", None)
        programme.end()
        wait_for(lambda: served.ask("/s/talk/state.json").json["state"] == "ended", 5)


def test_a_transition_is_public_before_the_keeper_has_heard_of_it(
    tmp_path: Path, programme: Programme, keeper: Keeper
) -> None:
    keeper.turn(system.now())
    with edge(tmp_path) as served:
        assert served.ask("/s/talk/state.json").json["state"] == "on_air"
        programme.say(State.HOLDING, Event.HOLD)
        wait_for(lambda: served.ask("/s/talk/state.json").json["state"] == "holding", 2)
