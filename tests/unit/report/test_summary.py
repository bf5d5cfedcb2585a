"""What a run comes to: the balance, and the exit code where there are several reasons at once."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import FatalError, StoppedError, UsageError
from pipeline.ledger.runs import Totals
from pipeline.report.summary import exit_code_of, is_balanced

FATAL, STOPPED, USAGE = FatalError("no"), StoppedError("later"), UsageError("wrong")


def totals(**changed: Any) -> Totals:
    outcomes = changed.get("outcomes", {"created": 3})
    sessions = sum(outcomes.values())
    values: dict[str, Any] = {
        "records_read": sessions,
        "records_repaired": 0,
        "records_rejected": 0,
        "records_ignored": {},
        "records_in_sessions": sessions,
        "traces": sessions,
        "sessions": sessions,
        "outcomes": outcomes,
        "new_rejects": 0,
        "requests": 0,
        "retries": 0,
        "throttled": 0,
        "bytes_sent": 0,
    }
    return Totals(**(values | changed))


def code(sums: Totals | None = None, **told: Any) -> int:
    values: dict[str, Any] = {
        "failure": None,
        "was_stopped": False,
        "signal_number": None,
        "max_rejected": 0,
        "keeps_first": False,
    }
    return exit_code_of(sums or totals(), **(values | told))


@pytest.mark.parametrize(
    ("expected", "outcomes", "told"),
    [
        pytest.param(0, {"created": 2, "skipped": 1, "existing": 1, "changed": 1, "duplicate": 1}, {}, id="all done"),
        pytest.param(4, {"failed": 1}, {}, id="failed"),
        pytest.param(4, {"unknown": 1}, {}, id="unknown"),
        pytest.param(4, {"conflict": 1}, {}, id="conflict"),
        pytest.param(0, {"conflict": 1}, {"keeps_first": True}, id="the first is kept"),
        pytest.param(75, {"pending": 1}, {}, id="pending"),
        pytest.param(75, {"created": 1}, {"failure": STOPPED}, id="stopped for now"),
        pytest.param(75, {"created": 1}, {"was_stopped": True}, id="somebody asked to stop"),
        pytest.param(130, {"created": 1}, {"signal_number": 2, "was_stopped": True}, id="SIGINT"),
        pytest.param(143, {"created": 1}, {"signal_number": 15, "was_stopped": True}, id="SIGTERM"),
        pytest.param(5, {"pending": 1}, {"failure": FATAL}, id="the target refuses"),
        pytest.param(2, {}, {"failure": USAGE}, id="usage"),
        pytest.param(5, {"failed": 1}, {"failure": FATAL, "signal_number": 2}, id="5 before 130"),
        pytest.param(130, {"pending": 1, "failed": 1}, {"failure": STOPPED, "signal_number": 2}, id="130 before 75"),
        pytest.param(75, {"pending": 1, "failed": 1}, {}, id="75 before 4"),
    ],
)
def test_the_exit_code(expected: int, outcomes: dict[str, int], told: dict[str, Any]) -> None:
    assert code(totals(outcomes=outcomes), **told) == expected


@pytest.mark.parametrize(("rejects", "allowed", "expected"), [(0, 0, 0), (1, 0, 3), (5, 5, 0), (6, 5, 3)])
def test_more_rejects_than_allowed(rejects: int, allowed: int, expected: int) -> None:
    assert code(totals(new_rejects=rejects), max_rejected=allowed) == expected


def test_failed_counts_before_rejected() -> None:
    assert code(totals(outcomes={"failed": 1}, new_rejects=9)) == 4


def test_what_does_not_balance_is_never_fine() -> None:
    assert code(totals(records_read=4)) == 4


@pytest.mark.parametrize(
    ("balanced", "changed"),
    [
        (True, {}),
        (True, {"records_read": 6, "records_rejected": 2, "records_ignored": {"superseded": 1}}),
        (False, {"records_read": 4}),
        (False, {"records_rejected": 1}),
        (False, {"sessions": 4}),
    ],
)
def test_the_balance(balanced: bool, changed: dict[str, Any]) -> None:
    assert is_balanced(totals(**changed)) is balanced
