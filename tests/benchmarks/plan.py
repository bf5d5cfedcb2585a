"""Memory and speed of `plan`: a large JSONL, and a Parquet file with one huge row group, beside `orjson.loads` alone.

    python -m tests.benchmarks.plan [GIGABYTES]

Prints, per file: records, CPU µs per record, the share of `orjson.loads`' speed over the same lines, peak memory.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ["parcel", "train", "museum", "Girona", "status", "please", "tomorrow", "📦", "ありがとう", "invoice"]
SAMPLE_LINES = 50_000
_CHILD = """
import resource, sys
from pipeline.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""


def rows(gigabytes: float) -> Iterator[dict[str, object]]:
    """Trace rows of about 3 KB, so many gigabytes of them as JSON."""
    chance = random.Random(1)
    size = 0
    number = 0

    def text(words: int) -> str:
        return " ".join(chance.choice(WORDS) for _ in range(words))

    while size < gigabytes * 1e9:
        messages = [{"role": "user" if turn % 2 == 0 else "assistant", "content": text(45)} for turn in range(6)]
        row = {
            "id": f"trace-{number:09d}",
            "timestamp": "2026-08-22 08:00:00.000000",
            "name": "chat",
            "session_id": f"session-{number // 3}",
            "user_id": f"user-{number % 1000}",
            "environment": "production",
            "project_id": "project-1",
            "tags": ["a", "b"],
            "input": json.dumps({"messages": messages}, ensure_ascii=False),
            "output": json.dumps({"role": "assistant", "content": text(60)}, ensure_ascii=False),
            "metadata": {"number": str(number), "region": "eu"},
            "created_at": "2026-08-22 08:00:01.000000",
            "updated_at": "2026-08-22 08:00:02.000000",
        }
        size += len(row["input"].encode()) + len(row["output"].encode()) + 400  # type: ignore[attr-defined]
        number += 1
        yield row


def write_jsonl(path: Path, gigabytes: float) -> None:
    with path.open("wb") as file:
        for row in rows(gigabytes):
            file.write(orjson.dumps(row) + b"\n")


def write_parquet(path: Path, gigabytes: float) -> None:
    """One row group; written by a process that may hold all of it."""
    table = pa.Table.from_pylist(list(rows(gigabytes)))
    pq.write_table(table, path, row_group_size=len(table), compression="snappy")


def plan(source: Path, state: Path) -> tuple[int, float, int]:
    """Records, CPU seconds and peak memory in bytes of one `plan`."""
    command = ["plan", "--source", str(source), "--version-id", "ver_123", "--state-dir", str(state), "--json"]
    done = subprocess.run([sys.executable, "-c", _CHILD, *command], capture_output=True, text=True, check=True)
    cpu, kilobytes = done.stderr.split()[-2:]
    return json.loads(done.stdout)["records_read"], float(cpu), int(kilobytes) * 1024


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 0.2
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "traces.jsonl"
        write_jsonl(lines, gigabytes)
        with lines.open("rb") as file:
            sample = list(islice(file, SAMPLE_LINES))
        started = time.process_time()
        for line in sample:
            orjson.loads(line)
        alone = (time.process_time() - started) / len(sample)
        print(f"orjson.loads alone: {alone * 1e6:.1f} µs a record of {sum(map(len, sample)) / len(sample):.0f} bytes")
        columns = Path(folder) / "traces.parquet"
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"from tests.benchmarks.plan import *; write_parquet(Path({str(columns)!r}), {gigabytes})",
            ],
            check=True,
        )
        for source in (lines, columns):
            count, cpu, memory = plan(source, Path(folder) / "state")
            each = cpu / count
            print(
                f"{source.name}: {source.stat().st_size / 1e9:.2f} GB, {count:,} records, {each * 1e6:.1f} µs each, "
                f"{alone / each:.2f} x the speed of orjson.loads, peak {memory / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
