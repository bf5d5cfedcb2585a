"""Rows of Phoenix's data frame of spans: a column for each attribute that any span has, lists of structs whole."""

from __future__ import annotations

import re
from typing import Any

from pipeline.mappers.openinference import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace
from tests.formats.writers import openinference

__all__ = ["MAPPER", "write"]

NUMBERED = re.compile(r"(?P<name>.+)\.(?P<index>\d+)\.(?P<key>.+)")
COLUMNS = ("session.id", "user.id", "metadata", "llm.input_messages", "llm.token_count.prompt", "output.value")


def write(trace: CanonicalTrace) -> list[Any]:
    return [_row(trace, span) for span in reversed(trace.spans)]


def _row(trace: CanonicalTrace, span: CanonicalSpan) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": span.name,
        "span_kind": openinference.KINDS.get(span.type, span.type),
        "parent_id": span.parent,
        "start_time": span.start,
        "end_time": span.end,
        "status_code": "ERROR" if span.error else "UNSET",
        "status_message": span.error or "",
        "events": [],
        "context.span_id": span.id,
        "context.trace_id": trace.id,
        "__index_level_0__": span.id,
        **{f"attributes.{name}": None for name in COLUMNS},
    }
    for key, value in openinference.attributes(trace, span).items():
        numbered = NUMBERED.fullmatch(key)
        if numbered is None:
            row[f"attributes.{key}"] = float(value) if isinstance(value, int) else value
            continue
        column = f"attributes.{numbered['name']}"
        items = row[column] = row.get(column) or []
        if int(numbered["index"]) == len(items):
            items.append({"message.tool_calls": None} if "message" in column else {})
        items[int(numbered["index"])][numbered["key"]] = value
    return row
