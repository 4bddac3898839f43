"""Which processes should run, and when one is restarted."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rostra.kernel.units import MS_NS, SECOND_NS
from rostra.ops.jobs import Job
from rostra.ops.supervise import (
    PAUSES_MS,
    PROGRAMME_LEAD_S,
    SILENCE_MS_MAX,
    STAGE_LEAD_S,
    START_MS_MAX,
    YOUNG_MS,
    Announced,
    Care,
    fronted,
    wanted,
)
from rostra.ops.wire import ROLES
from rostra.space.lifecycle import LIVE, State, begin
from rostra.space.spec import Spec
from rostra.tls.protection import Way

T = 1_800_000_000 * SECOND_NS
SPEC = Spec("abc", "A talk", T, doors_s=600)
SCHEDULED = Announced(SPEC, begin(SPEC, 0))
DOORS = SPEC.doors_at_ns


def roles(space: Announced, wall_ns: int) -> set[str]:
    return {job.role for job in wanted([space], 2, wall_ns) if job.key == "abc"}


def test_studio_keeper_check_and_workers_always_run() -> None:
    assert wanted([], 2, T) == {Job("studio"), Job("keeper"), Job("check"), Job("worker", "0"), Job("worker", "1")}


def test_tls_stands_before_the_workers_and_nothing_serves_without_a_certificate() -> None:
    jobs = wanted([], 2, T)
    terminators = {Job("terminator", "0"), Job("terminator", "1")}
    for way in (Way.PLAIN, Way.TERMINATOR):
        assert fronted(jobs, way, 2, certified=True) == jobs
    assert fronted(jobs, Way.FILES, 2, certified=True) == jobs | terminators
    assert fronted(jobs, Way.ACME, 2, certified=True) == jobs | terminators | {Job("certifier")}
    assert fronted(jobs, Way.ACME, 2, certified=False) == (jobs | {Job("certifier")}) - {Job("studio")}


def test_every_role_has_its_patience() -> None:
    assert set(SILENCE_MS_MAX) == set(ROLES)


def test_a_space_wakes_before_its_doors() -> None:
    assert roles(SCHEDULED, DOORS - STAGE_LEAD_S * SECOND_NS - 1) == set()
    assert roles(SCHEDULED, DOORS - STAGE_LEAD_S * SECOND_NS) == {"stage"}
    assert roles(SCHEDULED, DOORS - PROGRAMME_LEAD_S * SECOND_NS) == {"stage", "programme"}


@given(st.sampled_from(State), st.integers(0, 2 * T))
def test_a_live_space_has_both_processes_at_any_time_and_an_ended_one_has_none(state: State, wall_ns: int) -> None:
    found = roles(replace(SCHEDULED, life=replace(SCHEDULED.life, state=state)), wall_ns)
    if state in LIVE:
        assert found == {"stage", "programme"}
    elif state is not State.SCHEDULED:
        assert found == set()


def test_a_moved_start_moves_the_waking() -> None:
    later = replace(SCHEDULED, life=replace(SCHEDULED.life, starts_at_ns=T + 86_400 * SECOND_NS))
    assert roles(later, DOORS) == set()


def test_a_recording_that_was_left_uncut_gets_a_programme_and_no_stage() -> None:
    ended = replace(SCHEDULED, life=replace(SCHEDULED.life, state=State.ENDED), uncut=True)
    assert roles(ended, T) == {"programme"}


def test_a_first_death_is_followed_by_a_start_at_once_and_dying_young_again_and_again_by_growing_pauses() -> None:
    care, now = Care(Job("stage", "abc")), 0
    pauses = []
    for _ in range(len(PAUSES_MS) + 2):
        care.started(7, now)
        care.ended(now + 1)
        pauses.append((care.next_start_ns - now - 1) // MS_NS)
        now = care.next_start_ns
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSES_MS[-1]
    care.started(7, now)
    care.ended(now + YOUNG_MS * MS_NS)
    assert care.may_start(care.next_start_ns)
    assert care.next_start_ns == now + YOUNG_MS * MS_NS, "a long life is forgiven"


def test_a_silent_process_is_hung_and_a_starting_one_is_given_time() -> None:
    care = Care(Job("programme", "abc"))
    assert not care.hung(0, T), "what does not run cannot hang"
    care.started(7, T)
    limit = SILENCE_MS_MAX["programme"] * MS_NS
    assert not care.hung(T - 5, T + START_MS_MAX * MS_NS), "a heartbeat of its predecessor says nothing"
    assert care.hung(T - 5, T + START_MS_MAX * MS_NS + 1)
    assert not care.hung(T + 10, T + 10 + limit)
    assert care.hung(T + 10, T + 11 + limit)
