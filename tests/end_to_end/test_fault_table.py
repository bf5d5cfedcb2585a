"""The table of faults in this package's docstring names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import tests.end_to_end as table

TESTS = Path(__file__).parents[1]


def test_every_fault_of_the_table_has_its_tests() -> None:
    written = {
        name for file in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    rows = [line for line in (table.__doc__ or "").splitlines() if line.startswith("| ") and "shown by" not in line]
    for row in rows:
        named = re.findall(r"\btest_\w+\b", row.split("|")[2])
        assert named, row
        assert set(named) <= written, set(named) - written
    assert len(rows) > 40
