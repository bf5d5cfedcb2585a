"""What is asked of a ledger of any size must not read all of it."""

from __future__ import annotations

from pathlib import Path

from pipeline.ledger import overview
from pipeline.ledger.database import opened_for_reading, opened_ledger


def test_open_sessions_are_counted_without_those_that_are_settled(tmp_path: Path) -> None:
    with opened_ledger(tmp_path) as database:
        database.connection.execute("DROP INDEX session_open")  # as an earlier version left it
    with opened_ledger(tmp_path):
        pass
    with opened_for_reading(tmp_path) as connection:
        plan = [str(row[-1]) for row in connection.execute(f"EXPLAIN QUERY PLAN {overview._COUNT_OPEN}")]
    assert plan == ["SCAN session USING COVERING INDEX session_open"]
