"""The pure part: whose count counts, and when a state is written again."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.keeper import counters, state
from rostra.kernel.errors import OperatorError
from rostra.kernel.shared.counters import HEARTBEAT
from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.space import lifecycle
from rostra.space import state as public
from rostra.space.lifecycle import Cause, Event, Life, State
from rostra.space.spec import Spec

NOW = 1000 * SECOND_NS
SPEC = Spec("talk", "A talk", 5000 * SECOND_NS, doors_s=600)
LIFE = Life(State.ON_AIR, Cause.TIME, 4000 * SECOND_NS, 5000 * SECOND_NS, first_on_air_ns=4900 * SECOND_NS)


def worker(age_ms: int, **listeners: int) -> dict[str, int]:
    counts = {f"space/{space}/listeners": count for space, count in listeners.items()}
    return {HEARTBEAT: NOW - age_ms * MS_NS, "joins": 99, **counts}


def test_listeners_are_summed_by_space() -> None:
    assert counters.listeners([worker(0, a=1, b=2), worker(10, b=3)], NOW) == {"a": 1, "b": 5}


def test_the_dead_do_not_count() -> None:
    assert counters.listeners([worker(0, a=1), worker(3001, a=50)], NOW) == {"a": 1}


def test_with_no_worker_alive_nobody_knows() -> None:
    assert counters.listeners([worker(3001, a=50), {}], NOW) is None
    assert counters.listeners([], NOW) is None


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6))))
def test_nobody_is_counted_twice_or_forgotten(workers: list[dict[str, int]]) -> None:
    sums = counters.listeners([worker(0, **listeners) for listeners in workers], NOW) or {}
    assert sum(sums.values()) == sum(sum(listeners.values()) for listeners in workers)


def test_what_anybody_may_know() -> None:
    facts = public.Facts(7, {"seat": "s", "name": "Ada"}, 42, True, -1.5, None)
    document = json.loads(public.encode(public.document(SPEC, LIFE, facts, NOW)))
    assert document == {
        "v": 1,
        "id": "talk",
        "title": "A talk",
        "state": "on_air",
        "cause": "time",
        "since": "1970-01-01T01:06:40.000Z",
        "starts_at": "1970-01-01T01:23:20.000Z",
        "resume_at": None,
        "doors_at": "1970-01-01T01:13:20.000Z",
        "first_on_air": "1970-01-01T01:21:40.000Z",
        "listeners": 7,
        "speaking": {"seat": "s", "name": "Ada"},
        "recording": "after_approval",
        "start": "automatic",
        "programme": {"live": True, "last_fragment": 42, "on_air_offset_ms": -1.5},
        "renditions": [
            {"name": "opus", "mime": 'audio/mp4; codecs="opus"', "kbit_s": 32},
            {"name": "aac", "mime": 'audio/mp4; codecs="mp4a.40.2"', "kbit_s": 64},
        ],
        "replay": None,
        "server_time": "1970-01-01T00:16:40.000Z",
    }


def test_a_replay_is_offered_only_when_its_host_let_it_out() -> None:
    facts = public.Facts(replay_s=61.25)
    ended, out = replace(LIFE, state=State.ENDED), replace(LIFE, state=State.REPLAY)
    assert public.document(SPEC, ended, facts, NOW)["replay"] is None
    assert public.document(SPEC, out, facts, NOW)["replay"] == {"url": "/s/talk/recording.m4a", "duration_s": 61.25}
    assert public.document(SPEC, out, public.Facts(), NOW)["replay"] is None


def test_when_it_went_on_air_is_in_the_journal() -> None:
    lines = [
        lifecycle.encode(LIFE, Event.DOORS_DUE),
        lifecycle.encode(LIFE, Event.START_DUE, on_air_offset_ms=1.5, on_air_frame=9),
        lifecycle.encode(LIFE, Event.HOLD),
        lifecycle.encode(LIFE, Event.RESUME, on_air_offset_ms=60_000),
    ]
    assert public.on_air_offset_ms(b"".join(lines)) == 1.5
    assert public.on_air_offset_ms(b'{"on_air_offset_ms": torn') is None
    assert public.on_air_offset_ms(b"") is None


def test_what_the_programme_answers() -> None:
    reply = json.loads(lifecycle.encode(LIFE, None)) | {"speaking": {"seat": "s", "name": "Ada"}, "fragment": 9}
    assert state.heard(reply) == (LIFE, {"seat": "s", "name": "Ada"})
    assert state.heard(reply | {"speaking": None}) == (LIFE, None)
    assert state.heard(reply | {"speaking": {"seat": "", "name": ""}}) == (LIFE, None)
    with pytest.raises(OperatorError):
        state.heard({"state": "on_air"})


def test_a_fragment_that_is_fresh_sounds() -> None:
    fresh = state.sounding(public.Facts(), 9, NOW - 2 * SECOND_NS, NOW)
    assert (fresh.fragment, fresh.sounding) == (9, True)
    assert not state.sounding(public.Facts(), 9, NOW - 4 * SECOND_NS, NOW).sounding


def document(life: Life, now_ns: int, **facts: int) -> dict[str, object]:
    return public.document(SPEC, life, public.Facts(**facts), now_ns)  # type: ignore[arg-type]


def test_a_live_state_is_written_each_second_and_at_once_when_it_changes() -> None:
    written = state.write_again(None, document(LIFE, NOW), NOW)
    assert written is not None
    soon = NOW + SECOND_NS // 2
    assert state.write_again(written, document(LIFE, soon), soon) is None
    assert state.write_again(written, document(LIFE, soon, listeners=3), soon) is not None
    assert state.write_again(written, document(LIFE, NOW + SECOND_NS), NOW + SECOND_NS) is not None


def test_a_quiet_state_is_written_twice_a_minute() -> None:
    over = replace(LIFE, state=State.ENDED)
    written = state.write_again(None, document(over, NOW), NOW)
    assert state.write_again(written, document(over, NOW + 29 * SECOND_NS), NOW + 29 * SECOND_NS) is None
    assert state.write_again(written, document(over, NOW + 30 * SECOND_NS), NOW + 30 * SECOND_NS) is not None
    assert state.write_again(written, document(over, NOW - SECOND_NS), NOW - SECOND_NS) is not None


def test_the_length_of_a_recording() -> None:
    assert state.replay_s(b'{"v":1,"duration_s":12.5}') == 12.5
    with pytest.raises(OperatorError):
        state.replay_s(b"{}")
