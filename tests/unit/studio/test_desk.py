"""The desk without a server: what it writes, whom it asks, and what it refuses."""

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rostra.kernel.errors import OperatorError, PeerError, Unavailable
from rostra.kernel.units import SECOND_NS
from rostra.space import lifecycle
from rostra.space.commands import Request
from rostra.space.grants import Role
from rostra.space.io.folder import Journal, spaces
from rostra.space.lifecycle import Cause, Event, Life, State
from rostra.studio.api import SpaceChange, etag
from rostra.studio.io.desk import Created, Desk


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises((PeerError, Unavailable)) as caught:
        call()
    return caught.value.code


def set_state(desk: Desk, space: str, state: State, **more: Any) -> Life:
    life = replace(desk.life(space), state=state, cause=Cause.TIME, **more)
    pen = Journal(desk.folder(space))
    pen.append(life, None)
    pen.close()
    return life


def test_a_new_space_is_a_row_a_folder_and_two_links(desk: Desk, created: Created, tmp_path: Path) -> None:
    space = created.space
    assert spaces(tmp_path / "data") == [space.id]
    assert desk.folder(space.id).read_spec() == desk.store.space(space.id).spec
    assert desk.show(space.id) == created.space == desk.list()[0]
    assert (space.state, space.cause) == (State.SCHEDULED, Cause.CREATED)
    summary = created.summary()
    assert set(summary) == {"id", "audience_url", "studio_url", "links", "starts_at"}
    assert summary["audience_url"] == f"https://live.example:8001/s/{space.id}"
    roles = {role: desk.admit(url.partition("/#")[2]) for role, url in created.links.items()}
    assert {role: (grant.role, grant.space) for role, grant in roles.items()} == {
        "host": (Role.HOST, space.id),
        "speaker": (Role.SPEAKER, space.id),
    }


def test_the_key_is_made_once_and_is_ours_alone(desk: Desk, tmp_path: Path, clock: Any) -> None:
    link = desk.owner_link()
    key = tmp_path / "data" / "keys" / "links.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [entry.name for entry in key.parent.iterdir()] == ["links.key"]
    again = Desk(tmp_path / "data", tmp_path / "shared", "http://a", "http://s", clock=clock)
    assert again.owner_link().partition("#")[2] == link.partition("#")[2]
    again.close()


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "links.key").write_bytes(b"short")
    with pytest.raises(OperatorError) as caught:
        Desk(tmp_path, tmp_path, "", "")
    assert caught.value.code == "links.key"


@pytest.mark.parametrize("space", ["abc", "..", "a/b", "", "A" * 200])
def test_unknown_spaces_are_unknown_whatever_they_are_called(desk: Desk, space: str) -> None:
    for call in (desk.show, desk.links, lambda name: desk.command(name, "go")):
        assert code_of(lambda call=call: call(space)) == "space.unknown"


def test_before_the_programme_runs_the_desk_steps_the_lifecycle(desk: Desk, created: Created, clock: Any) -> None:
    space = created.space.id
    assert desk.command(space, "postpone").state is State.POSTPONED
    moved = desk.command(space, "reschedule", starts_at=clock.after(7200))
    assert (moved.state, moved.starts_at) == (State.SCHEDULED, clock.after(7200))
    assert desk.folder(space).read_spec() == desk.store.space(space).spec
    assert desk.folder(space).read_spec().starts_at_ns == clock.now_ns + 7200 * SECOND_NS
    assert desk.command(space, "cancel").state is State.CANCELLED
    assert code_of(lambda: desk.command(space, "go")) == "space.state"
    events = [json.loads(line)["event"] for line in desk.folder(space).journal.read_bytes().splitlines()]
    assert events == [None, "postpone", "reschedule", "cancel"]
    assert [act.verb for act in desk.store.acts(space)][-3:] == ["postpone", "reschedule", "cancel"]


def test_while_the_programme_runs_it_is_asked(desk: Desk, created: Created, clock: Any, processes: Any) -> None:
    space = created.space.id
    doors = set_state(desk, space, State.DOORS_OPEN)
    pen = Journal(desk.folder(space))

    def programme(request: Request) -> dict[str, Any]:
        after = replace(doors, starts_at_ns=request.args["until_ns"])
        pen.append(after, Event.HOLD)
        return {}

    running = processes(desk.folder(space).programme_sock, programme)
    seen = desk.command(space, "hold", minutes=5)
    pen.close()
    assert running.asked == [("hold", {"until_ns": doors.starts_at_ns + 300 * SECOND_NS})]
    assert seen.starts_at == clock.after(3900)


def test_what_the_programme_refuses_is_refused_in_its_words(desk: Desk, created: Created, processes: Any) -> None:
    def programme(request: Request) -> dict[str, Any]:
        raise PeerError("space.nobody_armed", "Nobody.", "Arm somebody.")

    processes(desk.folder(created.space.id).programme_sock, programme)
    assert code_of(lambda: desk.command(created.space.id, "go")) == "space.nobody_armed"
    assert len(desk.folder(created.space.id).journal.read_bytes().splitlines()) == 1


def test_a_programme_that_holds_the_journal_but_does_not_answer_is_not_overridden(desk: Desk, created: Created) -> None:
    set_state(desk, created.space.id, State.ON_AIR)
    pen = Journal(desk.folder(created.space.id))
    assert code_of(lambda: desk.command(created.space.id, "end")) == "journal.held"
    pen.close()
    assert desk.command(created.space.id, "end").state is State.ENDED


def test_an_edit_is_written_everywhere(desk: Desk, created: Created, clock: Any) -> None:
    space = created.space.id
    seen = desk.edit(space, SpaceChange(title="Other", starts_at=clock.after(5400), time_zone="Europe/Paris"))
    assert (seen.title, seen.starts_at, seen.time_zone) == ("Other", clock.after(5400), "Europe/Paris")
    assert desk.folder(space).read_spec() == desk.store.space(space).spec
    assert desk.life(space).starts_at_ns == desk.store.space(space).spec.starts_at_ns
    assert code_of(lambda: desk.edit(space, SpaceChange(time_zone="Atlantis/Capital"))) == "time.zone"
    assert code_of(lambda: desk.edit(space, SpaceChange(time_zone="../etc/passwd"))) == "time.zone"


def test_of_editors_at_once_with_the_same_tag_one_wins(desk: Desk, created: Created) -> None:
    tag = etag(created.space)

    def rename(title: str) -> str:
        try:
            return desk.edit(created.space.id, SpaceChange(title=title), if_match=tag).title
        except PeerError as error:
            return error.code

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(rename, "ABCDEF"))
    assert results.count("precondition.stale") == 5
    assert desk.show(created.space.id).title in results


def test_a_recording_is_approved_once_there_is_one(desk: Desk, created: Created) -> None:
    space = created.space.id
    set_state(desk, space, State.ENDED)
    assert code_of(lambda: desk.command(space, "approve")) == "space.state"
    folder = desk.folder(space).programmes / "floor" / "aac"
    folder.mkdir(parents=True)
    (folder / "recording.json").write_text('{"v":1,"head_bytes":1,"start":0,"end":1}')
    assert desk.command(space, "approve").state is State.REPLAY
    assert desk.command(space, "withdraw").state is State.ENDED


def test_links_expire_and_are_taken_back(desk: Desk, created: Created, clock: Any) -> None:
    space = created.space.id
    given = desk.give(space, "speaker", label="Ada", expires_at=clock.after(60))
    assert desk.admit(given.token).role is Role.SPEAKER
    clock.forward(61)
    assert code_of(lambda: desk.admit(given.token)) == "link.expired"
    host = created.links["host"].partition("#")[2]
    link = desk.links(space)[0]
    assert desk.revoke(space, link.id).revoked
    assert code_of(lambda: desk.admit(host)) == "link.revoked"
    assert [each.revoked for each in desk.links(space)] == [True, False, False]
    assert code_of(lambda: desk.give(space, "speaker", expires_at=clock.after(-1))) == "link.past"


def test_a_link_of_another_space_cannot_be_revoked_here(desk: Desk, created: Created, clock: Any) -> None:
    other = desk.create("Other", clock.after(3600)).space.id
    assert code_of(lambda: desk.revoke(other, desk.links(created.space.id)[0].id)) == "link.unknown"


def test_what_a_dying_process_left_undone_is_mended(desk: Desk, created: Created, clock: Any, tmp_path: Path) -> None:
    folder = desk.folder(created.space.id)
    folder.spec_json.unlink()
    Desk(tmp_path / "data", tmp_path / "shared", "", "", clock=clock).close()
    assert folder.read_spec() == desk.store.space(created.space.id).spec


def test_every_command_is_known_by_its_name(desk: Desk, created: Created) -> None:
    assert code_of(lambda: desk.command(created.space.id, "doors_due")) == "command.unknown"
    assert {event.value for event in lifecycle.COMMANDS} >= {"go", "hold", "end", "approve"}
