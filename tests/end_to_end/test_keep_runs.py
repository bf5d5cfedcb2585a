"""Old runs are forgotten, and never the one that works, however long ago it began."""

from __future__ import annotations

import signal
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
