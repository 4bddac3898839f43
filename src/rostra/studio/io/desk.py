"""The host's desk: everything that can be done with Spaces and links, with or without a server.

The studio's web application and the command line both sit at it. A command goes to whoever owns the lifecycle: to the
programme through `programme.sock` while it runs, else the desk takes the journal's pen itself. Each Space is edited by
one at a time, in whatever process (`edit.lock`).
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from rostra.kernel.clock import from_iso8601, to_rfc3339
from rostra.kernel.errors import PeerError, RostraError, Unavailable
from rostra.kernel.ids import is_space_id, make_id
from rostra.kernel.io import system
from rostra.kernel.io.files import Lock
from rostra.space import lifecycle
from rostra.space.grants import Grant, Role
from rostra.space.io import sockets
from rostra.space.io.folder import Folder, Journal, check_sock
from rostra.space.lifecycle import Event, Life
from rostra.space.spec import Spec
from rostra.store.io.sqlite import open_store
from rostra.store.people import Act, Link
from rostra.store.port import Store
from rostra.store.spaces import Row, unknown
from rostra.studio import api, links, recording, schedule
from rostra.studio.io.keys import links_key
from rostra.studio.schedule import Bases, Facts, Order

log = structlog.get_logger()

OPERATOR: Final = "operator"
"""The actor of what is done on the command line, in the audit trail."""

EDIT_WAIT_S: Final = 5.0
COMMAND_DEADLINE_MS: Final = 2000
RESTART_PATIENCE_S: Final = 3.0
"""A programme that died is back within a second; its lifecycle is not taken over in the meantime."""


@dataclass(frozen=True, slots=True)
class Created:
    """A new Space and its first links by role (`host`, `speaker`), as full addresses."""

    space: api.Space
    links: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """What `rostra space create --json` prints."""
        space = self.space
        return {
            "id": space.id,
            "audience_url": space.audience_url,
            "studio_url": space.studio_url,
            "links": self.links,
            "starts_at": space.starts_at,
        }


class Desk:
    """Safe to use from several threads. Raises what its parts raise: PeerError, OperatorError, Unavailable."""

    def __init__(
        self,
        data: Path,
        shared: Path,
        audience_base: str,
        studio_base: str,
        *,
        clock: Callable[[], int] = lambda: system.now().wall_ns,
        patience_s: float = RESTART_PATIENCE_S,
    ) -> None:
        self.bases = Bases(audience_base.rstrip("/"), studio_base.rstrip("/"))
        self._key = links_key(data)
        self.store: Store = open_store(data)
        self._data = data
        self._shared = shared
        self._clock = clock
        self._patience_s = patience_s
        self._mend()

    def close(self) -> None:
        self.store.close()

    def now_ns(self) -> int:
        return self._clock()

    def folder(self, space: str) -> Folder:
        """Raises PeerError `space.unknown` for what cannot be an id, before it becomes a path."""
        if not is_space_id(space):
            raise PeerError("space.unknown", unknown(space[:40]), "Check the link.")
        return Folder(self._data, self._shared, space)

    @property
    def check_sock(self) -> Path:
        return check_sock(self._data)

    def note(self, actor: str, verb: str, space: str = "", subject: str = "", detail: str = "") -> None:
        """Add to the audit trail."""
        self.store.record(Act(self.now_ns(), actor, verb, space, subject, detail))

    # Spaces

    def create(
        self,
        title: str,
        starts_at: str,
        *,
        doors_s: int | None = None,
        start: str | None = None,
        recording: str | None = None,
        time_zone: str | None = None,
        actor: str = OPERATOR,
    ) -> Created:
        """Announce a Space: its row, folder and first links. The folder's space.json comes last: then it exists."""
        asked = api.NewSpace.model_construct(
            title=title, starts_at=starts_at, doors_s=doors_s, start=start, recording=recording, time_zone=time_zone
        )
        now_ns = self.now_ns()
        spec = schedule.announce(make_id(os.urandom(5)), asked, now_ns)
        _check_zone(spec.time_zone)
        folder = self.folder(spec.id).make()
        life = lifecycle.begin(spec, now_ns)
        self._write_life(folder, life, None)
        row = self.store.add_space(spec, now_ns)
        urls = {role.value: self.give(spec.id, role, actor=actor).url for role in (Role.HOST, Role.SPEAKER)}
        folder.write_spec(spec)
        self.note(actor, "create", spec.id, detail=spec.title)
        return Created(self._view(row, folder, life), urls)

    def list(self) -> list[api.Space]:
        """All Spaces, the latest start first; one whose journal cannot be read is shown as it was announced."""
        return [self._look_or_announce(row) for row in self.store.spaces()]

    def show(self, space: str) -> api.Space:
        """Raises PeerError `space.unknown`."""
        self.folder(space)
        return self._look(self.store.space(space))

    def life(self, space: str) -> Life:
        """Where the Space stands, by its journal."""
        return self._life(self.store.space(space), self.folder(space))

    def command(
        self,
        space: str,
        verb: str,
        *,
        minutes: int | None = None,
        starts_at: str | None = None,
        actor: str = OPERATOR,
    ) -> api.Space:
        """go, hold, music, resume, end, reschedule, postpone, cancel, approve or withdraw."""
        event = _event(verb)
        with self._editing(space) as (row, folder):
            life = self._life(row, folder)
            order = schedule.order(event, life, self.now_ns(), minutes=minutes, starts_at=starts_at)
            if event is Event.APPROVE and not _has_recording(folder):
                raise PeerError("space.state", "There is no recording to approve.", "It appears shortly after the end.")
            life = self._carry_out(row, folder, life, order)
            if order.given.starts_at_ns is not None:
                row = self._announce(row, folder, order.given.starts_at_ns)
            self.note(actor, verb, space, detail=_detail(order))
            return self._view(row, folder, life)

    def edit(
        self, space: str, change: api.SpaceChange, *, if_match: str | None = "*", actor: str = OPERATOR
    ) -> api.Space:
        """Change an announcement, if the Space still has the entity tag `if_match` (`*`: whatever it has)."""
        with self._editing(space) as (row, folder):
            life = self._life(row, folder)
            api.check_match(self._view(row, folder, life), if_match)
            wanted, starts_at_ns = schedule.edit(row.spec, life, change, self.now_ns())
            _check_zone(wanted.time_zone)
            if starts_at_ns is not None:
                moved = Order(lifecycle.Input(Event.RESCHEDULE, starts_at_ns=starts_at_ns))
                life = self._carry_out(row, folder, life, moved)
            if wanted != row.spec:
                row = self.store.change_space(wanted, row.version)
                folder.write_spec(wanted)
                self.note(actor, "edit", space, detail=change.model_dump_json(exclude_none=True))
            return self._view(row, folder, life)

    # links

    def give(
        self, space: str, role: str, *, label: str = "", expires_at: str | None = None, actor: str = OPERATOR
    ) -> api.GivenLink:
        """Make a link for `role` in a Space."""
        expires_ns = None if expires_at is None else from_iso8601(expires_at)
        if expires_ns is not None and expires_ns <= self.now_ns():
            raise PeerError("link.past", "The link would have expired already.", "Choose a later time.")
        link = Link(make_id(os.urandom(10)), space, Role(role), label.strip(), self.now_ns(), expires_ns)
        self.store.add_link(link)
        self.note(actor, "give", space, subject=link.id, detail=link.role)
        return self._given(link)

    def links(self, space: str) -> Sequence[api.Link]:
        """The links of a Space, oldest first, revoked ones too."""
        self.show(space)
        return [_shown(link) for link in self.store.links(space)]

    def revoke(self, space: str, link_id: str, *, actor: str = OPERATOR) -> api.Link:
        """Take a link back. Raises PeerError `link.unknown`, also for one of another Space."""
        link = self.store.link(link_id)
        if link is None or link.space != space:
            raise PeerError("link.unknown", "There is no such link.", "Reload the list of links.")
        revoked = self.store.revoke_link(link_id, self.now_ns())
        self.note(actor, "revoke", space, subject=link_id)
        return _shown(revoked)

    def owner_link(self) -> str:
        """The address that gives everything on this installation; made on first use, the same ever after."""
        for link in self.store.links(""):
            if link.revoked_ns is None and link.role is Role.OWNER:
                return self._given(link).url
        return self.give("", Role.OWNER).url

    def admit(self, token: str) -> Grant:
        """What the bearer of `token` holds now. Raises PeerError `link.*`."""
        grant = links.read(self._key, token, self.now_ns())
        links.check(self.store.link(grant.link))
        return grant

    def _given(self, link: Link) -> api.GivenLink:
        token = links.issue(self._key, Grant(link.id, link.role, link.space), link.expires_ns)
        return api.GivenLink(**_shown(link).model_dump(), url=self.bases.link_url(token), token=token)

    # who writes

    @contextmanager
    def _editing(self, space: str) -> Iterator[tuple[Row, Folder]]:
        folder = self.folder(space)
        self.store.space(space)
        lock = Lock(folder.make().path / "edit.lock")
        try:
            _wait_for(lock)
            yield self.store.space(space), folder
        finally:
            lock.release()

    def _carry_out(self, row: Row, folder: Folder, life: Life, order: Order) -> Life:
        """Give the order to the programme; if there is none, step the lifecycle here."""
        deadline = time.monotonic() + (self._patience_s if life.state in lifecycle.LIVE else 0)
        while True:
            try:
                sockets.call(folder.programme_sock, order.verb, deadline_ms=COMMAND_DEADLINE_MS, **order.args)
            except Unavailable as error:
                if error.code != "process.away":
                    raise
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                after = lifecycle.step(life, order.given, row.spec, self.now_ns())
                self._write_life(folder, after, order.given.event)
                return after
            return self._life(row, folder)

    def _write_life(self, folder: Folder, life: Life, event: Event | None) -> None:
        journal = Journal(folder)
        try:
            journal.append(life, event)
        finally:
            journal.close()

    def _announce(self, row: Row, folder: Folder, starts_at_ns: int) -> Row:
        moved = schedule.moved(row.spec, starts_at_ns)
        row = self.store.change_space(moved, row.version)
        folder.write_spec(moved)
        return row

    def _mend(self) -> None:
        """Write the space.json that a process was about to write when it died: the row is what counts."""
        for row in self.store.spaces():
            folder = self.folder(row.spec.id)
            try:
                if _spec_on_disk(folder) != row.spec:
                    with self._editing(row.spec.id) as (current, _):
                        folder.write_spec(current.spec)
            except (RostraError, OSError) as error:  # one Space's trouble is its own
                log.error("space_not_mended", space=row.spec.id, reason=str(error))

    # what there is to see

    def _look(self, row: Row) -> api.Space:
        folder = self.folder(row.spec.id)
        return self._view(row, folder, self._life(row, folder))

    def _look_or_announce(self, row: Row) -> api.Space:
        try:
            return self._look(row)
        except (RostraError, OSError) as error:
            log.error("space_unreadable", space=row.spec.id, reason=str(error))
            return schedule.view(row.spec, lifecycle.begin(row.spec, row.created_ns), Facts(), self.bases)

    def _life(self, row: Row, folder: Folder) -> Life:
        return folder.read_life() or lifecycle.begin(row.spec, row.created_ns)

    def _view(self, row: Row, folder: Folder, life: Life) -> api.Space:
        facts = Facts(
            listeners=schedule.listeners(_read(folder.state_json), self.now_ns()),
            on_air_offset_ms=schedule.on_air_offset_ms(_read(folder.journal)),
            has_recording=_has_recording(folder),
        )
        return schedule.view(row.spec, life, facts, self.bases)


def _spec_on_disk(folder: Folder) -> Spec | None:
    try:
        return folder.read_spec()
    except RostraError:
        return None


def _event(verb: str) -> Event:
    if verb not in {event.value for event in lifecycle.COMMANDS}:
        known = ", ".join(sorted(lifecycle.COMMANDS))
        raise PeerError("command.unknown", f"“{verb}” is not a command.", f"Commands: {known}.")
    return Event(verb)


def _detail(order: Order) -> str:
    return " ".join(f"{name}={value}" for name, value in order.args.items() if value is not None)


def _wait_for(lock: Lock) -> None:
    deadline = time.monotonic() + EDIT_WAIT_S
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise Unavailable("space.busy", "Somebody else is changing this Space just now.", "Try again.")
        time.sleep(0.02)


def _check_zone(name: str) -> None:
    """Raises PeerError `time.zone`; a machine without a time-zone database takes every name."""
    try:
        ZoneInfo("UTC")
    except ZoneInfoNotFoundError:
        return
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PeerError("time.zone", f"“{name}” is not a time zone.", "Use a name such as America/New_York.") from None


def _has_recording(folder: Folder) -> bool:
    return (folder.programmes / recording.DESCRIPTION).exists()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _shown(link: Link) -> api.Link:
    return api.Link(
        id=link.id,
        role=link.role,
        label=link.label,
        created_at=to_rfc3339(link.created_ns),
        expires_at=None if link.expires_ns is None else to_rfc3339(link.expires_ns),
        revoked=link.revoked_ns is not None,
    )
