"""A run's own rejects.jsonl as input: its lines are read as the records that they hold."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline.json_text import NotJsonError, decode
from pipeline.models import Problem, Record
from pipeline.readers.jsonl import json_record, lines_of

_KEYS = {"source", "position", "stage", "error_kind", "error", "record"}


class _Line(msgspec.Struct):
    source: str
    position: str
    record: msgspec.Raw
    """The bytes as they stand, so that the record is the one that was rejected, digit by digit."""
    record_base64: str | None = None
    format: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode


def is_reject(data: Any) -> bool:
    """Whether a decoded line is one of a rejects.jsonl."""
    return isinstance(data, dict) and data.keys() >= _KEYS


def read_rejects(blocks: Iterable[bytes], *, name: str, max_record_bytes: int) -> Iterator[Record]:
    """The records inside the lines of a rejects.jsonl; each names the format that it was read as."""
    ordinal = 0
    for number, line in enumerate(lines_of(blocks, max_record_bytes), 1):
        if isinstance(line, bytes):
            if line and not line.isspace():
                ordinal += 1
                yield _inner_record(line, name, ordinal, f"line {number}")
        else:
            ordinal += 1
            yield Record(name, ordinal, f"line {number}", None, line.raw, line.problem)


def _inner_record(raw: bytes, name: str, ordinal: int, position: str) -> Record:
    try:
        line = _decode_line(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _other_line(raw, name, ordinal, position)
    origin = f"{line.source} {line.position}"
    if line.position.endswith(")") and "(" in line.position:  # rejected twice: the first place counts
        origin = line.position[line.position.index("(") + 1 : -1]
    position = f"{position} ({origin})"
    inner = bytes(line.record)
    if inner == b"null" and line.record_base64 is not None:  # a record that somebody mended in place counts
        try:
            inner = base64.b64decode(line.record_base64, validate=True)
        except (binascii.Error, ValueError):
            problem = Problem("not_base64", "record_base64 is not base64: the line was changed")
            return Record(name, ordinal, position, None, raw, problem, format=line.format)
    elif inner == b"null":
        problem = Problem(
            "record_not_kept",
            f"the line does not hold the record; mend {line.source} and import that file again",
        )
        return Record(name, ordinal, position, None, b"", problem, format=line.format)
    return replace(json_record(inner, name, ordinal, position), format=line.format)


def _other_line(raw: bytes, name: str, ordinal: int, position: str) -> Record:
    """A line that somebody else put in between."""
    try:
        decode(raw)
    except NotJsonError as error:
        return Record(name, ordinal, position, None, raw, Problem(error.kind, str(error)))
    problem = Problem("not_a_reject", "not a line of a rejects.jsonl, unlike the first one of this file")
    return Record(name, ordinal, position, None, raw, problem)
