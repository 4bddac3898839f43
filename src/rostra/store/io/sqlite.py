"""The store in one SQLite file, `<data>/rostra.db`: nothing to install, shared by the studio and the command line.

WAL, so that a reader never waits for a writer; a writer waits up to 5 s for another. `BEGIN IMMEDIATE` takes the
write lock at once: a transaction that begins as a reader and then writes could not wait for it (SQLITE_BUSY_SNAPSHOT).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc

from rostra.kernel.errors import OperatorError, PeerError, RostraError, Unavailable
from rostra.kernel.io.files import make_private, unwritable
from rostra.space.grants import Role
from rostra.space.spec import Recording, Spec, Start
from rostra.store import checks
from rostra.store.checks import Check
from rostra.store.people import Act, Link
from rostra.store.port import Store
from rostra.store.spaces import Row, unknown

BUSY_MS: Final = 5000
"""Writes here take a few milliseconds; who waits longer than this waits for a process that hangs."""

_METADATA: Final = sa.MetaData()
_SPACES: Final = sa.Table(
    "spaces",
    _METADATA,
    *(sa.Column(name) for name in ("title", "doors_s", "start", "recording", "time_zone", "planned_s", "auto_end_s")),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("starts_at_ns", sa.BigInteger),
    sa.Column("created_ns", sa.BigInteger),
    sa.Column("version", sa.Integer),
)
_LINKS: Final = sa.Table(
    "links",
    _METADATA,
    sa.Column("id", sa.String, primary_key=True),
    *(sa.Column(name) for name in ("space", "role", "label")),
    *(sa.Column(name, sa.BigInteger) for name in ("created_ns", "expires_ns", "revoked_ns")),
)
_ACTS: Final = sa.Table(
    "acts",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ns", sa.BigInteger),
    *(sa.Column(name) for name in ("actor", "verb", "space", "subject", "detail")),
)

_CHECKS: Final = sa.Table(
    "checks",
    _METADATA,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("space", "seat")),
    sa.Column("at_ns", sa.BigInteger),
    *(sa.Column(name) for name in ("link", "name", "verdict", "advice", "measured")),
)


def open_store(data: Path) -> Store:
    """The store of the data directory `data`, made if need be and brought up to this program's version.

    Raises:
        OperatorError: `data.unwritable`; `store.newer` when a newer Rostra wrote it; `store.failed` when it is damaged.
        Unavailable: `store.busy` when another process keeps it locked.
    """
    path = make_private(data) / "rostra.db"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise unwritable(path, error) from None
    store = SqliteStore(path)
    try:
        store.upgrade()
    except BaseException:
        store.close()
        raise
    return store


def _connected(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begun(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        raise _explain(path, str(error.orig)) from None


def _explain(path: Path, reason: str) -> RostraError:
    if "locked" in reason or "busy" in reason:
        return Unavailable(
            "store.busy", "The database is kept busy by another process.", "Try again; if it stays so, restart Rostra."
        )
    return OperatorError(
        "store.failed",
        f"The database {path} cannot be used: {reason}.",
        "Check the disk's free space and the file's permissions, or restore it from a backup.",
    )


class SqliteStore:
    """See `rostra.store.port.Store`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
        sa.event.listen(self._engine, "connect", _connected)
        sa.event.listen(self._engine, "begin", _begun)
        self._writing = self._engine.execution_options(write=True)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with _explained(self._path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with _explained(self._path), self._writing.begin() as connection:
            yield connection

    def upgrade(self) -> None:
        """Walk the migrations to the head, in one transaction: all of them or none."""
        config = Config()
        config.set_main_option("script_location", "rostra.store.io:migrations")
        scripts = ScriptDirectory.from_config(config)
        known = {script.revision for script in scripts.walk_revisions()}
        with self._write() as connection:
            at = set(MigrationContext.configure(connection).get_current_heads())
            if not at <= known:
                raise OperatorError(
                    "store.newer",
                    f"The database {self._path} was written by a newer version of Rostra ({', '.join(at - known)}).",
                    "Install that version or a later one, or name another folder with --data.",
                )
            if at != set(scripts.get_heads()):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    def check(self) -> None:
        with self._read() as connection:
            connection.execute(sa.select(sa.func.count()).select_from(_SPACES)).scalar_one()

    def close(self) -> None:
        self._engine.dispose()

    # Spaces

    def add_space(self, spec: Spec, created_ns: int) -> Row:
        with self._write() as connection:
            try:
                connection.execute(_SPACES.insert().values(**asdict(spec), created_ns=created_ns, version=1))
            except exc.IntegrityError:
                raise PeerError(
                    "space.exists", f"There is a Space “{spec.id}” already.", "Choose another id."
                ) from None
        return Row(spec, created_ns)

    def space(self, space: str) -> Row:
        with self._read() as connection:
            found = connection.execute(_SPACES.select().where(_SPACES.c.id == space)).mappings().first()
        if found is None:
            raise PeerError("space.unknown", unknown(space), "Check the link.")
        return _row(found)

    def spaces(self) -> list[Row]:
        latest = _SPACES.select().order_by(_SPACES.c.starts_at_ns.desc(), _SPACES.c.id)
        with self._read() as connection:
            return [_row(found) for found in connection.execute(latest).mappings()]

    def change_space(self, spec: Spec, version: int) -> Row:
        with self._write() as connection:
            found = connection.execute(_SPACES.select().where(_SPACES.c.id == spec.id)).mappings().first()
            if found is None:
                raise PeerError("space.unknown", unknown(spec.id), "Check the link.")
            row = _row(found)
            if row.version != version:
                raise PeerError(
                    "space.changed", "Somebody else has just changed this Space.", "Look at it again, then change it."
                )
            connection.execute(
                _SPACES.update().where(_SPACES.c.id == spec.id).values(**asdict(spec), version=version + 1)
            )
        return Row(spec, row.created_ns, version + 1)

    # people

    def add_link(self, link: Link) -> None:
        with self._write() as connection:
            try:
                connection.execute(_LINKS.insert().values(**asdict(link)))
            except exc.IntegrityError:
                raise PeerError("link.exists", f"There is a link “{link.id}” already.") from None

    def link(self, link_id: str) -> Link | None:
        with self._read() as connection:
            return _find_link(connection, link_id)

    def links(self, space: str) -> list[Link]:
        oldest = _LINKS.select().where(_LINKS.c.space == space).order_by(_LINKS.c.created_ns, sa.text("rowid"))
        with self._read() as connection:
            return [_link(found) for found in connection.execute(oldest).mappings()]

    def revoke_link(self, link_id: str, at_ns: int) -> Link:
        with self._write() as connection:
            link = _find_link(connection, link_id)
            if link is None:
                raise PeerError("link.unknown", "There is no such link.", "Reload the list of links.")
            if link.revoked_ns is not None:
                return link
            connection.execute(_LINKS.update().where(_LINKS.c.id == link_id).values(revoked_ns=at_ns))
        return replace(link, revoked_ns=at_ns)

    def record(self, act: Act) -> None:
        with self._write() as connection:
            connection.execute(_ACTS.insert().values(**asdict(act)))

    def acts(self, space: str, *, verb: str = "", actor: str = "") -> list[Act]:
        wanted = _ACTS.select().where(_ACTS.c.space == space).order_by(_ACTS.c.id)
        if verb:
            wanted = wanted.where(_ACTS.c.verb == verb)
        if actor:
            wanted = wanted.where(_ACTS.c.actor == actor)
        with self._read() as connection:
            return [
                Act(**{name: value for name, value in found.items() if name != "id"})
                for found in connection.execute(wanted).mappings()
            ]

    # checks

    def keep_check(self, check: Check) -> None:
        mine = (_CHECKS.c.space == check.space) & (_CHECKS.c.seat == check.seat)
        of_link = _CHECKS.select().where((_CHECKS.c.space == check.space) & (_CHECKS.c.link == check.link))
        spare = of_link.order_by(_CHECKS.c.at_ns.desc()).offset(checks.OF_LINK_MAX).with_only_columns(_CHECKS.c.seat)
        with self._write() as connection:
            connection.execute(_CHECKS.delete().where(mine))
            try:
                connection.execute(_CHECKS.insert().values(**asdict(check) | {"advice": " ".join(check.advice)}))
            except exc.IntegrityError:
                raise PeerError("space.unknown", unknown(check.space), "Check the link.") from None
            for seat in connection.execute(spare).scalars().all():
                connection.execute(_CHECKS.delete().where((_CHECKS.c.space == check.space) & (_CHECKS.c.seat == seat)))

    def checks(self, space: str) -> list[Check]:
        latest = _CHECKS.select().where(_CHECKS.c.space == space).order_by(_CHECKS.c.at_ns.desc(), _CHECKS.c.seat)
        with self._read() as connection:
            return [
                Check(**{**found, "advice": tuple(found["advice"].split())})
                for found in connection.execute(latest).mappings()
            ]


def _row(found: sa.RowMapping) -> Row:
    values = dict(found)
    created_ns, version = values.pop("created_ns"), values.pop("version")
    values |= {"start": Start(values["start"]), "recording": Recording(values["recording"])}
    return Row(Spec(**values), created_ns, version)


def _find_link(connection: sa.Connection, link_id: str) -> Link | None:
    found = connection.execute(_LINKS.select().where(_LINKS.c.id == link_id)).mappings().first()
    return None if found is None else _link(found)


def _link(found: sa.RowMapping) -> Link:
    return Link(**{**found, "role": Role(found["role"])})
