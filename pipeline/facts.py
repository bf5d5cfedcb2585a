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


def trace_sha256(trace: Trace) -> str:
    """Hash of the trace, without its revision: a re-export that only touched `updatedAt` is the same trace."""
    plain = dataclasses.replace(trace, revision=None) if trace.revision is not None else trace
    try:
        text = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits: the slow way knows them
        text = json_text.encode(dataclasses.asdict(plain))
    return hashlib.sha256(text).hexdigest()


def facts(trace: Trace) -> bytes:
    """What the trace states, each statement hashed to 4 bytes; what is absent or unfinished states nothing.

    Sums (tokens, cost) are left out: they grow as spans arrive.
    """
    found = set()
    for key in (
        "conversation_id",
        "name",
        "started_at",
        "user_id",
        "environment",
        "release",
        "version",
        "system",
    ):
        value = getattr(trace, key)
        if value is not None:
            found.add(_fact(key, value))
    if trace.status is not Status.PENDING:
        found.add(_fact("status", trace.status))
    for tag in trace.tags:
        found.add(_fact("tag", tag))
    for key, value in trace.metadata.items():
        items = enumerate(value) if isinstance(value, list) else [("", value)]
        found.update(_fact(f"metadata.{key}.{number}", item) for number, item in items)
    for number, turn in enumerate(trace.turns):
        if turn.input is not None:
            found.add(_fact(f"{number}.input", turn.input))
        if turn.output is not None:
            found.add(_fact(f"{number}.output", turn.output))
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
