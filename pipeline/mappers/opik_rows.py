"""Opik's CSV (`opik export … --format csv`): a row for each span, which repeats its trace, becomes what the JSON says.

A column is the way to a value, `trace_` or `span_` first and a `_` between names. A name may hold a `_` of its own,
so `trace_input_user_name` is taken for `user_name` in the trace's input. Lists stand there in Python's spelling. A
trace without spans has one row.

Source: opik 2.2.122 from PyPI, cli/exports/utils.py (trace_to_csv_rows), dict_utils.py (flatten_dict).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.mappers import fields
from pipeline.mappers.mapper import Piece
from pipeline.mappers.nested_json import unwrap

_SIGNS = frozenset(["trace_id", "trace_start_time", "span_id", "span_start_time"])
_KINDS = ("trace", "span")
_OBJECTS = ("input", "output", "metadata", "usage", "error_info", "experiment")


def is_row(record: Any) -> bool:
    """Is it a row of the CSV?"""
    return isinstance(record, dict) and record.keys() >= _SIGNS


def piece_of(record: Any) -> Piece | None:
    """A row is a piece of its trace; what the JSON export holds is whole."""
    trace_id = fields.id_of(record["trace_id"], "trace_id") if is_row(record) else None
    if trace_id is None:
        return None
    updated = (fields.time_of(record.get(f"{what}_last_updated_at"), f"{what}_last_updated_at") for what in _KINDS)
    return Piece(
        trace_id,
        fields.id_of(record["span_id"], "span_id"),
        revision=" ".join(time or "" for time in updated),
        started_at=fields.time_of(record["span_start_time"], "span_start_time"),
        ended_at=fields.time_of(record.get("span_end_time"), "span_end_time"),
    )


def put_together(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the JSON export holds of this trace."""
    traces, spans = zip(*(tuple(_object(row, f"{what}_") for what in _KINDS) for row in rows), strict=True)
    projects = (span.get("project_name") for span in spans)
    return {
        "trace": max(traces, key=lambda trace: trace.get("last_updated_at") or ""),
        "spans": [span for span in spans if "id" in span],
        "project_name": next((project for project in projects if project), None),
    }


def _object(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, cell in row.items():
        name = column.removeprefix(prefix)
        if name == column or fields.is_empty(cell):
            continue
        outer = next((outer for outer in _OBJECTS if name.startswith(f"{outer}_")), None)
        if outer is None:
            found[name] = _value(cell)
        else:
            found.setdefault(outer, {})[name.removeprefix(f"{outer}_")] = _value(cell)
    return found


def _value(cell: Any) -> Any:
    value = unwrap(cell)
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        listed = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # it is a text, or holds a time
        return value
    return listed if isinstance(listed, list) else value
