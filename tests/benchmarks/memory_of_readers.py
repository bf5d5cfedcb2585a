"""Peak memory and speed of the readers on big files; prints one line for each.

    .venv/bin/python -m tests.benchmarks.memory_of_readers [FOLDER] [MEGABYTES]

Makes its files in FOLDER (default: a temporary one), about MEGABYTES (1000) uncompressed each, and reads every
one in a process of its own.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORDS = Path(__file__).read_text()
MAX_RECORD_BYTES = 32 << 20


def rows(megabytes: int, size: int) -> Iterator[dict[str, Any]]:
    """Trace-like rows of about `size` bytes."""
    chance = random.Random(1)
    filler = WORDS * (size // len(WORDS) + 2)
    for number in range(megabytes * 1_000_000 // size):
        at = chance.randrange(len(WORDS))
        text = filler[at : at + size - 200]
        half = len(text) // 2
        yield {
            "id": f"trace-{number}",
            "tags": ["a", "b"],
            "score": chance.random(),
            "messages": [{"role": "user", "content": text[:half]}, {"role": "assistant", "content": text[half:]}],
            "metadata": {"nonce": f"{chance.getrandbits(128):x}"},
        }


def make_jsonl(path: Path, megabytes: int, size: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        for row in rows(megabytes, size):
            file.write(json.dumps(row).encode() + b"\n")


def make_array(path: Path, megabytes: int, size: int) -> None:
    with path.open("wb") as file:
        for number, row in enumerate(rows(megabytes, size)):
            file.write((b",\n" if number else b"[") + json.dumps(row, indent=1).encode())
        file.write(b"]")


def make_one_line(path: Path, megabytes: int, size: int) -> None:
    with path.open("wb") as file:
        file.write(b'{"id":"')
        for _ in range(megabytes):
            file.write(b"x" * size)
        file.write(b'"}\n{"id":1}\n')


def parquet(compression: str, *, dictionary: bool, page_rows: int = 1_024) -> Callable[[Path, int, int], None]:
    """Writers of one row group; writers look at the size of a page only every `page_rows` (all use 1,024)."""

    def make(path: Path, megabytes: int, size: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(list(rows(megabytes, size)))
        pq.write_table(
            table,
            path,
            row_group_size=len(table),
            compression=compression,
            use_dictionary=dictionary,
            write_batch_size=page_rows,
        )

    return make


CASES: list[tuple[str, int, Callable[[Path, int, int], None]]] = [
    ("rows of 3 KB.jsonl", 3_000, make_jsonl),
    ("rows of 3 KB.jsonl.gz", 3_000, make_jsonl),
    ("rows of 1 MB.jsonl", 1_000_000, make_jsonl),
    ("one line.jsonl", 1_000_000, make_one_line),
    ("rows of 3 KB.json", 3_000, make_array),
    ("rows of 1 MB.json", 1_000_000, make_array),
    ("rows of 3 KB, zstd, dictionary.parquet", 3_000, parquet("zstd", dictionary=True)),
    ("rows of 3 KB, snappy.parquet", 3_000, parquet("snappy", dictionary=False)),
    ("rows of 1 MB, zstd, dictionary.parquet", 1_000_000, parquet("zstd", dictionary=True, page_rows=4)),
    ("rows of 1 MB, snappy.parquet", 1_000_000, parquet("snappy", dictionary=False, page_rows=4)),
    ("rows of 100 KB, pages of 50 MB.parquet", 100_000, parquet("snappy", dictionary=False)),
    ("rows of 1 MB, pages of 500 MB.parquet", 1_000_000, parquet("snappy", dictionary=False)),
]


def read(path: Path) -> None:
    """Read one file and print what it took."""
    from pipeline.readers import read_records

    started = time.process_time()
    count = problems = 0
    for record in read_records(path, name="src", max_record_bytes=MAX_RECORD_BYTES):
        count += 1
        problems += record.problem is not None
    microseconds = (time.process_time() - started) / max(count, 1) * 1e6
    status = Path("/proc/self/status").read_text()  # getrusage also counts the process that started this one
    peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    size = path.stat().st_size / 1e6
    print(
        f"{path.name:42} {size:6.0f} MB {count:8} records {problems:2} problems "
        f"{microseconds:10.1f} µs each {peak:5} MB peak"
    )


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--read":
        read(Path(sys.argv[2]))
        return
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        for name, size, make in CASES:
            path = folder / name
            if not path.exists():
                make(path, megabytes, size)
            subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.memory_of_readers", "--read", str(path)], check=True
            )


if __name__ == "__main__":
    main()
