"""What SQLite adds to the contract: the file, its history, and what is said when it cannot be used."""

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from rostra.kernel.errors import OperatorError, RostraError, Unavailable
from rostra.store.io import sqlite
from rostra.store.io.sqlite import open_store


def refusal(data: Path) -> RostraError:
    with pytest.raises(RostraError) as caught:
        open_store(data)
    return caught.value


def execute(data: Path, statement: str) -> None:
    connection = sqlite3.connect(data / "rostra.db")
    with connection:
        connection.execute(statement)
    connection.close()


def test_the_file_and_its_companions_are_ours_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = open_store(tmp_path / "data")
        store.check()
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "data").iterdir()}
    finally:
        os.umask(old)
    store.close()
    assert modes == dict.fromkeys(("rostra.db", "rostra.db-wal", "rostra.db-shm"), 0o600)


def test_the_tables_are_those_of_the_migrations(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/rostra.db")
    found = sa.inspect(engine)
    migrated = {
        table: {column["name"] for column in found.get_columns(table)}
        for table in found.get_table_names()
        if table != "alembic_version"
    }
    engine.dispose()
    assert migrated == {
        table.name: {column.name for column in table.columns} for table in sqlite._METADATA.sorted_tables
    }


def test_two_processes_that_start_at_once_both_get_a_whole_database(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(tmp_path), range(4)))
    for store in stores:
        store.check()
        store.close()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    execute(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    error = refusal(tmp_path)
    assert isinstance(error, OperatorError)
    assert error.code == "store.newer"
    assert "9999" in error.sentence


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "rostra.db").write_bytes(b"not a database at all, but long enough to look at" * 100)
    error = refusal(tmp_path)
    assert (error.code, error.exit_code) == ("store.failed", 3)
    assert str(tmp_path) in error.sentence


def test_a_database_that_somebody_locks_is_busy_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(tmp_path).close()
    monkeypatch.setattr(sqlite, "BUSY_MS", 10)
    hog = sqlite3.connect(tmp_path / "rostra.db", isolation_level=None)
    hog.execute("BEGIN IMMEDIATE")
    error = refusal(tmp_path)
    hog.close()
    assert isinstance(error, Unavailable)
    assert error.code == "store.busy"


@pytest.mark.parametrize("prepare", ["file", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, prepare: str) -> None:
    data = tmp_path / "data"
    if prepare == "file":
        data.write_text("")
    else:
        (data / "rostra.db").mkdir(parents=True)
    assert refusal(data).code == "data.unwritable"
