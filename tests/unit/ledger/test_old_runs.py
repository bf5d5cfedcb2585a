"""Runs are forgotten after a while; what was done in them is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger import runs as runs_module
from pipeline.ledger.admission import Policy
from pipeline.ledger.database import Database
from pipeline.ledger.runs import RunLedger, RunRow
from pipeline.ledger.sessions import Batch, Progress, SessionLedger
from pipeline.ledger.settling import Send, Settlement
from pipeline.models import Outcome, SessionImport
from tests.unit.factories import SOURCE, make_session, make_trace
from tests.unit.uploader.nights import open_fast


class Job:
    """A job that runs night after night in one ledger; `name` tells it from others."""

    def __init__(self, database: Database, name: str = "job") -> None:
        self.database = database
        self.runs = RunLedger(database)
        self.target = self.runs.target("https://api.test", "version:v")
        self.paths = self.runs.path_ids([SOURCE])
        self.name = name

    def begin(self, number: int) -> RunRow:
        interrupted = self.runs.find_interrupted(self.target, self.name, "m")
        if interrupted is not None:
            return self.runs.go_on(interrupted, folder=interrupted.folder, config_sha256="c")
        return self.runs.begin(
            run_id=f"{self.name}-{number}",
            folder=Path(f"/runs/{self.name}-{number}"),
            target=self.target,
            sources_key=self.name,
            mapping_sha256="m",
            config_sha256="c",
            started_at=f"2026-01-01T00:00:{number:02}Z",
        )

    def admit(self, run: RunRow, sessions: list[SessionImport], *, retry_rejected: bool = False) -> list[Send]:
        self.runs.add_sources(run, [(self.paths[SOURCE], "f", "langfuse", "reading")])
        self.sessions = SessionLedger(
            self.database,
            run=run.number,
            target=self.target,
            paths=self.paths,
            unchanged_paths=[],
            policy=Policy("auto", retry_rejected),
            keep_records=True,
        )
        return self.sessions.admit(Batch(sessions, [], [], {SOURCE: Progress(len(sessions), 0)}, {}))

    def end(self, run: RunRow, number: int, exit_code: int = 0) -> None:
        self.runs.finish(run, exit_code=exit_code, finished_at=f"2026-01-01T00:00:{number:02}Z", peak_rss_bytes=0)

    def night(self, number: int, sessions: list[SessionImport], outcome: Outcome, *, exit_code: int = 0) -> RunRow:
        run = self.begin(number)
        sends = self.admit(run, sessions)
        self.sessions.sending.settle(
            [Settlement(send, outcome, is_in_doubt=False, error_kind="k", error="e", session_id="s") for send in sends]
        )
        self.end(run, number, exit_code)
        return run

    def prune(self, current: RunRow, keep: int) -> list[str]:
        old = self.runs.old_runs(current, keep=keep)
        for run in old:
            self.runs.forget(run)
        return [run.id for run in old]

    def outcomes(self, run: RunRow) -> dict[str, int]:
        return dict(self.runs.totals(run).outcomes)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_fast(tmp_path)
    yield database
    database.close()


def sessions(count: int) -> list[SessionImport]:
    return [make_session(make_trace(f"t{number}"), ordinal=number + 1) for number in range(count)]


def rows_of(database: Database, run: RunRow) -> int:
    tables = ("entry", "reject", "ignored", "source")
    query = " UNION ALL ".join(f"SELECT 1 FROM {table} WHERE run = {run.number}" for table in tables)
    return len(database.connection.execute(query).fetchall())


def test_the_runs_that_ended_last_are_kept(database: Database) -> None:
    job = Job(database)
    nights = [job.night(number, sessions(2), Outcome.CREATED) for number in range(5)]
    assert job.prune(nights[4], 2) == ["job-2", "job-1", "job-0"]
    assert [rows_of(database, run) for run in nights] == [0, 0, 0, 3, 3]


def test_a_run_that_was_killed_and_continued_is_not_pruned_under_itself(database: Database) -> None:
    big, nightly = Job(database, "big"), Job(database, "nightly")
    killed = big.begin(0)
    big.admit(killed, sessions(2))
    for number in range(1, 5):
        nightly.night(number, sessions(2), Outcome.CREATED)
    continued = big.begin(5)
    assert continued.number == killed.number
    assert big.prune(continued, 1) == ["nightly-3", "nightly-2", "nightly-1"]
    big.end(continued, 6)
    assert big.prune(continued, 1) == []
    assert rows_of(database, continued) == 3


def test_as_many_are_kept_that_were_interrupted_and_no_more(database: Database) -> None:
    """A job whose sources are named by date is never continued once its day is over."""
    killed = []
    for number in range(3):
        job = Job(database, f"2026-08-2{number}")
        killed.append(job.begin(number))
        job.admit(killed[-1], sessions(2))
    nightly = Job(database)
    for number in range(3, 6):
        last = nightly.night(number, sessions(2), Outcome.CREATED)
    assert nightly.prune(last, 2) == ["job-3", "2026-08-20-0"]
    assert [rows_of(database, run) for run in killed] == [0, 3, 3]


def test_no_number_is_given_twice(database: Database) -> None:
    """What was seen in run 2 must not count as seen in another run that is called 2 as well."""
    stopped, job = Job(database, "stopped"), Job(database)
    stopped.night(1, sessions(1), Outcome.FAILED, exit_code=75)
    job.night(2, sessions(3), Outcome.CREATED)
    continued = stopped.night(3, sessions(1), Outcome.CREATED)
    stopped.prune(continued, 1)
    new = job.night(4, sessions(3), Outcome.CREATED)
    assert job.outcomes(new) == {"skipped": 3}


def test_what_was_rejected_stays_rejected_until_it_changes_or_is_asked_for(database: Database) -> None:
    job = Job(database)
    job.night(0, sessions(1), Outcome.REJECTED)
    for number in (1, 2):
        job.prune(job.night(number, [], Outcome.CREATED), 1)
    again = job.begin(3)
    assert job.admit(again, sessions(1)) == []
    assert job.outcomes(again) == {"rejected": 1}
    assert job.runs.totals(again).new_rejects == 0
    job.end(again, 3)
    changed = job.begin(4)
    assert len(job.admit(changed, [make_session(make_trace("t0", user_id="another"))])) == 1
    job.end(changed, 4)
    asked_for = job.begin(5)
    assert len(job.admit(asked_for, sessions(1), retry_rejected=True)) == 1


def test_what_was_open_is_sent_when_it_comes_again(database: Database) -> None:
    stopped, job = Job(database, "2026-08-21"), Job(database)
    run = stopped.begin(0)
    sends = stopped.admit(run, sessions(2))
    stopped.sessions.sending.intend(sends, "v")
    stopped.end(run, 0, exit_code=75)
    Job(database, "2026-08-22").night(1, [], Outcome.CREATED, exit_code=130)
    assert job.prune(job.night(2, [], Outcome.CREATED), 1) == ["2026-08-21-0"]
    assert rows_of(database, run) == 0
    sends = stopped.admit(stopped.begin(3), sessions(2))
    assert [(send.state, send.version_id) for send in sends] == [("sent", "v")] * 2


def test_a_long_run_is_forgotten_in_short_transactions(database: Database, tmp_path: Path) -> None:
    job = Job(database)
    count = 2 * runs_module._ROWS_FORGOTTEN_AT_ONCE["entry"] + 5
    big = job.night(0, sessions(count), Outcome.CREATED)
    database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    job.runs.forget(big)
    assert rows_of(database, big) == 0
    size_of_rows = count * 250
    assert (tmp_path / "ledger.sqlite-wal").stat().st_size < size_of_rows


def test_a_ledger_that_forgets_as_much_as_it_learns_does_not_grow(database: Database) -> None:
    job = Job(database)
    some = sessions(500)
    pages = []
    for number in range(40):
        run = job.night(number, some, Outcome.CREATED)  # after the first night: skipped
        job.prune(run, 5)
        pages.append(database.connection.execute("PRAGMA page_count").fetchone()[0])
    assert pages[-1] <= pages[10] * 1.05
