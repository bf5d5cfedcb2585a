"""What is opened again is sent again: its files are read, and runs that go on have not charged it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.ledger.database import Database, open_database, opened_ledger
from pipeline.ledger.reopening import Reopening
from pipeline.ledger.settled import find_run, settled_session, settled_sessions, target_of

FINISHED, STOPPED, KILLED = 1, 2, 3


def fill(database: Database) -> None:
    """Three runs that each saw sessions 1 and 2, in files 1 and 2; session 3, in file 3, is another's business."""
    rows = "".join(
        f"INSERT INTO session (id, target, custom_id, state, session_id, version_id, trace_sha256, payload_sha256, "
        f"facts, settled_run, seen_run, seen_path, seen_ordinal, seen_sha256) VALUES ({number}, 1, 'c{number}', "
        f"'created', 's{number}', 'v', 't', 'p', x'', 1, 1, {number}, 1, 't');"
        f"INSERT INTO done_file VALUES (1, {number}, 'm', 'f', 0, 1, 0, 0);"
        for number in (1, 2, 3)
    )
    for run, ended in ((FINISHED, "'2026', 0"), (STOPPED, "'2026', 75"), (KILLED, "NULL, NULL")):
        rows += (
            "INSERT INTO run (number, id, target, sources_key, mapping_sha256, config_sha256, started_at, finished_at, "
            f"exit_code, folder) VALUES ({run}, 'run-{run}', 1, 'k', 'm', 'c', '2026', {ended}, '/');"
        )
        for number in (1, 2):
            rows += (
                "INSERT INTO entry (run, path, ordinal, custom_id, outcome, session_id, format, position, records, "
                f"traces, turns, spans, payload_sha256) VALUES ({run}, {number}, 1, 'c{number}', 'created', "
                f"'s{number}', 'langfuse', 'line 1', 1, 1, 1, 0, 'p');"
            )
    database.connection.executescript(f"INSERT INTO target VALUES (1, 'http://api', 'version:v');{rows}")


def outcomes(connection: sqlite3.Connection) -> dict[tuple[int, str], str]:
    return {(run, name): how for run, name, how in connection.execute("SELECT run, custom_id, outcome FROM entry")}


def test_a_session_is_open_for_the_next_run_and_for_those_that_go_on(tmp_path: Path) -> None:
    with opened_ledger(tmp_path) as database:
        fill(database)
        reopening = Reopening(database, 1)
        reopening.choose_rows([1])
        connection = database.connection
        assert [path for (path,) in connection.execute("SELECT path FROM done_file")] == [2, 3]
        with database.transaction():
            reopening.open(1)
        assert settled_session(connection, 1) is None
        assert settled_session(connection, 2) is not None
        opened = {key for key, outcome in outcomes(connection).items() if outcome == "pending"}
        assert opened == {(STOPPED, "c1"), (KILLED, "c1")}


def test_what_was_only_chosen_is_read_again_and_stays_settled(tmp_path: Path) -> None:
    with opened_ledger(tmp_path) as database:
        fill(database)
        Reopening(database, 1).choose_rows([1, 2])
    database = open_database(tmp_path)
    assert [len(page) for page in settled_sessions(database.connection, 1, None)] == [3]
    assert database.connection.execute("SELECT path FROM done_file").fetchall() == [(3,)]
    database.close()


def test_targets_and_runs_that_are_not_there_are_answered_with_those_that_are(tmp_path: Path) -> None:
    with opened_ledger(tmp_path) as database:
        fill(database)
        connection = database.connection
        assert find_run(connection, 1, None).id == "run-3"
        assert find_run(connection, 1, "run-1").number == 1
        with pytest.raises(UsageError, match="run-3, run-2, run-1"):
            find_run(connection, 1, "run-9")
        with pytest.raises(UsageError, match="http://api version:v"):
            target_of(connection, "http://api", "version:w")
