"""What may be asked of a Space in each of its states, and what it means exactly."""

from dataclasses import replace
from typing import Any

import pytest

from rostra.kernel.clock import to_rfc3339
from rostra.kernel.errors import PeerError
from rostra.kernel.units import SECOND_NS
from rostra.space import lifecycle
from rostra.space.grants import Verb
from rostra.space.lifecycle import Cause, Event, Life, State
from rostra.space.spec import Recording, Spec, Start
from rostra.studio import schedule
from rostra.studio.api import NewSpace, SpaceChange, check_match, etag

T = 1_800_000_000 * SECOND_NS
NOW = T - 3600 * SECOND_NS
MINUTE = 60 * SECOND_NS
SPEC = Spec("abc", "A talk", T)
BASES = schedule.Bases("http://a", "http://s")


def life(state: State) -> Life:
    return Life(state, Cause.HOST, NOW, T)


def code_of(call: Any) -> str:
    with pytest.raises(PeerError) as caught:
        call()
    return caught.value.code


def edit(state: State, now_ns: int = NOW, **change: Any) -> tuple[Spec, int | None]:
    return schedule.edit(SPEC, life(state), SpaceChange(**change), now_ns)


def test_an_announcement_takes_what_is_given_and_fills_in_the_rest() -> None:
    asked = NewSpace(title="  A talk ", starts_at=to_rfc3339(T), doors_s=60, start=Start.ON_GO)
    assert schedule.announce("abc", asked, NOW) == replace(SPEC, doors_s=60, start=Start.ON_GO)


@pytest.mark.parametrize(
    ("title", "starts_at", "code"),
    [
        ("A talk", to_rfc3339(NOW - SECOND_NS), "space.past"),
        ("A talk", to_rfc3339(NOW), "space.past"),
        ("A talk", "2099-01-01T00:00:00Z", "space.far"),
        ("A talk", "2027-01-15T09:00:00", "time.no_zone"),
        ("A talk", "tonight", "time.unreadable"),
        ("   ", to_rfc3339(T), "space.title"),
    ],
)
def test_an_announcement_that_cannot_be_held_is_refused(title: str, starts_at: str, code: str) -> None:
    assert code_of(lambda: schedule.announce("abc", NewSpace(title=title, starts_at=starts_at), NOW)) == code


def test_a_start_in_another_offset_is_the_same_instant() -> None:
    asked = NewSpace(title="A talk", starts_at="2027-01-15T03:00:00.0009-05:00")
    assert schedule.announce("abc", asked, NOW).starts_at_ns == T


def test_a_title_can_always_be_changed_also_after_the_start() -> None:
    for state in State:
        wanted, moved = edit(state, T + MINUTE, title="Other")
        assert (wanted, moved) == (replace(SPEC, title="Other"), None)


def test_a_new_start_asks_to_be_rescheduled_and_the_old_one_does_not() -> None:
    later = to_rfc3339(T + MINUTE)
    assert edit(State.SCHEDULED, starts_at=later) == (replace(SPEC, starts_at_ns=T + MINUTE), T + MINUTE)
    assert edit(State.ON_AIR, starts_at=to_rfc3339(T)) == (SPEC, None)


@pytest.mark.parametrize(
    ("state", "change"),
    [
        (State.ON_AIR, {"starts_at": to_rfc3339(T + MINUTE)}),
        (State.DOORS_OPEN, {"doors_s": 60}),
        (State.HOLDING, {"start": Start.ON_GO}),
        (State.ENDED, {"recording": Recording.PUBLIC}),
        (State.CANCELLED, {"time_zone": "Europe/Paris"}),
        (State.ON_AIR, {"recording": Recording.OFF}),
    ],
)
def test_what_is_too_late_to_change_is_refused_by_name(state: State, change: dict[str, Any]) -> None:
    with pytest.raises(PeerError) as caught:
        edit(state, **change)
    assert caught.value.code == "space.state"
    assert next(iter(change)) in caught.value.sentence


def test_a_recording_may_still_become_public_on_air_but_not_begin() -> None:
    assert edit(State.ON_AIR, recording=Recording.PUBLIC)[0].recording is Recording.PUBLIC
    unrecorded = replace(SPEC, recording=Recording.OFF)
    change = SpaceChange(recording=Recording.PRIVATE)
    assert code_of(lambda: schedule.edit(unrecorded, life(State.ON_AIR), change, NOW)) == "space.state"


def test_a_move_into_the_past_is_refused() -> None:
    assert code_of(lambda: edit(State.SCHEDULED, starts_at=to_rfc3339(NOW - 1))) == "space.past"


def test_hold_before_air_moves_the_start_and_on_air_counts_from_now() -> None:
    order = schedule.order(Event.HOLD, life(State.DOORS_OPEN), NOW, minutes=5)
    assert (order.verb, order.args) == ("hold", {"until_ns": T + 5 * MINUTE})
    assert schedule.order(Event.HOLD, life(State.ON_AIR), NOW, minutes=15).args == {"until_ns": NOW + 15 * MINUTE}
    assert schedule.order(Event.HOLD, life(State.ON_AIR), NOW).args == {"until_ns": None}


@pytest.mark.parametrize(
    ("event", "given", "code"),
    [
        (Event.HOLD, {}, "command.minutes"),
        (Event.GO, {"minutes": 5}, "command.extra"),
        (Event.END, {"starts_at": to_rfc3339(T)}, "command.extra"),
        (Event.RESCHEDULE, {}, "command.starts_at"),
        (Event.RESCHEDULE, {"starts_at": "2027-01-15T09:00:00"}, "time.no_zone"),
    ],
)
def test_commands_that_lack_or_have_too_much_are_refused(event: Event, given: dict[str, Any], code: str) -> None:
    assert code_of(lambda: schedule.order(event, life(State.DOORS_OPEN), NOW, **given)) == code


def test_every_command_has_its_right() -> None:
    approval = {event for event in lifecycle.COMMANDS if schedule.verb_for(event) is Verb.APPROVE}
    assert approval == {Event.APPROVE, Event.WITHDRAW}


def test_listeners_are_told_only_while_the_count_is_fresh() -> None:
    state = f'{{"listeners": 7, "server_time": "{to_rfc3339(NOW)}"}}'.encode()
    assert schedule.listeners(state, NOW + SECOND_NS) == 7
    assert schedule.listeners(state, NOW + 60 * SECOND_NS) is None
    for torn in (b"", b"{}", b"[]", b'{"listeners": null, "server_time": "' + to_rfc3339(NOW).encode() + b'"}'):
        assert schedule.listeners(torn, NOW) is None


def test_the_offset_of_the_start_is_read_from_the_journal() -> None:
    begun = lifecycle.begin(SPEC, NOW)
    journal = lifecycle.encode(begun, None) + lifecycle.encode(begun, Event.START_DUE, on_air_offset_ms=11.5)
    assert schedule.on_air_offset_ms(journal) == 11.5
    assert schedule.on_air_offset_ms(lifecycle.encode(begun, None)) is None


def test_the_view_follows_the_life_not_the_announcement() -> None:
    held = Life(State.HOLDING, Cause.HOST, T, T + MINUTE, resume_at_ns=T + 2 * MINUTE)
    seen = schedule.view(SPEC, held, schedule.Facts(listeners=3, has_recording=True), BASES)
    assert (seen.starts_at, seen.resume_at) == (to_rfc3339(T + MINUTE), to_rfc3339(T + 2 * MINUTE))
    assert (seen.audience_url, seen.studio_url) == ("http://a/s/abc", "http://s/")
    assert seen.recording_url == "/api/v1/spaces/abc/recording.m4a"


def test_the_entity_tag_changes_with_what_can_be_changed_only() -> None:
    seen = schedule.view(SPEC, life(State.SCHEDULED), schedule.Facts(), BASES)
    assert etag(seen) == etag(seen.model_copy(update={"listeners": 9, "on_air_offset_ms": 1.0}))
    assert etag(seen) != etag(seen.model_copy(update={"title": "Other"}))
    check_match(seen, etag(seen))
    check_match(seen, f'"x", {etag(seen)}')
    check_match(seen, "*")
    assert code_of(lambda: check_match(seen, '"x"')) == "precondition.stale"
    assert code_of(lambda: check_match(seen, None)) == "precondition.missing"
