"""Where exports lie and how they are kept: tables, archives, layouts, object storage; each imported once."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, make_trace
from tests.invariants import check_invariants, read_rejects


def write_csv(path: Path, rows: Sequence[dict[str, Any]], delimiter: str = ",") -> Path:
    """As Langfuse's UI and blob exports write it: objects as JSON, null as nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(rows[0].keys())
        for row in rows:
            cells = [json.dumps(cell) if isinstance(cell, (dict, list, bool)) else cell for cell in row.values()]
            writer.writerow("" if cell is None else cell for cell in cells)
    return path


def test_a_csv_export_gives_the_sessions_that_the_same_rows_as_lines_give(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [make_trace(number, input={"question": f'a "quoted",\nbroken; line {number}'}) for number in range(5)]
    write_csv(importer.home / "in" / "a.csv", rows)
    write_csv(importer.home / "in" / "b.tsv", [make_trace(7)], delimiter="\t")
    with (importer.home / "in" / "a.csv").open("a") as file:
        file.write("cut,off\n")
    done = importer.run(importer.home / "in")
    assert done.code == 3, done.out + done.err
    summary = check_invariants(emulator, importer.last)
    assert (summary["records_read"], summary["outcomes"]) == (7, {"created": 6})
    assert read_rejects(importer.last)[0]["error"].startswith("too few cells: 2")
    contexts = {session["customId"]: session["context"] for session in emulator.sessions()}
    assert contexts["langfuse:trace-3"]["turns"][0]["input"] == rows[3]["input"]
    assert importer.run(importer.home / "in").code == 0  # nothing is read again
    assert check_invariants(emulator, importer.last)["records_read"] == 0
