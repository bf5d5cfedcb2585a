"""Rows that are spans, in formats without a row for the trace itself: what the root's row says, the trace says.

For Braintrust, Weave and Datadog. The rules, where `format` is the name of the format:

| of the trace | from |
|---|---|
| metadata | the root's own, and what else its row says under metadata.<format>; its span has none then |
| … without a root, or with several | metadata.<format> holds what all spans repeat, and the spans keep their own |
| a key that spans repeat (project, user account, …) | kept of a span only where it says something else than the trace |
| conversation_id, user_id, environment | the first of some keys in the metadata of the root, then of the other spans |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.mapper import Detection
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score, judge
from pipeline.mappers.span_tree import trace_of_spans
from pipeline.models import Span, Trace

SPAN_TYPES = frozenset(
    ["SPAN", "GENERATION", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "EMBEDDING", "GUARDRAIL"]
)
CONVERSATION_KEYS = ("session_id", "thread_id", "conversation_id", "sessionId", "threadId", "conversationId")
USER_KEYS = ("user_id", "userId", "user.id")
ENVIRONMENT_KEYS = ("environment", "env")
_OF_ROWS = frozenset(["id", "trace_id", "root_span_id", "span_id"])
_ROWS_OF_A_PAGE = 20
"""As many rows of a page are looked at to recognise a format."""

Split = Callable[[Any], Iterable[tuple[str, Any]]]


class Row(NamedTuple):
    """What one row says: its span, still without metadata; metadata that the user gave; all else."""

    span: Span
    own: dict[str, Any]
    rest: dict[str, Any]


def read_rows(records: Iterable[Any], read: Callable[[dict[str, Any]], Row]) -> list[Row]:
    """The rows of one trace; a RejectedError says which span it is about."""
    rows: list[Row] = []
    for record in records:
        row = fields.object_of(record)
        try:
            rows.append(read(row))
        except RejectedError as error:
            names = (row.get(key) for key in ("span_id", "id"))
            name = next((fields.quoted(name) for name in names if isinstance(name, str)), "without id")
            raise RejectedError(f"span {name}: {error}", kind=error.kind) from error
    return rows


def trace_of_rows(
    rows: Sequence[Row],
    stated: Trace,
    *,
    format: str,
    modelled: Iterable[str],
    repeated: Iterable[str],
    input: Any = None,
) -> Trace:
    """`stated` is what the mapper knows of the trace.

    Of the keys of `rest`, `stated` says what is `modelled` already; those `repeated` stand in most rows alike.
    """
    root, modelled = root_of(rows), frozenset(modelled)
    shared = frozenset(repeated) | modelled
    said = root.rest if root is not None else {key: value for key, value in rows[0].rest.items() if key in shared}
    spans = []
    for row in rows:
        span = row.span
        if row is not root:
            rest = {key: value for key, value in row.rest.items() if key not in shared or said.get(key) != value}
            if rest or row.own:
                span = replace(span, metadata=fields.beside(row.own, format, rest))
        spans.append(span)
    rest = {key: value for key, value in said.items() if key not in modelled}
    stated = replace(
        stated,
        conversation_id=stated.conversation_id or told(rows, CONVERSATION_KEYS),
        user_id=stated.user_id or told(rows, USER_KEYS),
        environment=stated.environment or told(rows, ENVIRONMENT_KEYS),
        metadata=fields.beside(root.own if root is not None else {}, format, rest),
    )
    return trace_of_spans(spans, stated, input=input)


def root_of(rows: Sequence[Row]) -> Row | None:
    """The row without a parent, where there is exactly one."""
    roots = [row for row in rows if row.span.parent_id is None]
    return roots[0] if len(roots) == 1 else None


def told(rows: Sequence[Row], keys: Sequence[str]) -> str | None:
    """The first text or integer under one of the keys in the users' metadata; of rows without parent first."""
    for row in sorted(rows, key=lambda row: row.span.parent_id is not None):
        for key in keys:
            value = row.own.get(key) if row.own else None
            if value.__class__ in (str, int) and (name := fields.id_of(value, key)) is not None:
                return name
    return None


def type_of(stated: str | None, known: dict[str, str]) -> str | None:
    """The type that a format's own word means; our words are understood too. None: we do not know it."""
    if stated is None:
        return "SPAN"
    word = stated.lower()
    return known.get(word) or (stated.upper() if stated.upper() in SPAN_TYPES else None)


def object_in(value: Any, field: str) -> dict[str, Any]:
    """An object, also as JSON in a text (as tables write it); {} where there is none."""
    value = unwrap(value)
    if isinstance(value, dict):
        return value
    if fields.is_empty(value):
        return {}
    raise fields.bad_field(field, "an object", value)


def take_error(info: dict[str, Any], rest: dict[str, Any], field: str) -> str | None:
    """ "type: message", as far as both are there; what else the error says (its traceback) goes to `rest`."""
    named = [fields.text_of(info.get(key), f"{field}.{key}") for key in ("type", "message")]
    if others := {
        key: value for key, value in info.items() if key not in ("type", "message") and not fields.is_empty(value)
    }:
        rest[field] = others
    return ": ".join(text for text in named if text) or None


def taken(counts: dict[str, Any], names: dict[str, str], field: str) -> dict[str, int]:
    """The counts of tokens, out of `counts`: those with `names`, and what else ends in "_tokens", as it is called."""
    found = {key: counts.pop(key) for key in [key for key in counts if key in names or key.endswith("_tokens")]}
    return {names.get(key, key): count for key, count in fields.tokens_of(found, field).items()}


def pages(*keys: str) -> Split:
    """`split` for pages of an API: objects that hold rows in a list under one of the keys."""

    def split(record: Any) -> Iterator[tuple[str, Any]]:
        rows = None
        if isinstance(record, dict) and not record.keys() & _OF_ROWS:
            rows = next((record[key] for key in keys if isinstance(record.get(key), list)), None)
        if rows is None:
            yield "", record
            return
        for number, row in enumerate(rows, 1):
            yield f"span {number}", row

    return split


def detect_rows(
    sample: Sequence[Any], split: Split, score: Callable[[dict[str, Any]], Score], nothing: str
) -> Detection:
    """How sure are we, from the rows of a sample; those of a page count as if each stood alone."""
    rows = [row for record in sample for _, row in islice(split(record), _ROWS_OF_A_PAGE)]
    return judge(rows, score, nothing)
