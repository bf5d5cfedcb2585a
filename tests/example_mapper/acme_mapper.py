"""Traces of Acme's agent: one line a step, the steps of a trace anywhere in the export.

| field of a step | Span field |
|---|---|
| step (required), parent | id, parent_id |
| request (required) | the trace that it belongs to |
| what | name |
| from, to: seconds since 1970 | started_at, ended_at |
| asked, said | input, output |
| failed | error |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.mapper import Detection, Mapper, Piece
from pipeline.mappers.span_tree import trace_of_spans
from pipeline.models import Span, Trace


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are Acme's steps?"""
    steps = [row for row in sample if isinstance(row, dict) and row.keys() >= {"request", "step", "what"}]
    return Detection(0.9 * len(steps) / max(len(sample), 1), "steps of Acme's agent (request, step, what)")


def piece_of(step: Any) -> Piece:
    """Which trace a step belongs to, and when it was: found before the rest of it is looked at."""
    row = fields.object_of(step)
    request = fields.id_of(row.get("request"), "request")
    if request is None:
        raise RejectedError(f"request is missing or empty; {fields.WAY_OUT}", kind="no_id")
    return Piece(
        trace_id=request,
        id=fields.id_of(row.get("step"), "step"),
        revision=fields.time_of(row.get("to"), "to", "s") or "",
        started_at=fields.time_of(row.get("from"), "from", "s"),
        ended_at=fields.time_of(row.get("to"), "to", "s"),
    )


def assemble(steps: Iterable[Any]) -> Trace:
    """All steps of one request, in order of start, each once."""
    spans = []
    request = ""
    for number, step in enumerate(steps):
        request = str(step["request"])
        spans.append(
            Span(
                id=fields.id_of(step.get("step"), "step") or f"step-{number}",
                parent_id=fields.id_of(step.get("parent"), "parent"),
                name=fields.text_of(step.get("what"), "what") or "",
                started_at=fields.time_of(step.get("from"), "from", "s"),
                ended_at=fields.time_of(step.get("to"), "to", "s"),
                input=step.get("asked"),
                output=step.get("said"),
                error=fields.text_of(step.get("failed"), "failed"),
            )
        )
    return trace_of_spans(spans, Trace(id=request, origin={"format": "acme"}))


def map_trace(step: Any) -> None:
    """No step is a trace by itself: `piece_of` takes them all."""


MAPPER = Mapper(name="acme", family="acme", detect=detect, map_trace=map_trace, piece_of=piece_of, assemble=assemble)
