"""What the attributes of a span mean: type, model, tokens, cost, and what went in and came out.

Sources: see genai_attributes, which has the names.

Of several attributes that say the same thing the first in `KEYS` counts; the others stay in the metadata, unless they
only repeat it. Whatever is not read stays there too, under its own name and undecoded. JSON in texts is decoded in
what went in and came out, and in lists and objects that an SDK can only write so (tags, usage_details, …).

| Span field | from |
|---|---|
| type | the first of `TYPES` that is known; a tool's name: TOOL; a model, or messages: GENERATION; else SPAN |
| input | the conventions' messages, whichever generation wrote them (genai_messages); the frameworks' own keys |
| output | the same |
| the system prompt, gen_ai.system_instructions | the first message of the input |
| model | the response's before the request's |
| tokens | input, output, total, cache_read_input_tokens, cache_creation_input_tokens, reasoning_output_tokens, and |
| | what gen_ai.usage.details.*, gen_ai.usage.*_tokens and langfuse.observation.usage_details name |
| cost (USD) | gen_ai.usage.cost, operation.cost, …; else the sum of input_cost and output_cost, which stay |
| error | galtea.*.error, or the status message where langfuse.observation.level is ERROR |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.genai_attributes import (
    DECODED,
    FIELD_OF,
    IDS,
    MESSAGES,
    OF_OWN_METADATA,
    OF_TRACE,
    OF_TRACE_METADATA,
    PREFIXES,
    TYPES,
    USAGE,
)
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_tree import NO_MESSAGE


class Stated(NamedTuple):
    """A value with the attribute that holds it; of two for one field the one with the lower rank counts."""

    rank: int
    key: str
    value: Any


class Meaning(NamedTuple):
    """What the attributes of one span say."""

    type: str
    input: Any
    output: Any
    model: str | None
    tokens: dict[str, int]
    cost: float | None
    error: str | None
    of_trace: dict[str, Stated]
    """By the names of OF_TRACE."""
    trace_metadata: dict[str, Any]
    own: dict[str, Any]
    """All other attributes."""


def meaning_of(attributes: Mapping[str, Any]) -> Meaning:
    """Never an error: an attribute that holds something else than it should is one of `own`."""
    best: dict[str, Stated] = {}
    others: list[tuple[str, Stated]] = []
    own: dict[str, Any] = {}
    prefixed: dict[str, Any] = {}
    for key, value in attributes.items():
        place = FIELD_OF.get(key)
        if place is None:
            if value or value.__class__ not in fields.EMPTY:
                (prefixed if key.startswith(PREFIXES) else own)[key] = value
            continue
        field, rank = place
        read = unwrap(value) if field in DECODED else value
        if not read and read.__class__ in fields.EMPTY:
            continue
        stated = Stated(rank, key, read)
        known = best.setdefault(field, stated)
        if known is not stated:
            if rank < known.rank:
                best[field] = stated
                known, stated = stated, known
            others.append((field, stated))
    for field, stated in others:
        if stated.value != best[field].value:
            own[stated.key] = attributes[stated.key]
    tokens: dict[str, int] = {}
    trace_metadata: dict[str, Any] = {}
    of_trace: dict[str, Stated] = {}
    for key, value in prefixed.items():
        _open_prefixed(key, value, own, trace_metadata, tokens)
    for field, stated in best.items():
        if field.startswith("tokens."):
            _put_count(field.removeprefix("tokens."), stated, tokens, own)
        elif field in OF_TRACE:
            _put_of_trace(field, stated, of_trace, own)
        elif field == "usage":
            _open_usage(stated, tokens, own)
        elif field == "observation_metadata":
            _open_metadata(stated, own)
        elif field == "trace_metadata":
            _open_metadata(stated, trace_metadata)
    model = _text(best, "model", own)
    return Meaning(
        type=_type(attributes, own, has_model=model is not None),
        input=_input(best, own),
        output=_output(best, own),
        model=model,
        tokens=tokens,
        cost=_cost(best, own),
        error=_error(best, own),
        of_trace=of_trace,
        trace_metadata=trace_metadata,
        own=own,
    )


def _text(best: Mapping[str, Stated], field: str, own: dict[str, Any]) -> str | None:
    stated = best.get(field)
    if stated is None or isinstance(stated.value, str):
        return None if stated is None else stated.value
    own[stated.key] = stated.value
    return None


def _put_of_trace(field: str, stated: Stated, of_trace: dict[str, Stated], own: dict[str, Any]) -> None:
    value = stated.value
    if field == "tags":
        value = tuple(value) if isinstance(value, list) else (value,)
        is_fit = all(isinstance(tag, str) for tag in value)
    elif field in IDS and value.__class__ is int and abs(value) < 1 << 64:
        value, is_fit = str(value), True
    else:
        is_fit = isinstance(value, str) or field in ("trace_input", "trace_output")
    if is_fit:
        of_trace[field] = stated if value is stated.value else Stated(stated.rank, stated.key, value)
    else:
        own[stated.key] = value


# --- attributes with a name of the user's in their own ------------------------------------------------------


def _open_prefixed(
    key: str, value: Any, own: dict[str, Any], trace_metadata: dict[str, Any], tokens: dict[str, int]
) -> None:
    if key.startswith(OF_TRACE_METADATA):
        trace_metadata[key.removeprefix(OF_TRACE_METADATA)] = value
        return
    if key.startswith(USAGE):
        kind = key.removeprefix(USAGE)
        count = _count(value) if kind.startswith("details.") or kind.endswith("_tokens") else None
        if count is None:
            own[key] = value
        else:
            tokens[kind.removeprefix("details.").replace(".", "_")] = count
        return
    name = key.removeprefix(OF_OWN_METADATA)
    own[key if name in own else name] = value


def _open_metadata(stated: Stated, target: dict[str, Any]) -> None:
    """Langfuse writes metadata as one JSON text, or as an attribute for each key."""
    if isinstance(stated.value, dict) and not stated.value.keys() & target.keys():
        target.update(stated.value)
    else:
        target[stated.key] = stated.value


def _open_usage(stated: Stated, tokens: dict[str, int], own: dict[str, Any]) -> None:
    counts = {kind: _count(value) for kind, value in stated.value.items()} if isinstance(stated.value, dict) else {}
    known = {kind: count for kind, count in counts.items() if count is not None}
    if len(known) < len(counts) or not known:
        own[stated.key] = stated.value
    tokens |= known


# --- what kind of step it is --------------------------------------------------------------------------------


def _type(attributes: Mapping[str, Any], own: dict[str, Any], *, has_model: bool) -> str:
    for key, types in TYPES.items():
        stated = attributes.get(key)
        if isinstance(stated, str):
            kind = types.get(stated.lower())
            if kind is not None:
                if kind == stated.upper():
                    own.pop(key, None)
                return kind
            if key == "gen_ai.operation.name":  # a step of another kind, whatever model it names
                return "SPAN"
    if attributes.get("gen_ai.tool.name") or attributes.get("gen_ai.tool.call.id"):
        return "TOOL"
    return "GENERATION" if has_model or not MESSAGES.isdisjoint(attributes) else "SPAN"


# --- what went in and came out ------------------------------------------------------------------------------


def _input(best: Mapping[str, Stated], own: dict[str, Any]) -> Any:
    first = best["input"].value if "input" in best else None
    system = best.get("system")
    if system is None:
        return first
    if first is not None and not isinstance(first, list):
        own[system.key] = system.value
        return first
    content = "parts" if isinstance(system.value, list) else "content"
    return [{"role": "system", content: system.value}, *(first or ())]


def _output(best: Mapping[str, Stated], own: dict[str, Any]) -> Any:
    """Vercel's SDK has text and calls of tools in two attributes: together they are one message."""
    stated = best.get("output")
    if stated is None:
        return None
    if stated.key in ("ai.response.text", "ai.result.text"):
        calls = own.pop(stated.key.replace("text", "toolCalls"), None)
        if calls is not None:
            return {"role": "assistant", "content": stated.value, "tool_calls": unwrap(calls)}
    return stated.value


# --- what it cost -------------------------------------------------------------------------------------------


def _put_count(kind: str, stated: Stated, tokens: dict[str, int], own: dict[str, Any]) -> None:
    count = _count(stated.value)
    if count is None:
        own[stated.key] = stated.value
    else:
        tokens[kind] = count


def _count(value: Any) -> int | None:
    if value.__class__ is int:
        return int(value)
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _number(value: Any) -> float | None:
    try:
        return fields.number_of(value, "a part of the cost")
    except RejectedError:
        return None


def _cost(best: Mapping[str, Stated], own: dict[str, Any]) -> float | None:
    """The total; what it is made of stays."""
    details = best.get("cost_details")
    parts = [best[field] for field in ("cost_input", "cost_output") if field in best]
    own |= {part.key: part.value for part in (*parts, *([details] if details else []))}
    stated = best.get("cost")
    if stated is not None:
        cost = _number(stated.value)
        if cost is None:
            own[stated.key] = stated.value
        return cost
    if details is not None and isinstance(details.value, dict):
        total = _number(details.value.get("total"))
        return _sum(details.value.values()) if total is None else total
    return _sum(part.value for part in parts)


def _sum(parts: Iterable[Any]) -> float | None:
    numbers = [number for part in parts if (number := _number(part)) is not None]
    return math.fsum(numbers) if numbers else None


def _error(best: Mapping[str, Stated], own: dict[str, Any]) -> str | None:
    level, message = best.get("level"), best.get("level_message")
    if level is None and message is None:
        return _text(best, "error", own)
    is_error = level is not None and level.value == "ERROR"
    if level is not None and not is_error and level.value != "DEFAULT":
        own[level.key] = level.value
    if message is not None and not (is_error and isinstance(message.value, str)):
        own[message.key] = message.value
        message = None
    stated = _text(best, "error", own)
    if stated is not None:
        if message is not None and message.value != stated:
            own[message.key] = message.value
        return stated
    return (message.value if message is not None else NO_MESSAGE) if is_error else None
