"""JSON Lines as records: one line, one record. Blank lines count as lines and are no records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.json_text import NotJsonError, decode
from pipeline.models import Problem, Record
from pipeline.readers.opening import BrokenStreamError

_BOM = b"\xef\xbb\xbf"


def read_jsonl(blocks: Iterable[bytes], *, name: str, max_record_bytes: int) -> Iterator[Record]:
    """The records of a stream of lines; `name` is their source."""
    ordinal = 0
    for number, line in enumerate(lines_of(blocks, max_record_bytes), 1):
        if not isinstance(line, bytes):
            ordinal += 1
            yield Record(name, ordinal, f"line {number}", None, line.raw, line.problem)
        elif line and not line.isspace():
            ordinal += 1
            yield json_record(line.removesuffix(b"\r"), name, ordinal, f"line {number}")


def json_record(raw: bytes, name: str, ordinal: int, position: str) -> Record:
    """The record that one JSON text is, or why it is none."""
    try:
        value, repairs = decode(raw)
    except NotJsonError as error:
        return Record(name, ordinal, position, None, raw, Problem(error.kind, str(error)))
    return Record(name, ordinal, position, value, raw, None, repairs)


class BrokenLine(NamedTuple):
    """A line that is not there as a whole, and what is left of it."""

    problem: Problem
    raw: bytes = b""


def lines_of(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | BrokenLine]:
    """All lines without their newlines, also blank ones; of longer ones than `max_bytes` only that they are."""
    too_long = BrokenLine(too_long_problem("line", max_bytes))
    pieces: list[bytes] = []  # of the line that has begun and not ended
    size = 0  # of that line, also when it is too long to keep its pieces
    bom = _BOM  # until the first line is out
    try:
        for block in blocks:
            *lines, last = block.split(b"\n")
            if lines:
                size += len(lines[0])
                if size > max_bytes:
                    yield too_long
                else:
                    yield b"".join([*pieces, lines[0]]).removeprefix(bom)
                bom = b""
                pieces, size = [], 0
                if len(block) <= max_bytes:
                    yield from lines[1:]
                else:
                    yield from [line if len(line) <= max_bytes else too_long for line in lines[1:]]
            size += len(last)
            if size > max_bytes:
                pieces.clear()
            elif last:
                pieces.append(last)
    except BrokenStreamError as error:
        yield BrokenLine(error.problem, b"".join(pieces))
    else:
        if size:
            yield b"".join(pieces).removeprefix(bom) if size <= max_bytes else too_long


def too_long_problem(what: str, max_bytes: int) -> Problem:
    """Of a record that is longer than the configuration allows."""
    return Problem("too_long", f"the {what} is longer than {max_bytes} bytes (source.max_record_bytes)")
