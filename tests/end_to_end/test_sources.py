"""Where exports lie and how they are kept: tables, archives, layouts, object storage; each imported once."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import load_config, run_import
from pipeline.clock import SystemClock
from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, make_trace, wait_until, write_jsonl
from tests.invariants import KEY, check_invariants, read_rejects
from tests.s3_server import running_s3, upload


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


def test_what_a_filter_leaves_out_is_counted_and_read_again_for_another_filter(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [make_trace(number, timestamp=f"2026-08-2{number} 08:00:00.000000") for number in range(8)]
    write_jsonl(importer.home / "in" / "a.jsonl", rows)
    (importer.home / "ids").write_text("trace-1\ntrace-6\ntrace-7\n")
    options = ["--since", "2026-08-22", "--ids", str(importer.home / "ids"), "--where", "name == 'support'"]
    plan = json.loads(importer.run(importer.home / "in", verb="plan", options=[*options, "--json"]).out)
    assert (plan["sends"], plan["records_ignored"]) == ({"create": 2}, {"filtered": 6})
    done = importer.run(importer.home / "in", options=options)
    assert (done.code, "6 were ignored: filtered" in done.out) == (0, True), done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 2}
    assert importer.run_here(importer.home / "in").summary["outcomes"] == {"created": 6, "skipped": 2}


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
def test_what_is_too_young_tonight_is_imported_on_a_later_night(
    importer: Importer, emulator: RunningEmulator, session_per: str
) -> None:
    now = datetime.now(UTC)
    hours_ago = {0: 50, 1: 30, 2: 10}
    rows = [
        make_trace(number, timestamp=f"{now - timedelta(hours=hours):%Y-%m-%d %H:%M:%S.%f}", session_id=f"s{number}")
        for number, hours in hours_ago.items()
    ]
    source = write_jsonl(importer.home / "a.jsonl", rows)

    class Clock(SystemClock):
        def wall(self) -> datetime:
            return now

    def night(hours: int) -> dict[str, Any]:
        nonlocal now
        now += timedelta(hours=hours)
        overrides = {
            "source.paths": [str(source)],
            "source.until_trace_time": "1d",
            "source.session_per": session_per,
            "target.version_id": "ver_123",
            "target.base_url": emulator.url,
            "state_dir": importer.state,
        }
        config = load_config(overrides=overrides, environ={"GALTEA_API_KEY": KEY})
        return run_import(config, clock=Clock()).summary

    assert night(0)["outcomes"] == {"created": 2}
    assert night(10)["records_ignored"] == {"filtered": 1}
    third = night(10)
    assert (third["outcomes"], third["exit_code"]) == ({"created": 1, "skipped": 2}, 0)
    assert [source["state"] for source in third["sources"]] == ["done"]
    assert night(10)["records_read"] == 0


def test_a_window_without_its_manifest_waits_and_comes_with_it(importer: Importer, emulator: RunningEmulator) -> None:
    project = importer.home / "exports" / "project-1"
    windows = ["2026-08-22T08-00-00", "2026-08-22T09-00-00"]
    for number, window in enumerate(windows):
        write_jsonl(project / "traces" / f"{window}.jsonl", [make_trace(number)])
    (project / "manifests").mkdir()
    (project / "manifests" / f"{windows[0]}.json").write_text('{"files": []}')
    first = importer.run(importer.home / "exports")
    assert (first.code, "no manifest for the window yet" in first.out) == (0, True), first.out + first.err
    waiting = str(project / "traces" / f"{windows[1]}.jsonl")
    summary = check_invariants(emulator, importer.last)
    assert (summary["outcomes"], summary["incomplete"]) == ({"created": 1}, {"count": 1, "files": [waiting]})
    (project / "manifests" / f"{windows[1]}.json").write_text('{"files": []}')
    second = importer.run_here(importer.home / "exports").summary
    assert (second["outcomes"], second["incomplete"]["count"]) == ({"created": 1}, 0)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "xztar"])
def test_members_of_an_archive_are_sources_of_their_own(
    importer: Importer, emulator: RunningEmulator, kind: str
) -> None:
    folder = importer.home / "unpacked"
    write_jsonl(folder / "day-1" / "a.jsonl", [make_trace(1), make_trace(2)])
    write_csv(folder / "day-2" / "b.csv", [make_trace(3)])
    write_jsonl(folder / "day-2" / "odd.jsonl", ["{no json"])
    (importer.home / "in").mkdir()
    archive = shutil.make_archive(str(importer.home / "in" / "exports"), kind, folder)
    summary = importer.run_here(importer.home / "in").summary
    check_invariants(emulator, importer.last)
    assert (summary["exit_code"], summary["outcomes"]) == (3, {"created": 3})
    sources = {source["source"]: (source["state"], source["records_read"]) for source in summary["sources"]}
    assert sources == {
        f"{archive}!day-1/a.jsonl": ("done", 2),
        f"{archive}!day-2/b.csv": ("done", 1),
        f"{archive}!day-2/odd.jsonl": ("done", 1),
    }
    assert read_rejects(importer.last)[0]["source"] == f"{archive}!day-2/odd.jsonl"
    again = importer.run_here(importer.home / "in").summary
    assert (again["records_read"], {source["state"] for source in again["sources"]}) == (0, {"unchanged"})


def test_a_bucket_night_after_night(
    importer: Importer, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines(*numbers: int) -> bytes:
        return gzip.compress("".join(json.dumps(make_trace(number)) + "\n" for number in numbers).encode(), mtime=0)

    with running_s3() as (server, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        upload({"exports/day=1/a.jsonl.gz": lines(1, 2), "exports/day=2/b.jsonl.gz": lines(3)})
        assert importer.run_here("s3://bucket/exports").summary["outcomes"] == {"created": 3}
        summary = check_invariants(emulator, importer.last)
        assert [(source["source"], source["state"]) for source in summary["sources"]] == [
            ("s3://bucket/exports/day=1/a.jsonl.gz", "done"),
            ("s3://bucket/exports/day=2/b.jsonl.gz", "done"),
        ]
        upload({"exports/day=2/b.jsonl.gz": lines(3, 4)})
        second = importer.run_here("s3://bucket/exports").summary
        assert (second["records_read"], second["outcomes"]) == (2, {"created": 1, "skipped": 1})
        assert importer.run_here("s3://bucket/exports").summary["records_read"] == 0
        plan = importer.run("s3://bucket/exports/**/b.*", verb="plan", options=["--json"])
        assert json.loads(plan.out)["sources"][0]["state"] == "unchanged", plan.err
        gone = importer.run("s3://bucket/none")
        assert (gone.code, "s3://bucket/none: there is no such object" in gone.err) == (2, True)
        server.stop()
        silent = importer.run("s3://bucket/exports")
        assert (silent.code, "reading failed" in silent.err) == (75, True), silent.err


def test_a_storage_that_goes_away_in_the_middle_stops_the_run_and_the_next_one_goes_on(
    importer: Importer, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        make_trace(number, metadata={"much": random.Random(number).randbytes(3_000).hex()}) for number in range(2_000)
    ]
    with running_s3() as (server, environment), ThreadPoolExecutor(1) as beside:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        upload({"a.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})
        slowly = {"upload__max_buffer_bytes": 200_000, "upload__max_per_second": 300}
        running = beside.submit(importer.run_here, "s3://bucket/a.jsonl", **slowly)
        wait_until(lambda: len(emulator.sessions()) > 20)
        server.stop()
        first = running.result(60).summary
        check_invariants(emulator, importer.last)
        assert (first["exit_code"], "reading failed" in first["error"]) == (75, True)
        assert 20 < first["outcomes"]["created"] < 2_000
    with running_s3() as (_, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        upload({"a.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()})
        second = importer.run_here("s3://bucket/a.jsonl").summary
        check_invariants(emulator, importer.last)
        assert (second["exit_code"], second["run_id"]) == (0, first["run_id"])
        assert len(emulator.sessions()) == 2_000
