"""What a trace states, hashed: tells whether two traces are the same, and whether one only adds to the other."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import orjson

from pipeline import json_text
from pipeline.models import Status, Trace

UNKNOWN_FACTS = b"\xff\xff\xff\xff"
"""Of a trace that nobody knows any more: nothing can be said to contain it."""
_HASHED = tuple(field.name for field in dataclasses.fields(Trace) if field.name not in ("revision", "partial"))
_TEXTS = ("conversation_id", "name", "started_at", "user_id", "environment", "release", "version", "system")
_SEEDS = {name: zlib.crc32(name.encode()) for name in _TEXTS}


def trace_sha256(trace: Trace) -> str:
    """Hash of the trace, without its revision: a re-export that only touched `updatedAt` is the same trace."""
    values = [getattr(trace, name) for name in _HASHED]
    try:
        text = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits: the slow way knows them
        plain = dataclasses.asdict(trace)
        text = json_text.encode([plain[name] for name in _HASHED])
    return hashlib.sha256(text).hexdigest()


def facts(trace: Trace) -> bytes:
    """What the trace states, each statement hashed to 4 bytes; what is absent or unfinished states nothing.

    Sums (tokens, cost) are left out: they grow as spans arrive.
    """
    found = {
        zlib.crc32(value.encode("utf-8", "surrogatepass"), seed)
        for name, seed in _SEEDS.items()
        if (value := getattr(trace, name)) is not None
    }
    if trace.status is not Status.PENDING:
        found.add(_fact("status", trace.status))
    for tag in trace.tags:
        found.add(_fact("tag", tag))
    for key, value in trace.metadata.items():
        if isinstance(value, list):
            found.update(_fact(f"metadata.{key}.{number}", item) for number, item in enumerate(value))
        else:
            found.add(_fact(f"metadata.{key}", value))
    for number, turn in enumerate(trace.turns):
        if turn.input is not None:
            found.add(_fact(f"{number}.input", turn.input))
        if turn.output is not None:
            found.add(_fact(f"{number}.output", turn.output))
        if turn.error is not None:
            found.add(_fact(f"{number}.error", turn.error))
        if turn.retrieval_context is not None:
            found.add(_fact(f"{number}.retrieval_context", turn.retrieval_context))
        for span in turn.spans:
            found.add(_fact("span", span.id))
            if span.ended_at is not None:
                found.add(_fact(span.id, [span.name, span.type, span.input, span.output, span.error]))
    return array("I", sorted(found)).tobytes()


def contains(new: bytes, old: bytes) -> bool:
    """Does the trace with the facts `new` state everything that the one with `old` did?"""
    return old != UNKNOWN_FACTS and set(_unpack(old)) <= set(_unpack(new))


def _fact(name: str, value: Any) -> int:
    text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json_text.encode(value)
    return zlib.crc32(text, zlib.crc32(name.encode("utf-8", "surrogatepass")))


def _unpack(blob: bytes) -> Sequence[int]:
    numbers = array("I")
    numbers.frombytes(blob)
    return numbers
