"""Canonical traces as LangSmith's run JSON: one run a line, as `list_runs` gives them."""

from __future__ import annotations

from typing import Any

from pipeline.mappers.langsmith import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

__all__ = ["MAPPER", "run_of", "write"]

_TYPES = {"GENERATION": "llm", "CHAIN": "chain", "TOOL": "tool", "RETRIEVER": "retriever"}
_ROLES = {"system": "SystemMessage", "user": "HumanMessage", "assistant": "AIMessage"}


def write(trace: CanonicalTrace) -> list[Any]:
    return [run_of(span, trace) for span in trace.spans]


def run_of(span: CanonicalSpan, trace: CanonicalTrace) -> dict[str, Any]:
    """LangChain repeats the metadata of the outer run in each run inside."""
    metadata = {"thread_id": trace.conversation, "user_id": trace.user}
    if span.model is not None:
        metadata |= {"ls_model_name": span.model, "ls_model_type": "chat"}
    return {
        "id": _uuid(span.id),
        "trace_id": _uuid(trace.spans[0].parent or trace.spans[0].id),
        "parent_run_id": None,
        "dotted_order": _dotted_order(span, trace),
        "session_id": "0b6dbb6e-6b5a-4e5a-9b0a-3a3ad0e5c0de",
        "name": span.name,
        "run_type": _TYPES[span.type],
        "start_time": span.start.removesuffix("Z"),
        "end_time": span.end and span.end.removesuffix("Z"),
        "status": "error" if span.error else "success" if span.end else "pending",
        "error": span.error,
        "inputs": _inputs(span),
        "outputs": _outputs(span),
        "extra": {"metadata": {key: value for key, value in metadata.items() if value is not None}},
        "events": [{"name": "start", "time": span.start}],
        "tags": [],
        "prompt_tokens": span.tokens.get("input", 0),
        "completion_tokens": span.tokens.get("output", 0),
        "total_tokens": sum(span.tokens.values()),
        "feedback_stats": {},
    }


def _uuid(span_id: str) -> str:
    return f"00000000-0000-7000-8000-0000{span_id[-8:]}"


def _dotted_order(span: CanonicalSpan, trace: CanonicalTrace) -> str:
    starts = {other.id: other.start for other in trace.spans}
    above = [span.parent] if span.parent else []
    return ".".join(f"{_compact(starts.get(id, span.start))}{_uuid(id)}" for id in [*above, span.id])


def _compact(moment: str) -> str:
    return moment.replace("-", "").replace(":", "").replace(".", "").replace("Z", "000Z")


def _inputs(span: CanonicalSpan) -> Any:
    if span.type != "GENERATION":
        return span.input if isinstance(span.input, dict) else {"input": span.input}
    return {"messages": [[_message(message["role"], message["content"]) for message in span.input]]}


def _outputs(span: CanonicalSpan) -> Any:
    if span.output is None:
        return None
    if span.type == "GENERATION":
        message = _message("assistant", span.output)
        return {"generations": [[{"text": span.output, "type": "ChatGeneration", "message": message}]]}
    if span.type == "RETRIEVER":
        return {"documents": [{"page_content": text, "metadata": {}, "type": "Document"} for text in span.output]}
    return span.output if isinstance(span.output, dict) else {"output": span.output}


def _message(role: str, content: str) -> dict[str, Any]:
    name = ["langchain", "schema", "messages", _ROLES[role]]
    return {"lc": 1, "type": "constructor", "id": name, "kwargs": {"content": content}}
