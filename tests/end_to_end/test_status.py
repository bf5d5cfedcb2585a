"""`trace-import status`: what the ledger holds, also while a run works, and without getting in its way."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Ended, Importer, end, make_trace, wait_until, write_jsonl
from tests.invariants import check_invariants, posts, read_summary


def status(importer: Importer, *options: str) -> Ended:
    return importer.execute([sys.executable, "-m", "pipeline", "status", "--state-dir", str(importer.state), *options])


def status_json(importer: Importer) -> Any:
    done = status(importer, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def many(importer: Importer, count: int) -> Path:
    return write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(count)])


def test_what_was_done_is_shown(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1), make_trace(2), "[1]"])
    assert importer.run(source, options=["--max-rejected", "1"]).code == 0
    assert importer.run(source).code == 0
    shown = status_json(importer)
    first, second = [read_summary(folder) for folder in importer.runs]
    assert [run["id"] for run in shown["runs"]] == [second["run_id"], first["run_id"]]
    run = shown["runs"][1]
    assert (run["state"], run["exit_code"], run["outcomes"], run["rejects"]) == ("ended", 0, {"created": 2}, 1)
    assert run["finished_at"] == first["finished_at"]
    assert run["sessions_per_second"] > 0
    assert (shown["sessions"], shown["done_files"], shown["holder"]) == (2, 1, None)
    assert shown["bytes"] >= (importer.state / "ledger.sqlite").stat().st_size > 0
    target = shown["targets"][0]
    assert (target["base_url"], target["anchor"], target["open"]) == (emulator.url, "version:ver_123", {})
    text = status(importer, "--last", "1").out
    assert "2 sessions, 1 files done" in text
    assert second["run_id"] in text
    assert first["run_id"] not in text
    assert "version:ver_123: nothing" in text


def test_a_run_that_works_is_shown_and_not_disturbed(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 300)
    process = importer.start(source, options=["--max-per-second", "60"])
    wait_until(lambda: len(posts(emulator)) > 20)
    shown = status_json(importer)
    assert shown["holder"] == {"pid": process.pid, "host": socket.gethostname()}
    assert shown["runs"][0]["state"] == "working"
    assert shown["runs"][0]["outcomes"]["created"] > 0
    assert sum(shown["targets"][0]["open"].values()) > 100
    for _ in range(3):
        assert f"A run works now: process {process.pid}" in status(importer).out
    assert end(process).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 300}


def test_a_killed_run_is_shown_as_killed_and_then_as_continued(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 200)
    process = importer.start(source, options=["--max-per-second", "100"])
    wait_until(lambda: len(posts(emulator)) > 30)
    end(process, signal.SIGKILL)
    assert (importer.state / "ledger.lock").read_text() != ""  # nobody was there to wipe it
    shown = status_json(importer)
    assert shown["holder"] is None
    assert (shown["runs"][0]["state"], shown["runs"][0]["exit_code"]) == ("killed", None)
    assert shown["targets"][0]["open"]["sent"] > 0
    assert "was killed; the next run goes on" in status(importer).out
    assert importer.run(source).code == 0
    shown = status_json(importer)
    assert (shown["runs"][0]["is_continued"], shown["runs"][0]["sessions_per_second"]) == (True, None)
    assert shown["targets"][0]["open"] == {}


def test_what_is_open_is_counted_by_state(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": "POST /sessions", "when": {"custom_id": "langfuse:trace-1"}, "do": {"status": 422}}])
    assert importer.run(many(importer, 3)).code == 3
    assert status_json(importer)["targets"][0]["rejected"] == 1
    assert "nothing; 1 rejected" in status(importer).out


def test_the_pace_is_shown_where_the_ledger_has_it(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 3)).code == 0
    connection = sqlite3.connect(importer.state / "ledger.sqlite")
    connection.execute("INSERT OR REPLACE INTO pace VALUES (1, 38.5)")
    connection.commit()
    connection.close()
    assert status_json(importer)["targets"][0]["pace_per_second"] == 38.5
    assert "nothing; it takes 38.5/s" in status(importer).out


def test_text_of_strangers_is_harmless(importer: Importer, emulator: RunningEmulator) -> None:
    importer.run(many(importer, 1))
    connection = sqlite3.connect(importer.state / "ledger.sqlite")
    for column in ("id", "started_at", "finished_at"):
        connection.execute(f"UPDATE run SET {column} = '\x1b[31m' || {column}")
    connection.execute("UPDATE target SET anchor = '\x1b[31m'")
    connection.commit()
    connection.close()
    (importer.state / "ledger.lock").write_text(f"process {os.getpid()} on \x1b[31melsewhere")
    done = status(importer)
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "elsewhere" in done.out


def test_without_a_ledger_there_is_nothing_to_show(importer: Importer) -> None:
    done = status(importer)
    assert done.code == 2
    assert "there is no ledger; the first run makes it" in done.err
    assert not importer.state.exists()


@pytest.mark.parametrize("content", [b"", b"something else entirely" * 100])
def test_what_is_no_ledger_is_said(importer: Importer, content: bytes) -> None:
    importer.state.mkdir()
    (importer.state / "ledger.sqlite").write_bytes(content)
    done = status(importer)
    assert done.code == 2, done.err
    assert "no ledger" in done.err or "damaged" in done.err


def test_the_configuration_says_where_the_ledger_is(importer: Importer, emulator: RunningEmulator) -> None:
    importer.run(many(importer, 1))
    nightly = importer.home / "nightly.yaml"
    nightly.write_text("source: {paths: [a.jsonl]}\nstate_dir: state\n")
    done = importer.execute([sys.executable, "-m", "pipeline", "status", str(nightly)])
    assert done.code == 0, done.err
    assert "1 sessions" in done.out
