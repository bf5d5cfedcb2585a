"""What was asked and answered in an MLflow trace, and by which system prompt.

Input and output, the first that is not empty: of an outer span (the first one's input, the last one's output); the
trace's own request and response (columns, 2.x `data`); mlflow.traceInputs and mlflow.traceOutputs where they are
whole; the previews, which may be cut; the input of the first call of a model and, where the trace ended well, the
output of the last. Previews and the like are kept in metadata.mlflow too, unless they only repeat the turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.mappers import fields, mlflow_spans
from pipeline.mappers.conversation import ROLES, as_text
from pipeline.mappers.mlflow_spans import Spans, decoded
from pipeline.mappers.nested_json import unwrap
from pipeline.models import Status

OF_OUTPUT = frozenset(["response", "response_preview", "mlflow.traceOutputs"])
_LONGEST_VALUE = 250
"""Characters; what is as long was cut (tracing/constant.py: MAX_CHARS_IN_TRACE_INFO_METADATA)."""


def copies_of(known: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What repeats the input and output of the outer span, perhaps cut; the better copies first."""
    copies = {name: known[name] for name in ("request", "response") if name in known}
    copies |= {name: metadata[name] for name in ("mlflow.traceInputs", "mlflow.traceOutputs") if metadata.get(name)}
    return copies | {name: known[name] for name in ("request_preview", "response_preview") if name in known}


def turn_values(spans: Spans, copies: Mapping[str, Any], status: Status) -> tuple[Any, Any]:
    """Input and output, as they stand."""
    calls = mlflow_spans.generations(spans)
    answers = reversed(calls) if status is Status.COMPLETED else ()
    inputs = [span.input for span in spans.outer]
    outputs = [span.output for span in reversed(spans.outer)]
    return (
        _first((*inputs, *_whole_first(copies, "request", "mlflow.traceInputs"), *(call.input for call in calls))),
        _first(
            (*outputs, *_whole_first(copies, "response", "mlflow.traceOutputs"), *(call.output for call in answers))
        ),
    )


def _whole_first(copies: Mapping[str, Any], name: str, noted: str) -> list[Any]:
    note = copies.get(noted)
    is_whole = isinstance(note, str) and len(note) < _LONGEST_VALUE and not note.endswith("...")
    order = (name, noted, f"{name}_preview") if is_whole else (name, f"{name}_preview", noted)
    return [unwrap(copies[key], 1) for key in order if copies.get(key) not in (None, "null")]


def _first(values: Sequence[Any]) -> Any:
    """The first value that is not empty; where all are, the first that is not null."""
    return next(
        (value for value in values if not fields.is_empty(value)),
        next((value for value in values if value is not None), None),
    )


def repeats(copy: Any, value: Any) -> bool:
    """Is all of `copy` in the value: the same, its JSON up to a cut, or the start of a text in it?"""
    if copy == value or unwrap(copy, 1) == value or decoded(copy) == value:
        return True
    if not isinstance(copy, str):
        return False
    start = copy.removesuffix("...")
    if any(text.startswith(start) for text in _texts(value)):
        return True
    try:
        return any(json.dumps(value, ensure_ascii=flag).startswith(start) for flag in (False, True))
    except ValueError:  # an integer of thousands of digits
        return False


def _texts(value: Any) -> list[str]:
    found, left = [], [value]
    while left:
        here = left.pop()
        if isinstance(here, str):
            found.append(here)
        elif isinstance(here, dict):
            left.extend(here.values())
        elif isinstance(here, list):
            left.extend(here)
    return found


def system_prompt(first: Any, spans: Spans) -> str | None:
    """The system messages in the input of the turn, else of the first call of a model that has any."""
    for value in (first, *(call.input for call in mlflow_spans.generations(spans))):
        said = _system_texts(value)
        if said:
            return "\n\n".join(said)
    return None


def _system_texts(value: Any) -> list[str]:
    """System messages, and the `system` or `instructions` that some APIs have beside the messages."""
    beside: list[Any] = []
    messages = value
    if isinstance(value, dict):
        beside = [value[key] for key in ("system", "instructions") if value.get(key)]
        messages = value.get("messages") or value.get("input")
    if isinstance(messages, list) and len(messages) == 1 and isinstance(messages[0], list):
        messages = messages[0]  # LangChain's batches of one
    said = [
        message.get("content")
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict) and _is_system(message)
    ]
    return [as_text(text) for text in (*beside, *said) if not fields.is_empty(text) and isinstance(text, (str, list))]


def _is_system(message: Mapping[str, Any]) -> bool:
    role = message.get("role", message.get("type"))
    return isinstance(role, str) and ROLES.get(role) == "system"
