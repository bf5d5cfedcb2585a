"""Years of sessions in the ledger, very many files, very long inputs and conversations: time to start, memory held.

    .venv/bin/python -m tests.benchmarks.scale [--folder F] [--sessions N] [--files N] [--rows N] [--gigabytes A B]
        [--turns A B C]

One line for each measurement. The folder (default: a temporary one) needs about 1 GB for 1,000,000 sessions, and the
size of the longest input; all is deleted at the end. With the numbers of the budgets (design.md):
--sessions 10000000 --files 50000 --rows 1000000 --gigabytes 1 10

Measured on 2 cores: `plan` peaks at 94 MB with 1 GB and 99 MB with 10 GB, `run` at 216 and 219 MB (10 % more are
allowed), and at 281 MB with 50,000 new files (300 are allowed).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.config import load_config
from pipeline.emulator import RunningEmulator, running_emulator
from pipeline.ledger.admission import Policy
from pipeline.ledger.database import opened_ledger
from pipeline.ledger.runs import RunLedger, RunRow
from pipeline.ledger.sessions import Batch, Progress, SessionLedger
from pipeline.ledger.settling import Settlement
from pipeline.models import Outcome
from pipeline.readers.places import fingerprint
from tests.benchmarks.big_ledger import add_done_files, add_run, add_settled_sessions
from tests.end_to_end.conftest import make_trace as make_row
from tests.unit.factories import SOURCE, make_session, make_trace

NEW_RECORDS = 500
BIG_FILE_BYTES = 256 << 20
RECORD_BYTES = 20_000
NIGHTS = 365
SESSIONS_A_NIGHT = 500
_CHILD = """
import sys
from pathlib import Path
from pipeline.cli import main
try:
    main()
finally:
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    read = Path("/proc/self/io").read_text().partition("rchar: ")[2].split()[0]
    print(peak, read, file=sys.stderr)
"""


class Done(NamedTuple):
    summary: dict[str, Any]
    seconds: float
    peak_bytes: int
    read_bytes: int
    to_first_request: float | None
    """Seconds; the first is the preflight's, the POSTs follow it."""
    to_first_post: float | None


def run(verb: str, state_dir: Path, sources: Sequence[Path], emulator: RunningEmulator, *options: str) -> Done:
    """One command as a process of its own."""
    command = [sys.executable, "-c", _CHILD, verb, "--state-dir", str(state_dir), "--version-id", "ver_123", "--json"]
    for source in sources:
        command += ["--source", str(source)]
    before = len(emulator.log())
    environment = {**os.environ, "GALTEA_API_KEY": "gsk_benchmark", "GALTEA_API_URL": emulator.url}
    started = time.time()
    done = subprocess.run([*command, *options], env=environment, capture_output=True, check=False)
    seconds = time.time() - started
    if done.returncode not in (0, 75):
        raise RuntimeError(done.stderr.decode())
    peak, read = done.stderr.split()[-2:]
    log = emulator.log(before)
    posts = [line["time"] for line in log if line["method"] == "POST"]
    return Done(
        orjson.loads(done.stdout),
        seconds,
        int(peak) * 1024,
        int(read),
        log[0]["time"] - started if log else None,
        posts[0] - started if posts else None,
    )


def say(what: str, *facts: str) -> None:
    print(f"{what}: {', '.join(facts)}", flush=True)


# --- a ledger of years ------------------------------------------------------------------------------------


def old_ledger(folder: Path, sessions: int, emulator: RunningEmulator) -> None:
    """From the start of the process to the first POST, with so many settled sessions and one big file that is done."""
    state = folder / "old"
    started = time.monotonic()
    add_settled_sessions(state, sessions, base_url=emulator.url)
    size = (state / "ledger.sqlite").stat().st_size
    say(
        f"a ledger of {sessions:,} settled sessions",
        f"{size / 1e9:.2f} GB ({size / sessions:.0f} bytes a session)",
        f"made in {time.monotonic() - started:.0f} s",
    )
    big, new = folder / "big.jsonl", folder / "new.jsonl"
    with big.open("wb") as file:
        line = orjson.dumps(make_row(-1)) + b"\n"
        for _ in range(BIG_FILE_BYTES // len(line)):
            file.write(line)
    new.write_bytes(b"".join(orjson.dumps(make_row(number)) + b"\n" for number in range(NEW_RECORDS)))
    add_done_files(state, [(str(big), fingerprint(big))], base_url=emulator.url, mapping_sha256=_mapping_sha256())
    with opened_ledger(state) as database:
        database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cold = _forget_cached(state / "ledger.sqlite")
    for which in ("cold" if cold else "warm", "warm"):
        new.write_bytes(new.read_bytes() + orjson.dumps(make_row(time.time_ns())) + b"\n")
        done = run("run", state, [big, new], emulator)
        say(
            f"  run, {which}",
            f"first POST after {done.to_first_post:.2f} s",
            f"all {done.summary['outcomes']} in {done.seconds:.1f} s",
            f"peak {done.peak_bytes / 1e6:.0f} MB",
            f"{done.read_bytes / 1e6:.0f} MB read in all; the file that is done has {BIG_FILE_BYTES / 1e6:.0f} MB",
        )
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "pipeline", "status", "--state-dir", str(state)], stdout=-3, check=True)
    say("  status", f"{time.monotonic() - started:.1f} s")
    shutil.rmtree(state)
    big.unlink()


def _forget_cached(file: Path) -> bool:
    """Put a file out of the system's cache, where that is possible."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _mapping_sha256() -> str:
    return load_config(overrides={"source.paths": ["x"]}, environ={}).mapping_sha256()


# --- very many files --------------------------------------------------------------------------------------


def many_files(folder: Path, count: int, emulator: RunningEmulator) -> None:
    """So many files of one record: imported, and then skipped."""
    exports = folder / "exports"
    for number in range(count):
        file = exports / f"{number // 1000:03}" / f"{number}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(orjson.dumps(make_row(number)) + b"\n")
    for what in ("new", "done"):
        done = run("run", folder / "state", [exports], emulator)
        say(
            f"{count:,} {what} files",
            f"first request after {done.to_first_request:.1f} s",
            f"{done.seconds:.1f} s in all",
            f"{sum(done.summary['outcomes'].values()):,} sessions",
            f"peak {done.peak_bytes / 1e6:.0f} MB",
        )
    shutil.rmtree(exports)
    shutil.rmtree(folder / "state")


# --- a long run's end -------------------------------------------------------------------------------------

_WRITE = """
import sys, time
from pathlib import Path
from pipeline.ledger.database import opened_ledger
from pipeline.ledger.runs import RunLedger, RunRow
from pipeline.manifest import write_manifest

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

state = Path(sys.argv[1])
with opened_ledger(state) as database:
    runs, run = RunLedger(database), RunRow(1, "run-1", state, "", False)
    before, started = peak(), time.process_time()
    write_manifest(state, runs.entries(run))
    print(time.process_time() - started, before, peak())
    started = time.monotonic()
    runs.forget(run)
    log = (state / "ledger.sqlite-wal").stat().st_size
    print(time.monotonic() - started, log)
"""


def long_manifest(folder: Path, rows: int) -> None:
    """The manifest of so many rows, and the end of such a run."""
    for count in (rows // 10, rows):
        state = folder / "manifest"
        add_run(state, count, base_url="http://127.0.0.1")
        size = (state / "ledger.sqlite").stat().st_size
        with sqlite3.connect(state / "ledger.sqlite") as connection:
            plan = connection.execute(
                "EXPLAIN QUERY PLAN SELECT * FROM entry e JOIN path p ON p.id = e.path WHERE e.run = 1 "
                "ORDER BY e.path, e.ordinal"
            ).fetchall()
        done = subprocess.run([sys.executable, "-c", _WRITE, str(state)], capture_output=True, check=True)
        seconds, before, peak, forgetting, log = (float(number) for number in done.stdout.split())
        files = [(state / name).stat().st_size for name in ("manifest.parquet", "manifest.jsonl")]
        say(
            f"a manifest of {count:,} rows",
            f"{seconds:.1f} s ({seconds / count * 1e6:.0f} µs a row)",
            f"peak {peak / 1e6:.0f} MB ({before / 1e6:.0f} before)",
            f"parquet {files[0] / 1e6:.0f} MB, jsonl {files[1] / 1e6:.0f} MB, in the ledger {size / 1e6:.0f} MB",
            "sorted" if any("TEMP B-TREE" in str(step) for step in plan) else "in the order of the primary key",
        )
        say("  forgotten", f"{forgetting:.1f} s", f"log at most {log / 1e6:.0f} MB")
        shutil.rmtree(state)


# --- a year of nights -------------------------------------------------------------------------------------


def a_year(folder: Path) -> None:
    """Nights with new sessions and the ones of the night before, the last 30 kept: how the ledger grows."""
    state = folder / "year"
    with opened_ledger(state) as database:
        database.connection.execute("PRAGMA synchronous = OFF")
        runs = RunLedger(database)
        target = runs.target("http://127.0.0.1", "version:ver_123")
        paths = runs.path_ids([SOURCE])
        for night in range(NIGHTS):
            row = runs.begin(
                run_id=f"night-{night}",
                folder=state,
                target=target,
                sources_key="s",
                mapping_sha256="m",
                config_sha256="c",
                started_at=f"{night:06}",
            )
            _one_night(SessionLedger, runs, row, paths, target, night)
            for old in runs.old_runs(row, keep=30):
                runs.forget(old)
            if night in (30, 60, 120, 240, NIGHTS - 1):
                pages, free = (database.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PAGES)
                entries, sessions = (
                    database.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                    for table in ("entry", "session")
                )
                say(
                    f"after {night + 1} nights of {2 * SESSIONS_A_NIGHT} sessions, half of them new",
                    f"{pages * 4096 / 1e6:.1f} MB ({free * 4096 / 1e6:.1f} MB of them free)",
                    f"{sessions:,} sessions, {entries:,} rows of {min(night + 1, 30)} runs",
                )
    shutil.rmtree(state)


_PAGES = ("page_count", "freelist_count")


def _one_night(
    ledger: type[SessionLedger], runs: RunLedger, row: RunRow, paths: dict[str, int], target: int, night: int
) -> None:
    runs.add_sources(row, [(paths[SOURCE], "f", "langfuse", "reading")])
    sessions = ledger(
        runs._database,
        run=row.number,
        target=target,
        paths=paths,
        unchanged_paths=[],
        policy=Policy("auto", False),
        keep_records=True,
        is_new=True,
    )
    first = max(night - 1, 0) * SESSIONS_A_NIGHT
    records = [
        make_session(make_trace(f"{number:032}"), ordinal=number - first + 1)
        for number in range(first, (night + 1) * SESSIONS_A_NIGHT)
    ]
    sends = sessions.admit(Batch(records, [], [], {SOURCE: Progress(len(records), 0)}, {}))
    sessions.sending.settle(
        [Settlement(send, Outcome.CREATED, False, True, f"session_{send.row:024}") for send in sends]
    )
    runs.finish(row, exit_code=0, finished_at=f"{night:06}", peak_rss_bytes=0)


# --- long inputs ------------------------------------------------------------------------------------------


def long_inputs(folder: Path, gigabytes: Sequence[float]) -> None:
    """Peak memory of `plan` and `run` does not know how long the input is."""
    for size in gigabytes:
        file = folder / "long.jsonl"
        _write_long(file, size)
        for verb in ("plan", "run"):
            with running_emulator() as emulator:  # a new one: it keeps what it is sent
                done = run(verb, folder / "long", [file], emulator)
            say(
                f"{verb} of {size} GB",
                f"{done.summary['records_read']:,} records of {RECORD_BYTES // 1000} KB",
                f"{done.seconds:.0f} s",
                f"peak {done.peak_bytes / 1e6:.0f} MB",
            )
        file.unlink()
        shutil.rmtree(folder / "long")


def _write_long(file: Path, gigabytes: float) -> None:
    filler = " ".join(f"Where is parcel {number}?" for number in range(RECORD_BYTES))[: RECORD_BYTES - 900]
    with file.open("wb") as opened:
        for number in range(int(gigabytes * 1e9 / RECORD_BYTES)):
            question = [{"role": "user", "content": f"{number} {filler}"}]
            opened.write(orjson.dumps(make_row(number, input={"messages": question})) + b"\n")


# --- long conversations -----------------------------------------------------------------------------------


def long_conversations(folder: Path, turns: Sequence[int]) -> None:
    """One conversation of so many traces: planned, imported, and a turn more the next night."""
    for count in turns:
        exports, state = folder / "exports", folder / "state"
        exports.mkdir()
        with (exports / "a.jsonl").open("wb") as opened:
            opened.writelines(_one_more(number) for number in range(count))
        configured = folder / "batches.json"
        configured.write_bytes(orjson.dumps({"source": {"session_per": "conversation"}, "upload": {"turns": "batch"}}))
        with running_emulator() as emulator:
            for what in ("plan", "run", "run the next night"):
                if what == "run the next night":
                    (exports / "b.jsonl").write_bytes(_one_more(count))
                done = run(what.split()[0], state, [exports], emulator, str(configured))
                say(
                    f"{what}, a conversation of {count:,} turns",
                    f"{done.summary['outcomes']}",
                    f"{done.seconds:.0f} s ({done.seconds / count * 1e6:.0f} µs a turn)",
                    f"peak {done.peak_bytes / 1e6:.0f} MB",
                )
        shutil.rmtree(exports)
        shutil.rmtree(state)


def _one_more(number: int) -> bytes:
    """A trace of 1.3 KB with two observations."""
    at = (datetime(2026, 1, 1) + timedelta(seconds=20 * number)).isoformat(timespec="microseconds")
    asked = f"Where is parcel {number}? It was to come with train {number % 1013}, and nobody has seen it since."
    answered = f"Parcel {number} left the depot and is on its way; please ask again tomorrow if it has not come."
    common = {"startTime": at, "endTime": at, "name": "answer"}
    agent = {"id": f"{number}-0", "type": "AGENT", "input": {"question": asked}, "output": {"answer": answered}}
    model = {"id": f"{number}-1", "type": "GENERATION", "input": asked, "output": answered, "model": "gpt-4o"}
    steps = [agent | common, model | common | {"parentObservationId": f"{number}-0"}]
    row = make_row(number, timestamp=at, session_id="talk", input=asked, output=answered, observations=steps)
    return orjson.dumps(row) + b"\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="How it scales.")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--gigabytes", type=float, nargs="*", default=[0.25, 1.0])
    parser.add_argument("--turns", type=int, nargs="*", default=[2_000, 20_000])
    parser.add_argument("--only", choices=["ledger", "files", "manifest", "year", "inputs", "conversations"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="scale-") as temporary:
        folder = Path(temporary)
        if asked.only in (None, "ledger"):
            with running_emulator() as emulator:
                old_ledger(folder, asked.sessions, emulator)
        if asked.only in (None, "files"):
            with running_emulator() as emulator:
                many_files(folder, asked.files, emulator)
        if asked.only in (None, "manifest"):
            long_manifest(folder, asked.rows)
        if asked.only in (None, "year"):
            a_year(folder)
        if asked.only in (None, "inputs"):
            long_inputs(folder, asked.gigabytes)
        if asked.only in (None, "conversations"):
            long_conversations(folder, asked.turns)


if __name__ == "__main__":
    main()
