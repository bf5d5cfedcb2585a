"""What the attributes of a span mean: type, model, tokens, cost, and what went in and came out.

Sources: opentelemetry-semantic-conventions 0.66b2 (gen_ai_attributes), opentelemetry-semantic-conventions-ai 0.5.1
(Traceloop's OpenLLMetry), opentelemetry-util-genai 1.3b0, strands-agents 1.62.0 telemetry/tracer.py, google-adk 2.13.0
telemetry/tracing.py, langfuse 5.0.4 _client/attributes.py, openinference-semantic-conventions 0.1.42, galtea 5.12.0
infrastructure/telemetry/attributes.py, vercel/ai's documentation of telemetry, and what Langfuse's OTLP ingestion reads
(langfuse/langfuse packages/shared/src/server/otel); formats.md 3.3.

Of several attributes that say the same thing the first in `_KEYS` counts; the others stay in the metadata, unless they
only repeat it. Whatever is not read stays there too, under its own name and undecoded. JSON in texts is decoded in
what went in and came out, and in lists and objects that an SDK can only write so (tags, usage_details, …).

| Span field | from |
|---|---|
| type | the first of `_TYPES` that is known; a tool's name: TOOL; a model, or messages: GENERATION; else SPAN |
| input | the conventions' messages, whichever generation wrote them (genai_messages); the frameworks' own keys |
| output | the same |
| the system prompt, gen_ai.system_instructions | the first message of the input |
| model | the response's before the request's |
| tokens | input, output, total, cache_read_input_tokens, cache_creation_input_tokens, reasoning_output_tokens, and |
| | what gen_ai.usage.details.* and langfuse.observation.usage_details name |
| cost (USD) | gen_ai.usage.cost, operation.cost, …; else the sum of input_cost and output_cost, which stay |
| error | galtea.*.error, or the status message where langfuse.observation.level is ERROR |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_tree import NO_MESSAGE

_TRACELOOP = "traceloop.association.properties"
_KEYS: dict[str, tuple[str, ...]] = {
    "input": (
        "galtea.span.input", "galtea.trace.input", "langfuse.observation.input", "gen_ai.input.messages",
        "gen_ai.tool.call.arguments", "gen_ai.prompt", "ai.prompt.messages", "ai.prompt", "ai.toolCall.args",
        "ai.value", "ai.values", "gcp.vertex.agent.llm_request", "gcp.vertex.agent.tool_call_args",
        "gcp.vertex.agent.data", "traceloop.entity.input", "gen_ai.tool.args", "gen_ai.retrieval.query.text",
        "mlflow.spanInputs", "llm.input_messages", "input.value", "tool_arguments", "gen_ai.input",
        "pydantic_ai.all_messages", "all_messages_events", "input",
    ),
    "output": (
        "galtea.span.output", "galtea.trace.output", "langfuse.observation.output", "gen_ai.output.messages",
        "gen_ai.tool.call.result", "gen_ai.completion", "ai.response.text", "ai.result.text", "ai.response.object",
        "ai.result.object", "ai.response.toolCalls", "ai.result.toolCalls", "ai.toolCall.result", "ai.embedding",
        "ai.embeddings", "gcp.vertex.agent.llm_response", "gcp.vertex.agent.tool_response", "traceloop.entity.output",
        "gen_ai.output", "gen_ai.retrieval.documents", "mlflow.spanOutputs", "retrieval.documents",
        "llm.output_messages", "output.value", "tool_response", "final_result", "output",
    ),
    "system": ("gen_ai.system_instructions",),
    "model": (
        "langfuse.observation.model.name", "gen_ai.response.model", "ai.response.model", "llm.response.model_name",
        "gen_ai.request.model", "ai.model.id", "llm.request.model_name", "llm.model_name", "embedding.model_name",
        "reranker.model_name",
    ),
    "tokens.input": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens",
        "llm.token_count.prompt", "llm.usage.prompt_tokens", "ai.usage.tokens",
    ),
    "tokens.output": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "ai.usage.outputTokens",
        "ai.usage.completionTokens", "llm.token_count.completion", "llm.usage.completion_tokens",
    ),
    "tokens.total": (
        "gen_ai.usage.total_tokens", "llm.usage.total_tokens", "ai.usage.totalTokens", "llm.token_count.total",
    ),
    "tokens.cache_read_input_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens", "ai.usage.cachedInputTokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "tokens.cache_creation_input_tokens": (
        "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_write_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "tokens.reasoning_output_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens", "llm.usage.reasoning_tokens",
        "ai.usage.reasoningTokens", "llm.token_count.completion_details.reasoning",
    ),
    "usage": ("langfuse.observation.usage_details",),
    "cost": ("gen_ai.usage.cost", "gen_ai.usage.total_cost", "operation.cost", "llm.cost.total"),
    "error": ("galtea.span.error", "galtea.trace.error"),
    "level": ("langfuse.observation.level",),
    "level_message": ("langfuse.observation.status_message",),
    "observation_metadata": ("langfuse.observation.metadata",),
    "conversation": (
        "galtea.session.custom_id", "gen_ai.conversation.id", "langfuse.session.id", "session.id",
        f"{_TRACELOOP}.session_id", f"{_TRACELOOP}.chat_id", f"{_TRACELOOP}.thread_id",
        f"{_TRACELOOP}.conversation_id", "ai.telemetry.metadata.sessionId", "gcp.vertex.agent.session_id",
        "galtea.session.id",
    ),
    "user": (
        "langfuse.user.id", "user.id", "enduser.id", f"{_TRACELOOP}.user_id", "ai.telemetry.metadata.userId",
        "gen_ai.user", "llm.user",
    ),
    "tags": ("langfuse.trace.tags", "tag.tags", "ai.telemetry.metadata.tags"),
    "environment": ("langfuse.environment", "deployment.environment.name", "deployment.environment"),
    "release": ("langfuse.release",),
    "version": ("langfuse.version",),
    "trace_name": ("langfuse.trace.name",),
    "trace_input": ("langfuse.trace.input",),
    "trace_output": ("langfuse.trace.output",),
    "trace_metadata": ("langfuse.trace.metadata",),
}  # fmt: skip
_IDS = ("conversation", "user", "release", "version")
_VALUES = ("trace_input", "trace_output")
OF_TRACE = (*_IDS, *_VALUES, "tags", "environment", "trace_name")
"""What spans say of the whole trace, mostly each of them again."""
_FIELD_OF = {key: (field, rank) for field, keys in _KEYS.items() for rank, key in enumerate(keys)}
_DECODED = frozenset(["input", "output", "system", "usage", "tags", "trace_input", "trace_output", "trace_metadata",
                      "observation_metadata"])  # fmt: skip
_OF_TRACE_METADATA = "langfuse.trace.metadata."
_OF_OWN_METADATA = "langfuse.observation.metadata."
_USAGE_DETAILS = "gen_ai.usage.details."
_TOKENS = tuple(field for field in _KEYS if field.startswith("tokens."))

_IDENTICAL = {
    name.lower(): name
    for name in ("AGENT", "TOOL", "CHAIN", "RETRIEVER", "EMBEDDING", "GUARDRAIL", "EVALUATOR", "GENERATION", "EVENT")
}
_OPERATIONS = dict.fromkeys(
    ("chat", "completion", "text_completion", "generate_content", "generate", "call_llm"), "GENERATION"
) | {"embeddings": "EMBEDDING", "retrieval": "RETRIEVER", "execute_tool": "TOOL", "invoke_workflow": "CHAIN",
     "invoke_agent": "AGENT", "create_agent": "AGENT"}  # fmt: skip
_VERCEL = {
    "ai.generatetext.dogenerate": "GENERATION", "ai.streamtext.dostream": "GENERATION",
    "ai.generateobject.dogenerate": "GENERATION", "ai.streamobject.dostream": "GENERATION",
    "ai.embed.doembed": "EMBEDDING", "ai.embedmany.doembed": "EMBEDDING", "ai.toolcall": "TOOL",
    "ai.generatetext": "CHAIN", "ai.streamtext": "CHAIN", "ai.generateobject": "CHAIN", "ai.streamobject": "CHAIN",
    "ai.embed": "CHAIN", "ai.embedmany": "CHAIN",
}  # fmt: skip
_TYPES: dict[str, Mapping[str, str]] = {
    "galtea.span.type": _IDENTICAL,
    "galtea.trace.type": _IDENTICAL,
    "langfuse.observation.type": _IDENTICAL,
    "openinference.span.kind": _IDENTICAL | {"llm": "GENERATION"},
    "gen_ai.operation.name": _OPERATIONS,
    "ai.operationId": _VERCEL,
    "traceloop.span.kind": {"workflow": "CHAIN", "task": "CHAIN", "agent": "AGENT", "tool": "TOOL"},
    "llm.request.type": {"chat": "GENERATION", "completion": "GENERATION", "embedding": "EMBEDDING"},
}
_MESSAGES = frozenset(["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt", "gen_ai.completion"])
_COST_PARTS = (("gen_ai.usage.input_cost", "gen_ai.usage.output_cost"), ("llm.cost.prompt", "llm.cost.completion"))


class Stated(NamedTuple):
    """A value with the attribute that holds it; of two for one field the one with the lower rank counts."""

    rank: int
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Meaning:
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
    trace_metadata: dict[str, Any] = {}
    for key, value in attributes.items():
        place = _FIELD_OF.get(key)
        if place is None:
            if not value and value.__class__ in fields.EMPTY:
                continue
            if key.startswith(_OF_TRACE_METADATA):
                trace_metadata[key.removeprefix(_OF_TRACE_METADATA)] = value
            else:
                own[key] = value
            continue
        field, rank = place
        read = unwrap(value) if field in _DECODED else value
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
    _open_metadata(best, own, trace_metadata)
    model = _text(best, "model", own)
    return Meaning(
        type=_type(attributes, own, has_model=model is not None),
        input=_input(best, own),
        output=_output(best, own),
        model=model,
        tokens=_tokens(best, own),
        cost=_cost(best, own),
        error=_error(best, own),
        of_trace=_of_trace(best, own),
        trace_metadata=trace_metadata,
        own=own,
    )


def _text(best: Mapping[str, Stated], field: str, own: dict[str, Any]) -> str | None:
    stated = best.get(field)
    if stated is None or isinstance(stated.value, str):
        return None if stated is None else stated.value
    own[stated.key] = stated.value
    return None


def _open_metadata(best: dict[str, Stated], own: dict[str, Any], trace_metadata: dict[str, Any]) -> None:
    """Langfuse writes metadata as one JSON text, or as an attribute for each key."""
    for key in [key for key in own if key.startswith(_OF_OWN_METADATA)]:
        name = key.removeprefix(_OF_OWN_METADATA)
        if name not in own:
            own[name] = own.pop(key)
    for field, target in (("observation_metadata", own), ("trace_metadata", trace_metadata)):
        stated = best.pop(field, None)
        if stated is None:
            continue
        if isinstance(stated.value, dict) and not stated.value.keys() & target.keys():
            target.update(stated.value)
        else:
            target[stated.key] = stated.value


def _of_trace(best: Mapping[str, Stated], own: dict[str, Any]) -> dict[str, Stated]:
    found: dict[str, Stated] = {}
    for name in OF_TRACE:
        stated = best.get(name)
        if stated is None:
            continue
        value = stated.value
        if name == "tags":
            value = tuple(value) if isinstance(value, list) else (value,)
        elif name in _IDS and value.__class__ is int and abs(value) < 1 << 64:
            value = str(value)
        if name in _VALUES or all(isinstance(text, str) for text in (value if name == "tags" else [value])):
            found[name] = stated._replace(value=value)
        else:
            own[stated.key] = stated.value
    return found


# --- what kind of step it is --------------------------------------------------------------------------------


def _type(attributes: Mapping[str, Any], own: dict[str, Any], *, has_model: bool) -> str:
    for key, types in _TYPES.items():
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
    return "GENERATION" if has_model or not _MESSAGES.isdisjoint(attributes) else "SPAN"


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


def _tokens(best: Mapping[str, Stated], own: dict[str, Any]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for field in _TOKENS:
        stated = best.get(field)
        if stated is not None:
            count = _count(stated.value)
            if count is None:
                own[stated.key] = stated.value
            else:
                tokens[field.removeprefix("tokens.")] = count
    for key in [key for key in own if key.startswith(_USAGE_DETAILS)]:
        count, name = _count(own[key]), key.removeprefix(_USAGE_DETAILS)
        if count is not None and name not in tokens:
            tokens[name] = count
            del own[key]
    usage = best.get("usage")
    if usage is not None:
        counts = {kind: _count(value) for kind, value in usage.value.items()} if isinstance(usage.value, dict) else {}
        known = {kind: count for kind, count in counts.items() if count is not None}
        if len(known) < len(counts) or not known:
            own[usage.key] = usage.value
        tokens |= known
    return tokens


def _count(value: Any) -> int | None:
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _cost(best: Mapping[str, Stated], own: dict[str, Any]) -> float | None:
    stated = best.get("cost")
    if stated is not None:
        cost = _number(stated.value)
        if cost is None:
            own[stated.key] = stated.value
        return cost
    details = unwrap(own.get("langfuse.observation.cost_details"))
    if isinstance(details, dict):
        total = _number(details.get("total"))
        return _sum(details.values()) if total is None else total
    return next((cost for keys in _COST_PARTS if (cost := _sum(own.get(key) for key in keys)) is not None), None)


def _sum(parts: Iterable[Any]) -> float | None:
    numbers = [number for part in parts if (number := _number(part)) is not None]
    return math.fsum(numbers) if numbers else None


def _error(best: Mapping[str, Stated], own: dict[str, Any]) -> str | None:
    level, message = best.get("level"), best.get("level_message")
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
