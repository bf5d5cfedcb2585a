"""The ledger's file: one writer, all or nothing, readable by its owner only."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from pipeline.errors import StoppedError, UsageError
from pipeline.ledger.database import open_database, opened_ledger, opened_shadow


def add(database_file: Path, path: str) -> None:
    with opened_ledger(database_file) as database, database.transaction() as connection:
        connection.execute("INSERT INTO path (path) VALUES (?)", (path,))


def paths(state_dir: Path) -> list[str]:
    with opened_ledger(state_dir) as database:
        return [path for (path,) in database.connection.execute("SELECT path FROM path")]


def test_what_was_committed_is_there_the_next_time_and_the_ledger_keeps_its_name(tmp_path: Path) -> None:
    with opened_ledger(tmp_path) as database:
        name = database.ledger_id
    add(tmp_path, "a")
    with opened_ledger(tmp_path) as database:
        assert database.ledger_id == name
    assert paths(tmp_path) == ["a"]


def test_two_ledgers_have_two_names(tmp_path: Path) -> None:
    with opened_ledger(tmp_path / "a") as one, opened_ledger(tmp_path / "b") as other:
        assert one.ledger_id != other.ledger_id


def test_a_transaction_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with opened_ledger(tmp_path) as database:
        with pytest.raises(RuntimeError), database.transaction() as connection:
            connection.execute("INSERT INTO path (path) VALUES ('a')")
            raise RuntimeError
        with database.transaction():
            pass
    assert paths(tmp_path) == []


def test_a_connection_that_is_dropped_in_a_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    database.connection.execute("BEGIN IMMEDIATE")
    database.connection.execute("INSERT INTO path (path) VALUES ('a')")
    database.close()
    assert paths(tmp_path) == []


def test_the_second_run_is_told_who_holds_the_ledger(tmp_path: Path) -> None:
    with opened_ledger(tmp_path):
        with (
            pytest.raises(StoppedError, match=rf"in use by process {os.getpid()} on ") as caught,
            opened_ledger(tmp_path),
        ):
            pass
        assert "run this again" in str(caught.value)
    with opened_ledger(tmp_path):
        pass


def test_the_files_are_the_owners_only(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    add(state_dir, "a")
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in state_dir.iterdir() if file.is_file()} == {0o600}


def test_a_ledger_of_another_schema_is_left_alone(tmp_path: Path) -> None:
    add(tmp_path, "a")
    connection = sqlite3.connect(tmp_path / "ledger.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UsageError, match="schema 99"), opened_ledger(tmp_path):
        pass


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"something else entirely" * 100)
    with pytest.raises((StoppedError, UsageError)), opened_ledger(tmp_path):
        pass
    assert (tmp_path / "ledger.sqlite").read_bytes().startswith(b"something else")


def test_a_ledger_that_was_made_and_killed_before_its_first_commit_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").touch()
    assert paths(tmp_path) == []


def test_a_full_disk_stops_the_run(tmp_path: Path) -> None:
    with opened_ledger(tmp_path) as database:
        pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
        database.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StoppedError, match="nothing more was sent"), database.transaction() as connection:
            connection.executemany("INSERT INTO path (path) VALUES (?)", [("x" * 3_000 + str(n),) for n in range(50)])
        with database.transaction():
            pass


def test_a_state_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot keep the ledger here"), opened_ledger(tmp_path / "file" / "state"):
        pass


def test_a_shadow_sees_the_ledger_and_writes_nothing_to_it(tmp_path: Path) -> None:
    add(tmp_path, "a")
    before = (tmp_path / "ledger.sqlite").read_bytes()
    with opened_shadow(tmp_path) as shadow:
        assert shadow.has_past
        with shadow.transaction() as connection:
            connection.execute("INSERT INTO main.path (path) VALUES ('b')")
            assert connection.execute("SELECT path FROM past.path").fetchall() == [("a",)]
        with pytest.raises(sqlite3.OperationalError):
            shadow.connection.execute("INSERT INTO past.path (path) VALUES ('c')")
    assert (tmp_path / "ledger.sqlite").read_bytes() == before
    assert paths(tmp_path) == ["a"]


def test_a_shadow_needs_no_ledger_and_makes_none(tmp_path: Path) -> None:
    with opened_shadow(tmp_path / "nowhere") as shadow:
        assert not shadow.has_past
    assert not (tmp_path / "nowhere").exists()
