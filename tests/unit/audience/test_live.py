import json

import pytest

from rostra.audience import live
from rostra.door.verdict import Decision, Verdict
from rostra.kernel.units import SECOND_NS
from rostra.space.lifecycle import Cause, Life, State

START_S = 10_000


def told(state: State, now_s: int = 0) -> tuple[int, str, str | None]:
    life = Life(state, Cause.TIME, 0, START_S * SECOND_NS)
    response = live.closed(life, 600, now_s * SECOND_NS)
    assert response is not None
    body = json.loads(response.body)
    assert body["state"] == state
    return response.status, body["code"], dict(response.headers).get("Retry-After")


@pytest.mark.parametrize("state", [State.DOORS_OPEN, State.ON_AIR, State.HOLDING])
def test_there_is_sound_while_it_is_live(state: State) -> None:
    assert live.closed(Life(state, Cause.TIME, 0, 0), 600, 0) is None


def test_before_the_doors_one_is_told_when_to_come_back() -> None:
    assert told(State.SCHEDULED, START_S - 600 - 42) == (503, "space.scheduled", "42")
    assert told(State.SCHEDULED, 0) == (503, "space.scheduled", "60")
    assert told(State.SCHEDULED, START_S) == (503, "space.scheduled", "1")
    assert told(State.POSTPONED) == (503, "space.postponed", "60")


def test_afterwards_it_is_gone() -> None:
    assert told(State.ENDED) == (410, "space.ended", None)
    assert told(State.REPLAY) == (410, "space.replay", None)
    assert told(State.CANCELLED) == (410, "space.cancelled", None)


def test_the_doors_reason_and_time_are_passed_on() -> None:
    response = live.turned_away(Verdict(Decision.WAIT, "full", 7))
    assert response.status == 503
    assert ("Retry-After", "7") in response.headers
    assert json.loads(response.body)["code"] == "door.full"
