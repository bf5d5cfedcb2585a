"""Canonical traces as W&B Weave's calls."""

from __future__ import annotations

from typing import Any

from pipeline.mappers.weave import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

__all__ = ["MAPPER", "write"]
KINDS = {"GENERATION": "llm", "TOOL": "tool", "CHAIN": "chain", "RETRIEVER": "search"}


def write(trace: CanonicalTrace) -> list[Any]:
    return [_call(span, trace) for span in reversed(trace.spans)]


def _call(span: CanonicalSpan, trace: CanonicalTrace) -> dict[str, Any]:
    is_call = span.type == "GENERATION"
    counts = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17, "requests": 1}
    # The calls around a call of a model sum up its usage.
    usage = {"gpt-4.1-mini": counts} if is_call or span.parent is None else {}
    answer = {"model": span.model, "choices": [{"index": 0, "message": {"role": "assistant", "content": span.output}}]}
    return {
        "id": span.id,
        "project_id": "parcels/bot",
        "op_name": f"weave:///parcels/bot/op/{span.name}:v3Rj0dXo1hG2",
        "display_name": None,
        "trace_id": trace.id,
        "parent_id": span.parent,
        "thread_id": trace.conversation,
        "turn_id": trace.spans[0].id if trace.conversation else None,
        "started_at": span.start,
        "ended_at": span.end,
        "exception": span.error,
        "attributes": {"weave": {"kind": KINDS[span.type], "client_version": "0.54.0"}, "user_id": trace.user},
        "inputs": {"model": span.model, "messages": span.input} if is_call else {"self": "weave:///x", "q": span.input},
        "output": answer if is_call else span.output,
        "summary": {"usage": usage, "weave": {"status": "success", "latency_ms": 1, "trace_name": span.name}},
        "wb_user_id": "account",
        "wb_run_id": None,
        "deleted_at": None,
    }
