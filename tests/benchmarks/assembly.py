"""Scattered spans: memory and speed of `plan` over a shuffled export, and of the spill beside a table in SQLite.

    python -m tests.benchmarks.assembly [GIGABYTES]

Prints, per file: records, CPU µs per record, the share of `orjson.loads`' speed over the same lines, peak memory; and
for the engine that brings the pieces together, µs per piece of both candidates over the same pieces.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from pipeline.assembly.spill import Spill
from tests.benchmarks.plan import SAMPLE_LINES, plan

SPANS_PER_TRACE = 10
WORDS = ["parcel", "train", "museum", "Girona", "status", "please", "tomorrow", "📦", "ありがとう", "invoice"]
PIECES = 300_000


def rows(gigabytes: float, *, shuffle: bool) -> Iterator[bytes]:
    """Rows of Langfuse's observations_v2 of about 1 KB; shuffled, the spans of a trace lie anywhere in the file."""
    chance = random.Random(1)
    count = int(gigabytes * 1e9 / 1_000)
    traces = max(count // SPANS_PER_TRACE, 1)
    # A walk over all spans in an order that looks random and needs no memory.
    step = next(number for number in range(int(count * 0.618), count * 2) if _is_coprime(number, count))
    for number in range(count):
        which = number * step % count if shuffle else number
        trace, span = divmod(which, SPANS_PER_TRACE)
        yield orjson.dumps(_row(trace % traces, span, chance)) + b"\n"


def _is_coprime(one: int, other: int) -> bool:
    while other:
        one, other = other, one % other
    return one == 1


def _row(trace: int, span: int, chance: random.Random) -> dict[str, Any]:
    text = " ".join(chance.choice(WORDS) for _ in range(50))
    moment = f"2026-08-{1 + trace % 28:02} 08:00:{span:02}.000000"
    return {
        "id": f"o-{trace}-{span}", "trace_id": f"t-{trace}", "project_id": "p-1", "name": f"step {span}",
        "type": "SPAN" if span == 0 else "GENERATION", "parent_observation_id": "" if span == 0 else f"o-{trace}-0",
        "start_time": moment, "end_time": moment, "is_root_observation": span == 0, "level": "DEFAULT",
        "session_id": "", "user_id": f"u-{trace % 1000}", "trace_name": "support", "environment": "production",
        "input": text, "output": text[:200], "metadata": {"region": "eu"}, "updated_at": moment,
        "provided_model_name": "gpt-4.1", "usage_details": {"input": 12, "output": 5, "total": 17},
    }  # fmt: skip


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 0.2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for shuffle in (False, True):
            file = folder / ("shuffled.jsonl" if shuffle else "in_order.jsonl")
            with file.open("wb") as out:
                out.writelines(rows(gigabytes, shuffle=shuffle))
            with file.open("rb") as lines:
                sample = list(islice(lines, SAMPLE_LINES))
            started = time.process_time()
            for line in sample:
                orjson.loads(line)
            alone = (time.process_time() - started) / len(sample)
            count, cpu, memory = plan(file, folder / "state")
            each = cpu / count
            print(
                f"{file.name}: {file.stat().st_size / 1e9:.2f} GB, {count:,} records, {each * 1e6:.1f} µs each, "
                f"{alone / each:.2f} x the speed of orjson.loads ({alone * 1e6:.1f} µs), peak {memory / 1e6:.0f} MB",
                flush=True,
            )
            file.unlink()
        print(f"engines, {PIECES:,} pieces of 1 KB: spill {_with_spill(folder):.1f} µs a piece in and out, "
              f"SQLite {_with_sqlite(folder):.1f} µs")  # fmt: skip


def _pieces() -> Iterator[tuple[bytes, bytes, bytes]]:
    body = os.urandom(1_000)
    for number in range(PIECES):
        trace = number * 7_919 % PIECES // SPANS_PER_TRACE
        yield hashlib.blake2b(b"%d" % trace, digest_size=16).digest(), b"head of 60 bytes " * 3, body


def _with_spill(folder: Path) -> float:
    started = time.process_time()
    with Spill(folder) as spill:
        for key, head, body in _pieces():
            spill.add(key, head, body)
        read = sum(len(spill.body(each)) > 0 for _, stored in spill.groups() for each in stored)
    assert read == PIECES
    return (time.process_time() - started) / PIECES * 1e6


def _with_sqlite(folder: Path) -> float:
    started = time.process_time()
    connection = sqlite3.connect(folder / "pieces.sqlite")
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384")
    connection.execute("CREATE TABLE piece (number INTEGER PRIMARY KEY, key BLOB, head BLOB, body BLOB)")
    connection.executemany("INSERT INTO piece (key, head, body) VALUES (?, ?, ?)", _pieces())
    connection.execute("CREATE INDEX by_key ON piece (key, number)")
    read = sum(1 for _ in connection.execute("SELECT key, head, body FROM piece ORDER BY key, number"))
    connection.close()
    assert read == PIECES
    return (time.process_time() - started) / PIECES * 1e6


if __name__ == "__main__":
    main()
