"""What a span may say, and the type that its label means: no label is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from pipeline.emulator.options import Options
from pipeline.emulator.turn_rules import check_known, check_time, is_number
from pipeline.emulator.wire import RefusalError

TYPES = (
    "SPAN",
    "GENERATION",
    "EVENT",
    "AGENT",
    "TOOL",
    "CHAIN",
    "RETRIEVER",
    "EVALUATOR",
    "EMBEDDING",
    "GUARDRAIL",
)
LABELS = {
    "LLM": "GENERATION",
    "CHAT_MODEL": "GENERATION",
    "CHAT": "GENERATION",
    "TEXT_COMPLETION": "GENERATION",
    "GENERATE_CONTENT": "GENERATION",
    "EMBEDDINGS": "EMBEDDING",
    "CREATE_AGENT": "AGENT",
    "INVOKE_AGENT": "AGENT",
}
AGENT_WORDS = ("HANDOFF", "TRANSFER_TO_AGENT")
ORIGINAL_TYPE = "galtea.span.original_type"
SHOWN_FIELDS = ("parentTraceId", "description", "inputData", "outputData", "error", "latencyMs", "metadata")
"""What is only shown, as it was sent."""
FIELDS = frozenset((*SHOWN_FIELDS, "inferenceResultId", "id", "name", "type", "startTime", "endTime"))
_STRINGS = ("inferenceResultId", "id", "name", "type", "parentTraceId", "description", "error")


class CheckedSpan(NamedTuple):
    id: str | None
    turn_id: str
    parent_id: str | None
    name: str
    type: str
    start_ms: int | None
    end_ms: int | None
    fields: dict[str, Any]


def check_span(span: Any, options: Options) -> CheckedSpan:
    """RefusalError: the reason to drop it."""
    if not isinstance(span, dict):
        raise RefusalError(400, "a span must be an object.")
    check_known(span, FIELDS, options)
    for name in _STRINGS:
        if not isinstance(span.get(name), str | None):
            raise RefusalError(400, f"{name} must be a string.")
    for name in ("inferenceResultId", "name"):
        if not (span.get(name) or "").strip():
            raise RefusalError(400, f"{name} is required and must not be empty.")
    latency = span.get("latencyMs")
    if latency is not None and (not is_number(latency) or latency < 0):
        raise RefusalError(400, "latencyMs must be a non-negative number.")
    if len((span.get("description") or "").encode()) > options.max_description_bytes:
        raise RefusalError(400, f"description must not be longer than {options.max_description_bytes} bytes.")
    for name in ("inputData", "outputData", "metadata"):
        if span.get(name) is not None and len(orjson.dumps(span[name])) > options.max_span_value_bytes:
            raise RefusalError(400, f"{name} must not be longer than {options.max_span_value_bytes} bytes.")
    kind, metadata = _typed(span.get("type"), span.get("metadata"))
    return CheckedSpan(
        span.get("id") or None,
        span["inferenceResultId"],
        span.get("parentTraceId"),
        span["name"],
        kind,
        check_time(span.get("startTime"), "startTime"),
        check_time(span.get("endTime"), "endTime"),
        {**{name: span.get(name) for name in SHOWN_FIELDS}, "metadata": metadata},
    )


def type_of(label: str | None) -> str:
    if not label:
        return "SPAN"
    normal = label.strip().upper().replace("-", "_").replace(" ", "_")
    if normal in TYPES:
        return normal
    if normal in LABELS:
        return LABELS[normal]
    if any(word in normal for word in AGENT_WORDS):
        return "AGENT"
    return "TOOL" if normal.endswith("TOOL") else "SPAN"


def _typed(label: str | None, metadata: Any) -> tuple[str, Any]:
    """A label that is another word than the type is kept in the metadata, where these are an object or nothing."""
    kind = type_of(label)
    if label and label.upper() != kind and isinstance(metadata, dict | None):
        metadata = {**(metadata or {}), ORIGINAL_TYPE: label}
    return kind, metadata
