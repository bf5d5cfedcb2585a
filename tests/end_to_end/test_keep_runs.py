"""Old runs are forgotten, and never the one that works, however long ago it began."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, end, make_trace, wait_until, write_jsonl
from tests.invariants import check_invariants, posts, read_summary


def config(importer: Importer, name: str) -> Path:
    file = importer.home / f"{name}.yaml"
    file.write_text(f"source: {{paths: [{name}.jsonl]}}\ntarget: {{version_id: ver_123}}\nkeep_runs: 1\n")
    return file


def test_a_killed_run_outlives_the_nights_until_it_is_continued(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "big.jsonl", [make_trace(number) for number in range(300)])
    process = importer.start(options=[str(config(importer, "big")), "--max-per-second", "100"])
    wait_until(lambda: len(posts(emulator)) > 30)
    end(process, signal.SIGKILL)
    killed = importer.last
    write_jsonl(importer.home / "nightly.jsonl", [make_trace(1_000)])
    assert importer.run(options=[str(config(importer, "nightly"))]).code == 0
    assert importer.run(options=[str(config(importer, "big"))]).code == 0
    summary = check_invariants(emulator, killed)
    assert (summary["continued"], summary["outcomes"]) == (True, {"created": 300})
    assert importer.run(options=[str(config(importer, "nightly"))]).code == 0
    assert killed not in importer.runs
    assert len(emulator.sessions()) == 301


def test_a_folder_that_was_removed_by_hand_hinders_nobody(importer: Importer, emulator: RunningEmulator) -> None:
    for count in range(1, 4):
        write_jsonl(importer.home / "nightly.jsonl", [make_trace(number) for number in range(count)])
        assert importer.run(options=[str(config(importer, "nightly"))]).code == 0
        for file in importer.last.iterdir():
            file.unlink()
        importer.last.rmdir()
    write_jsonl(importer.home / "nightly.jsonl", [make_trace(9)])
    assert importer.run(options=[str(config(importer, "nightly"))]).code == 0
    assert [read_summary(folder)["exit_code"] for folder in importer.runs] == [0]


def test_old_runs_that_cannot_be_forgotten_do_not_change_how_the_run_ended(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = importer.home / "nightly.jsonl"
    write_jsonl(source, [make_trace(1)])
    assert importer.run(options=[str(config(importer, "nightly"))]).code == 0
    ledger = importer.state / "ledger.sqlite"
    with sqlite3.connect(ledger) as connection:  # a disk that fills up now; SQLite says it in the same class of errors
        connection.execute("CREATE TRIGGER fails BEFORE DELETE ON run BEGIN SELECT abs(-9223372036854775808); END")
    connection.close()
    for number in (2, 3):
        write_jsonl(source, [make_trace(number)])
        done = importer.run(options=[str(config(importer, "nightly"))])
        assert done.code == 0, done.err
        assert read_summary(importer.last)["exit_code"] == 0
    assert "old_runs_not_forgotten" in done.err
    with sqlite3.connect(ledger) as connection:
        connection.execute("DROP TRIGGER fails")
    connection.close()
    write_jsonl(source, [make_trace(4)])
    assert importer.run(options=[str(config(importer, "nightly"))]).code == 0
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)
    connection.close()
