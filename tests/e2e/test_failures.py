"""Every process is killed, then stopped, while a Space is on air. Who is in stays in.

`pytest -s tests/e2e/test_failures.py` prints the times that the closing notes quote.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from rostra.kernel.io import memory
from rostra.kernel.shared.index import Flag
from rostra.log.io.files import Reader
from support.server import Server, Space, wait_for
from support.stranger import Stranger


def records(space: Space, since: int = 0) -> list[tuple[int, Flag]]:
    reader = Reader(space.folder / "programmes" / "floor" / "opus")
    reader.poll()
    found = [(record.number, record.flags) for record in reader.records if record.number >= since]
    reader.close()
    return found


def await_on_air(space: Space, timeout_s: float = 20) -> None:
    space.await_state("on_air", timeout_s)


def state_since(space: Space, at_wall: float) -> list[tuple[str, str, float]]:
    """(state, cause, seconds after `at_wall`) of the transitions since then."""
    return [
        (entry["state"], entry["cause"], entry["since_ns"] / 1e9 - at_wall)
        for entry in space.journal()
        if entry["since_ns"] / 1e9 > at_wall
    ]


def strike(server: Server, job: str, number: signal.Signals) -> tuple[float, float]:
    """Send the signal and wait for the successor. Returns the wall-clock time of the blow, and seconds until then."""
    before, at = len(server.starts(job)), time.time()
    server.kill(job, number)
    server.await_restart(job, before)
    return at, time.time() - at


@pytest.fixture(params=[signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def number(request: pytest.FixtureRequest) -> signal.Signals:
    found: signal.Signals = request.param
    return found


@pytest.fixture
def listener(on_air: Space) -> Iterator[Stranger]:
    """Does not reconnect: a broken response fails the test."""
    await_on_air(on_air)
    with Stranger(on_air.url) as stranger:
        stranger.await_fragments(2)
        yield stranger


def test_nobody_notices_that_the_studio_or_the_keeper_is_gone(
    server: Server, on_air: Space, listener: Stranger, number: signal.Signals
) -> None:
    for job in ("studio", "keeper"):
        at, seconds = strike(server, job, number)
        print(f"\n{job} {number.name}: noticed and restarted after {seconds:.2f} s")
        listener.await_fragments(4)
        assert state_since(on_air, at) == []
    assert listener.numbers == list(range(listener.numbers[0], listener.numbers[-1] + 1))
    assert listener.longest_wait_s() < 1.5, "fragments kept coming at their pace"
    wait_for(lambda: on_air.public()["server_time"] and on_air.get()["state"] == "on_air", 20, "studio and keeper back")


def test_the_programme_turns_to_hold_music_when_the_stage_is_gone_and_back_by_itself(
    server: Server, on_air: Space, listener: Stranger, number: signal.Signals
) -> None:
    first = records(on_air)[-1][0]
    at, seconds = strike(server, f"stage-{on_air.id}", number)
    wait_for(lambda: state_since(on_air, at), 10, "the programme to notice")
    await_on_air(on_air, 30)
    moves = state_since(on_air, at)
    assert [move[:2] for move in moves] == [("holding", "stage_lost"), ("on_air", "speakers_back")]
    print(f"\nstage {number.name}: hold music after {moves[0][2] * 1000:.0f} ms, restarted after {seconds:.2f} s")
    print(f"  speakers back on air {moves[1][2]:.2f} s after the blow")
    assert moves[0][2] < 0.2, "60 ms, a frame of grid, and the ring's two frames"
    listener.await_fragments(3)
    numbers = [n for n, _ in records(on_air, first)]
    assert numbers == list(range(first, first + len(numbers))), "not one fragment is missing"
    assert not any(flags & Flag.FILLED for _, flags in records(on_air, first))
    assert listener.numbers == list(range(listener.numbers[0], listener.numbers[-1] + 1))
    seats = on_air.seats()
    assert len(seats) == 2, "the same seats, not new ones"
    assert all(seat["armed"] and seat["connected"] for seat in seats.values())


def test_the_timeline_goes_on_when_the_programme_is_gone_and_no_listener_is_disconnected(
    server: Server, on_air: Space, listener: Stranger, number: signal.Signals
) -> None:
    first = records(on_air)[-1][0]
    _at, seconds = strike(server, f"programme-{on_air.id}", number)
    await_on_air(on_air)
    listener.await_fragments(8)
    found = records(on_air, first)
    assert [n for n, _ in found] == list(range(first, first + len(found))), "the timeline continues without a hole"
    filled = sum(bool(flags & Flag.FILLED) for _, flags in found)
    assert listener.numbers == list(range(listener.numbers[0], listener.numbers[-1] + 1)), "each fragment, once"
    # What is less than a second overdue is not filled with music: the ring still holds the talk.
    print(f"\nprogramme {number.name}: restarted after {seconds:.2f} s, {filled} fragments filled,", end=" ")
    print(f"longest wait of a listener {listener.longest_wait_s():.2f} s")


def test_a_workers_listeners_come_back_and_lose_nothing(server: Server, on_air: Space, number: signal.Signals) -> None:
    await_on_air(on_air)
    with Stranger(on_air.url, reconnect=True) as one, Stranger(on_air.url, reconnect=True) as other:
        one.await_fragments(2)
        other.await_fragments(1)
        for job in ("worker-0", "worker-1"):
            _, seconds = strike(server, job, number)
            print(f"\n{job} {number.name}: restarted after {seconds:.2f} s")
            one.await_fragments(3)
            other.await_fragments(3)
        for stranger in (one, other):
            missing = set(range(stranger.numbers[0], stranger.numbers[-1])) - set(stranger.numbers)
            print(f"  longest wait {stranger.longest_wait_s():.2f} s, missed {len(missing)}")
            assert stranger.numbers == sorted(set(stranger.numbers)), "no fragment twice, none out of order"


def test_everything_stops_in_order_and_leaves_nothing_behind(server: Server, on_air: Space) -> None:
    """Runs last: a second server on the same folder goes on with the Space, as after a reboot."""
    jobs = ["studio", "keeper", "check", "worker-0", "worker-1", f"stage-{on_air.id}", f"programme-{on_air.id}"]
    pids = [server.pid(job) for job in jobs]
    shared = memory.shared_folder(server.data)
    server.process.terminate()
    assert server.process.wait(30) == 0
    assert not shared.exists()
    assert not [pid for pid in pids if _alive(pid)]
    journal = [json.loads(line) for line in (on_air.folder / "journal.jsonl").read_text().splitlines()]
    assert journal[-1]["state"] in ("on_air", "holding"), "stopping the server does not end the Space"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not done.stdout.strip().startswith("Z")
