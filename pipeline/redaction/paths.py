"""Places in a trace that are dropped: `metadata.customer`, `turns[*].spans[*].input`, `**.password`.

A path is keys with dots between them. `*` or `[*]` stands for any key or item, `**` for any depth, `["a.b"]` for a
key that has dots itself. Fields of a trace are those of pipeline.models.Trace; one that is dropped is empty.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import UsageError
from pipeline.models import Span, Trace, Turn

_SEGMENT = re.compile(r"""\[\*\]|\["([^"]+)"\]|\[(\d+)\]|([^.\[\]"]+)""")
_KEPT = {Trace: ("id", "status", "id_is_unique", "revision"), Turn: (), Span: ("id",)}
"""A trace cannot be without these."""

Path = tuple[str, ...]


def parse_path(text: str, where: str = "mapping.drop") -> Path:
    """The segments of a path. Raises UsageError for what is none, or names what must stay."""
    segments: list[str] = []
    rest = text.strip()
    while rest:
        match = _SEGMENT.match(rest)
        if match is None:
            break
        segments.append(next((group for group in match.groups() if group is not None), "*"))
        rest = rest[match.end() :]
        rest = rest[1:] if rest.startswith(".") and len(rest) > 1 else rest
    if rest or not segments or segments[-1] == "**":
        raise UsageError(
            f"{where}: {text!r} is no path; write metadata.customer, turns[*].spans[*].input or **.password"
        )
    if segments[0] in _KEPT[Trace] and len(segments) == 1:
        raise UsageError(f"{where}: {segments[0]} cannot be dropped: a session is known by it")
    return tuple(segments)


def without(value: Any, paths: Mapping[Path, str], counts: Counter[str]) -> Any:
    """The value without what lies at the paths; each drop is counted under the path's name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _trace_without(value, paths, counts)
    if isinstance(value, Mapping):
        kept = {}
        for key, inner in value.items():
            below = _below(paths, str(key))
            if () in below:
                counts[below[()]] += 1
            else:
                kept[key] = without(inner, below, counts) if below else inner
        return kept
    if isinstance(value, (list, tuple)):
        items = []
        for index, inner in enumerate(value):
            below = _below(paths, str(index))
            if () in below:
                counts[below[()]] += 1
            else:
                items.append(without(inner, below, counts) if below else inner)
        return type(value)(items) if isinstance(value, (list, tuple)) and type(value) in (list, tuple) else items
    return value


def _trace_without(value: Any, paths: Mapping[Path, str], counts: Counter[str]) -> Any:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        below = _below(paths, field.name)
        inner = getattr(value, field.name)
        if () in below and field.name not in _KEPT.get(type(value), ()):
            empty = _empty(field)
            if inner != empty:
                counts[below[()]] += 1
                changes[field.name] = empty
        elif below and (below := {path: name for path, name in below.items() if path}):
            new = without(inner, below, counts)
            if new is not inner:
                changes[field.name] = new
    return dataclasses.replace(value, **changes) if changes else value


def _empty(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _below(paths: Mapping[Path, str], key: str) -> dict[Path, str]:
    """What is left of the paths one step further down, at this key."""
    found: dict[Path, str] = {}
    for path, name in paths.items():
        for rest in _steps(path, key):
            found.setdefault(rest, name)
    return found


def _steps(path: Path, key: str) -> Iterable[Path]:
    if not path:
        return
    if path[0] == "**":
        yield path
        yield from _steps(path[1:], key)
    elif path[0] in ("*", key):
        yield path[1:]
