"""A row of a CSV of Weave's calls, whose columns are paths with dots, becomes the call that it was.

`inputs.question` and `summary.usage.gpt-4.1.prompt_tokens` are put in their places, JSON in texts decoded. A column
whose place is taken keeps its own name.
"""

from __future__ import annotations

from typing import Any

from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap

_NESTED = ("inputs.", "output.", "attributes.", "summary.")
_BY_MODEL = ("summary.usage.", "summary.weave.costs.")


def put_together(record: dict[str, Any]) -> dict[str, Any]:
    """A row of a CSV, whose columns are paths, as the call that it was."""
    if record.get("inputs") or not any(key.startswith(_NESTED) for key in record):
        return record
    row: dict[str, Any] = {}
    for key, value in record.items():
        if fields.is_empty(value):
            continue
        path = _path(key) if key.startswith(_NESTED) else [key]
        if not fields.is_empty(record.get(path[0])) or isinstance(value, (dict, list)):
            row[key] = value  # no path, or its place is taken, or no cell of a table
            continue
        place: Any = row
        for name in path[:-1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if isinstance(place, dict) and path[-1] not in place:
            place[path[-1]] = unwrap(value)
        else:
            row[key] = value
    return row


def _path(key: str) -> list[str]:
    for prefix in _BY_MODEL:  # names of models have dots of their own
        model, dot, kind = key.removeprefix(prefix).rpartition(".")
        if key.startswith(prefix) and dot:
            return [*prefix.rstrip(".").split("."), model, kind]
    return key.split(".")
