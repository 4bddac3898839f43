"""The store's contract: one suite, every implementation."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rostra.kernel.errors import PeerError
from rostra.kernel.units import SECOND_NS
from rostra.space.grants import Role
from rostra.space.spec import Recording, Spec, Start
from rostra.store.checks import OF_LINK_MAX, Check
from rostra.store.io import sqlite
from rostra.store.people import Act, Link
from rostra.store.port import Store
from rostra.store.spaces import Row

T = 1_800_000_000 * SECOND_NS
SPEC = Spec("abc", "Zwei Stimmen — «très tard»", T, 900, Start.ON_GO, Recording.PUBLIC, "Europe/Paris", 7200, 600)
LINK = Link("l1", "abc", Role.HOST, "Ada", T)

OPEN: dict[str, Callable[[Path], Store]] = {"sqlite": sqlite.open_store}


@pytest.fixture(params=sorted(OPEN))
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return lambda: OPEN[request.param](tmp_path)


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Iterator[Store]:
    store = open_store()
    yield store
    store.close()


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PeerError) as caught:
        call()
    return caught.value.code


def test_a_space_comes_back_as_it_was_stored(store: Store) -> None:
    assert store.add_space(SPEC, T - 1) == store.space("abc") == Row(SPEC, T - 1, 1)
    assert store.spaces() == [Row(SPEC, T - 1, 1)]


def test_unknown_and_doubled_spaces_are_refused(store: Store) -> None:
    store.add_space(SPEC, T)
    assert code_of(lambda: store.space("xyz")) == "space.unknown"
    assert code_of(lambda: store.add_space(SPEC, T)) == "space.exists"
    assert code_of(lambda: store.change_space(replace(SPEC, id="xyz"), 1)) == "space.unknown"


def test_spaces_are_listed_with_the_latest_start_first(store: Store) -> None:
    for space, start in (("one", T), ("two", T + 2), ("three", T + 1)):
        store.add_space(replace(SPEC, id=space, starts_at_ns=start), T)
    assert [row.spec.id for row in store.spaces()] == ["two", "three", "one"]


def test_of_two_editors_the_slower_is_told(store: Store) -> None:
    store.add_space(SPEC, T)
    changed = store.change_space(replace(SPEC, title="Other"), 1)
    assert changed == store.space("abc") == Row(replace(SPEC, title="Other"), T, 2)
    assert code_of(lambda: store.change_space(SPEC, 1)) == "space.changed"
    assert store.space("abc").spec.title == "Other"


def test_links_belong_to_their_space_and_stay_when_revoked(store: Store) -> None:
    owner, speaker = Link("l0", "", Role.OWNER, "", T), Link("l2", "abc", Role.SPEAKER, "", T + 1, T + 9)
    for link in (owner, LINK, speaker):
        store.add_link(link)
    assert store.link("l1") == LINK
    assert store.link("l9") is None
    assert store.links("abc") == [LINK, speaker]
    assert store.links("") == [owner]
    assert store.revoke_link("l1", T + 5).revoked_ns == T + 5
    assert store.links("abc")[0] == replace(LINK, revoked_ns=T + 5)


def test_a_link_is_revoked_once(store: Store) -> None:
    store.add_link(LINK)
    store.revoke_link("l1", T + 5)
    assert store.revoke_link("l1", T + 7).revoked_ns == T + 5
    assert code_of(lambda: store.revoke_link("l9", T)) == "link.unknown"
    assert code_of(lambda: store.add_link(LINK)) == "link.exists"


def test_links_made_at_the_same_instant_keep_their_order(store: Store) -> None:
    made = [replace(LINK, id=f"l{number}") for number in (5, 3, 9, 1)]
    for link in made:
        store.add_link(link)
    assert store.links("abc") == made


def test_the_audit_trail_keeps_order_and_is_found_by_verb_and_actor(store: Store) -> None:
    acts = [Act(T, "l1", "go", "abc"), Act(T, "l2", "mute", "abc", "seat", "x"), Act(T + 1, "l1", "end", "abc")]
    for act in (*acts, Act(T, "l1", "go", "xyz")):
        store.record(act)
    assert store.acts("abc") == acts
    assert store.acts("abc", verb="mute") == [acts[1]]
    assert store.acts("abc", actor="l1") == [acts[0], acts[2]]
    assert store.acts("abc", verb="end", actor="l2") == []


def test_a_guest_s_latest_test_is_the_one_that_counts(store: Store) -> None:
    store.add_space(SPEC, T)
    first = Check("abc", "l1", "seat1", "Ada", T, "poor", ("noise", "level_low"), '{"level_db": -50}')
    other = Check("abc", "l1", "seat2", "Grace", T + 1, "good")
    for check in (first, other):
        store.keep_check(check)
    assert store.checks("abc") == [other, first]
    again = replace(first, at_ns=T + 2, verdict="good", advice=())
    store.keep_check(again)
    assert store.checks("abc") == [again, other]
    assert store.checks("xyz") == []


def test_a_test_belongs_to_a_space_that_there_is(store: Store) -> None:
    assert code_of(lambda: store.keep_check(Check("xyz", "l1", "seat1", "", T, "good"))) == "space.unknown"


def test_a_link_s_tests_are_bounded_and_the_oldest_makes_room(store: Store) -> None:
    store.add_space(SPEC, T)
    made = [Check("abc", "l1", f"seat{number}", "", T + number, "good") for number in range(OF_LINK_MAX + 3)]
    other = Check("abc", "l2", "seat", "", T, "good")
    for check in (other, *made):
        store.keep_check(check)
    assert store.checks("abc") == [*reversed(made[3:]), other]


def test_what_was_stored_outlives_the_process(open_store: Callable[[], Store]) -> None:
    store = open_store()
    store.add_space(SPEC, T)
    store.close()
    again = open_store()
    again.check()
    assert again.space("abc").spec == SPEC
    again.close()


def test_threads_and_processes_write_at_once_and_nothing_is_lost(open_store: Callable[[], Store]) -> None:
    """Two stores over the same data stand for two processes; eight threads each hammer both."""
    stores = [open_store(), open_store()]

    def write(number: int) -> None:
        store = stores[number % 2]
        store.record(Act(T, "l1", "go", "abc", str(number)))
        store.add_link(replace(LINK, id=f"l{number}"))
        store.links("abc")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(80)))
    assert len(stores[0].links("abc")) == len(stores[1].acts("abc")) == 80
    for store in stores:
        store.close()
