"""Places in a trace that are dropped: `metadata.customer`, `turns[*].spans[*].input`, `**.password`.

A path is keys with dots between them. `*` or `[*]` stands for any key or item, `**` for any depth, `["a.b"]` for a
key that has dots itself; they lead into JSON inside a text, too. Fields of a trace are those of pipeline.models.Trace;
one that is dropped is empty.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from pipeline.errors import UsageError
from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.models import Span, Trace, Turn

_SEGMENT = re.compile(r"""\[\*\]|\["([^"]+)"\]|\[(\d+)\]|([^.\[\]"]+)""")
_KEPT: Mapping[type, tuple[str, ...]] = {Trace: ("id", "status", "id_is_unique", "revision"), Turn: (), Span: ("id",)}
"""A trace cannot be without these."""
_EMPTY: Mapping[type, Any] = {Trace: Trace(id=None), Turn: Turn(), Span: Span(id="")}
_FIELDS: Mapping[type, tuple[str, ...]] = {
    Trace: Trace.__struct_fields__,
    Turn: Turn.__struct_fields__,
    Span: Span.__struct_fields__,
}

Path = tuple[str, ...]


def parse_path(text: str, where: str = "mapping.drop", *, is_of_trace: bool = True) -> Path:
    """The segments of a path. Raises UsageError for what is none, or names what must stay, or what no trace has."""
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
    if is_of_trace:
        _require_fields(segments, text, where)
    return tuple(segments)


def _require_fields(segments: list[str], text: str, where: str) -> None:
    """A path that is misspelled keeps nothing back, and what it was to keep back would be on the server."""
    for kind, deeper in ((Trace, "turns"), (Turn, "spans"), (Span, "")):
        if not segments or segments[0] in ("*", "**"):
            return
        if segments[0] not in _FIELDS[kind]:
            nearest = difflib.get_close_matches(segments[0], _FIELDS[kind], n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(_FIELDS[kind])}"
            raise UsageError(f"{where}: {text!r}: no {kind.__name__.lower()} has {segments[0]}; {hint}")
        if segments[0] != deeper or segments[1:2] == ["**"]:
            return
        segments = segments[2:]  # behind the list, and which of it


def without(value: Any, paths: Mapping[Path, str], counts: Counter[str]) -> Any:
    """The value without what lies at the paths; each drop is counted under the path's name."""
    if isinstance(value, (Trace, Turn, Span)):
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
    return _text_without(value, paths, counts) if isinstance(value, str) else value


def _text_without(text: str, paths: Mapping[Path, str], counts: Counter[str]) -> str:
    """JSON inside a text (the arguments of a call, say) is looked into; where nothing is found, the text stays."""
    inner = unwrap(text)
    if isinstance(inner, str):
        return text
    before = counts.total()
    kept = without(inner, paths, counts)
    return fields.json_text(kept) if counts.total() != before else text


def _trace_without(value: Any, paths: Mapping[Path, str], counts: Counter[str]) -> Any:
    kind = type(value)
    changes: dict[str, Any] = {}
    for name in _FIELDS[kind]:
        below = _below(paths, name)
        inner = getattr(value, name)
        if () in below and name not in _KEPT[kind]:
            empty = getattr(_EMPTY[kind], name)
            if inner != empty:
                counts[below[()]] += 1
                changes[name] = empty
        elif below and (below := {path: name for path, name in below.items() if path}):
            new = without(inner, below, counts)
            if new is not inner:
                changes[name] = new
    return replace(value, **changes) if changes else value


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
