"""The readable result of a run: manifest, rejects and summary, each of which appears whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from pipeline.json_text import NotJsonError, decode

ROWS_AT_ONCE = 2_000
_INTEGERS = ("records", "traces", "turns", "spans", "http_status", "attempts")
# fmt: off
COLUMNS = (
    "run_id", "custom_id", "outcome", "session_id", "trace_id", "conversation_id", "format", "source", "position",
    "records", "traces", "turns", "spans", "http_status", "attempts", "error_kind", "error", "payload_sha256",
    "first_sent_at", "settled_at", "latency_ms",
)
# fmt: on
SCHEMA = pa.schema(
    [
        pa.field(name, pa.int64() if name in _INTEGERS else pa.float64() if name == "latency_ms" else pa.string())
        for name in COLUMNS
    ]
)


def write_manifest(folder: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    """manifest.parquet and manifest.jsonl; `rows` have the order of COLUMNS and are never held all at once."""
    iterator = iter(rows)
    with (
        whole_file(folder / "manifest.parquet") as columns,
        whole_file(folder / "manifest.jsonl") as lines,
        pq.ParquetWriter(columns, SCHEMA, compression="zstd") as writer,
    ):
        while batch := list(islice(iterator, ROWS_AT_ONCE)):
            text = b"".join(
                [orjson.dumps(dict(zip(COLUMNS, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in batch]
            )
            lines.write(text)
            writer.write_table(_as_table(text))


def _as_table(lines: bytes) -> pa.Table:
    """The same lines as columns: `pa.array` would load pandas, 0.2 s and 40 MB for a run of any size."""
    whole = pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    strict = pyarrow.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error")
    return pyarrow.json.read_json(io.BytesIO(lines), read_options=whole, parse_options=strict)


def write_rejects(folder: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    """rejects.jsonl: (source, position, stage, error_kind, error, trace_id, format, record bytes or None)."""
    with whole_file(folder / "rejects.jsonl") as lines:
        for source, position, stage, kind, error, trace_id, format, raw in rows:
            line = {
                "source": source,
                "position": position,
                "stage": stage,
                "error_kind": kind,
                "error": error,
                "trace_id": trace_id,
                "format": format,
            }
            lines.write(orjson.dumps(line)[:-1] + b"," + _record_field(raw) + b"}\n")


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """summary.json, the last of the files: where it stands, the others do."""
    with whole_file(folder / "summary.json") as file:
        file.write(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_verification(folder: Path, verification: Mapping[str, Any]) -> Path:
    """verify.json; the folder may have been tidied away since."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "verify.json"
    with whole_file(path) as file:
        file.write(orjson.dumps(verification, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that stands under its name only once all of it is on disk (temp, fsync, rename); mode 0600."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)


def _record_field(raw: bytes | None) -> bytes:
    """The record as it stood, character for character, where it is JSON; base64 where it is not."""
    if raw is None:
        return b'"record":null'
    try:
        # On its own, and within the line: there it is one level deeper, and a byte order mark is none.
        is_json = not decode(raw).repairs and not decode(b'{"record":%b}' % raw).repairs
    except NotJsonError:
        is_json = False
    if not is_json:
        return b'"record":null,"record_base64":"%b"' % base64.b64encode(raw)
    return b'"record":%b' % raw.replace(b"\r", b" ").replace(b"\n", b" ")
