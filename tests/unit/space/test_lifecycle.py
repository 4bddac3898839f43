"""The life of a Space: every row reachable, every refusal a sentence, and what must hold after any history."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.errors import PeerError
from rostra.kernel.units import SECOND_NS
from rostra.space import lifecycle
from rostra.space.lifecycle import BY_ITSELF, COMMANDS, LIVE, TABLE, Cause, Event, Input, Life, State
from rostra.space.spec import Recording, Spec, Start

T = 1_800_000_000 * SECOND_NS
MINUTE = 60 * SECOND_NS
SPEC = Spec("abc", "A talk", T)
DOORS = lifecycle.step(lifecycle.begin(SPEC, T - 3600 * SECOND_NS), Input(Event.DOORS_DUE), SPEC, SPEC.doors_at_ns)


def run(life: Life, *events: Input | Event, spec: Spec = SPEC, now: int = T) -> Life:
    for event in events:
        life = lifecycle.step(life, event if isinstance(event, Input) else Input(event), spec, now)
    return life


def present(count: int) -> Input:
    return Input(Event.PRESENT if count else Event.LOST, present=count)


def test_an_automatic_start_with_somebody_armed_goes_on_air() -> None:
    life = run(DOORS, present(1), Event.START_DUE)
    assert (life.state, life.cause, life.first_on_air_ns) == (State.ON_AIR, Cause.TIME, T)


def test_an_automatic_start_with_nobody_holds_and_goes_on_air_by_itself() -> None:
    life = run(DOORS, Event.START_DUE)
    assert (life.state, life.cause) == (State.HOLDING, Cause.NOBODY_ARMED)
    assert run(life, present(1)).state is State.ON_AIR


def test_on_go_waits_for_the_host_even_when_everyone_is_there() -> None:
    spec = replace(SPEC, start=Start.ON_GO)
    life = run(DOORS, present(2), Event.START_DUE, spec=spec)
    assert (life.state, life.cause) == (State.HOLDING, Cause.WAITING_FOR_GO)
    assert run(life, present(2), spec=spec).state is State.HOLDING
    assert run(life, Event.GO, spec=spec).state is State.ON_AIR


def test_on_go_waits_for_go_also_after_a_hold_before_air() -> None:
    spec = replace(SPEC, start=Start.ON_GO)
    held = run(DOORS, present(1), Event.START_DUE, Input(Event.HOLD, until_ns=T + 5 * MINUTE), spec=spec)
    due = run(held, Event.RESUME_DUE, spec=spec)
    assert (due.state, due.cause) == (State.HOLDING, Cause.WAITING_FOR_GO)
    assert run(due, present(0), present(1), spec=spec).state is State.HOLDING
    assert run(due, Event.GO, spec=spec).state is State.ON_AIR


def test_a_hold_that_the_host_asked_for_does_not_end_by_itself() -> None:
    life = run(DOORS, present(1), Event.START_DUE, Event.MUSIC, present(0), present(1))
    assert life.state is State.HOLDING
    assert run(life, Event.RESUME).state is State.ON_AIR


def test_hold_five_minutes_resumes_at_its_time_and_in_the_green_room_moves_the_start() -> None:
    on_air = run(DOORS, present(1), Event.START_DUE)
    held = run(on_air, Input(Event.HOLD, until_ns=T + 5 * MINUTE))
    assert lifecycle.due(held, SPEC) == (T + 5 * MINUTE, Event.RESUME_DUE)
    assert run(held, Event.RESUME_DUE).state is State.ON_AIR
    moved = run(DOORS, Input(Event.HOLD, until_ns=T + 5 * MINUTE))
    assert lifecycle.due(moved, SPEC) == (T + 5 * MINUTE, Event.START_DUE)


def test_a_public_recording_becomes_the_replay_at_the_end_and_the_others_wait() -> None:
    public = replace(SPEC, recording=Recording.PUBLIC)
    on_air = run(DOORS, present(1), Event.START_DUE)
    assert run(on_air, Event.END, spec=public).state is State.REPLAY
    ended = run(on_air, Event.END)
    assert ended.state is State.ENDED
    assert run(ended, Event.APPROVE).state is State.REPLAY
    assert run(DOORS, Event.END, spec=public).state is State.ENDED, "a talk that never began has no replay"


def test_an_abandoned_hold_ends_by_itself() -> None:
    life = run(DOORS, Event.START_DUE)
    assert lifecycle.due(life, SPEC) == (T + SPEC.auto_end_s * SECOND_NS, Event.AUTO_END_DUE)
    assert run(life, Event.AUTO_END_DUE).state is State.ENDED


def test_every_state_is_reached_by_the_table() -> None:
    assert {after for *_, after, _ in TABLE} == set(State)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(COMMANDS))
def test_a_person_is_told_when_a_command_makes_no_sense(state: State, event: Event) -> None:
    life = Life(state, Cause.HOST, T, T + MINUTE, present=1)
    known = any((s, e) == (state, event) for s, e, *_ in TABLE)
    given_input = Input(event, until_ns=T + MINUTE, starts_at_ns=T + MINUTE)
    if known:
        lifecycle.step(life, given_input, SPEC, T)
    else:
        with pytest.raises(PeerError) as refusal:
            lifecycle.step(life, given_input, SPEC, T)
        assert refusal.value.sentence
        assert refusal.value.hint


def test_go_without_anybody_says_what_to_do() -> None:
    with pytest.raises(PeerError, match="Arm a connected seat"):
        run(DOORS, Event.GO)


def test_a_start_moved_into_the_past_changes_nothing() -> None:
    with pytest.raises(PeerError, match="in the past"):
        run(DOORS, Input(Event.RESCHEDULE, starts_at_ns=T - MINUTE))


inputs = st.one_of(
    st.sampled_from([Event.DOORS_DUE, Event.START_DUE, Event.RESUME_DUE, Event.AUTO_END_DUE]).map(Input),
    st.integers(0, 3).map(present),
    st.just(Input(Event.STAGE_LOST, present=0)),
    st.sampled_from(sorted(COMMANDS)).flatmap(
        lambda event: st.integers(1, 60).map(
            lambda minutes: Input(Event(event), until_ns=T + minutes * MINUTE, starts_at_ns=T + minutes * MINUTE)
        )
    ),
)
specs = st.builds(
    Spec,
    st.just("abc"),
    st.just("A talk"),
    st.just(T),
    start=st.sampled_from(Start),
    recording=st.sampled_from(Recording),
)


@given(specs, st.lists(inputs, max_size=40))
def test_after_any_history_the_invariants_hold(spec: Spec, history: list[Input]) -> None:
    life = lifecycle.begin(spec, T - MINUTE)
    for event in history:
        before = life
        try:
            life = lifecycle.step(life, event, spec, T)
        except PeerError:
            assert event.event in COMMANDS, "only a person is refused"
            continue
        entered = life.state is State.ON_AIR and before.state is not State.ON_AIR
        assert not entered or life.present > 0, "nobody unarmed or absent brings a Space on air"
        assert not (
            entered and before.cause not in BY_ITSELF and before.state is State.HOLDING and event.event is Event.PRESENT
        ), "a hold that a person asked for is ended by a person or the time they gave"
        assert (life.state in (State.ON_AIR, State.REPLAY)) <= (life.first_on_air_ns is not None)
        assert not (before.state in (State.ENDED, State.REPLAY) and life.state in LIVE), "what has ended stays ended"
        assert not (before.state is State.CANCELLED and life.state is not State.CANCELLED)
        assert lifecycle.last(lifecycle.encode(life, event.event)) == life


def test_a_torn_last_line_of_the_journal_is_passed_over() -> None:
    line = lifecycle.encode(DOORS, Event.DOORS_DUE)
    assert lifecycle.last(line + line[:20]) == DOORS
    assert lifecycle.last(line[:20]) is None
