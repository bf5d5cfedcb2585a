"""One set of traces that every span format can say; small writers of our own say it in each (writers/)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.models import Trace

DAY = "2026-08-22"
NEXT_DAY = "2026-08-23"


@dataclass(frozen=True, kw_only=True)
class CanonicalSpan:
    """`id` has 16 hex digits; times are ISO UTC with milliseconds."""

    id: str
    name: str
    type: str
    parent: str | None
    start: str
    end: str | None
    input: Any = None
    """Of a GENERATION: a list of {"role", "content"}; of others a text or an object."""
    output: Any = None
    """Of a GENERATION: a text; of a RETRIEVER: a list of texts."""
    model: str | None = None
    tokens: dict[str, int] = field(default_factory=dict)
    """input and output."""
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class CanonicalTrace:
    """`id` has 32 hex digits; the first span is the root, where there is one."""

    id: str
    spans: tuple[CanonicalSpan, ...]
    conversation: str | None = None
    user: str | None = None
    day: str = DAY


def _id(number: int) -> str:
    return f"{number:016x}"


def _trace_id(number: int) -> str:
    return f"{number:032x}"


def _at(second: int, day: str = DAY) -> str:
    return f"{day}T08:{second // 60:02}:{second % 60:02}.250Z"


def _question(number: int, question: str, answer: str, *, conversation: str | None, day: str = DAY) -> CanonicalTrace:
    """Root with one call of a model inside."""
    first = 0x100 * number
    root = CanonicalSpan(
        id=_id(first), name="answer", type="CHAIN", parent=None, start=_at(0, day), end=_at(9, day), input=question,
        output=answer,
    )  # fmt: skip
    call = CanonicalSpan(
        id=_id(first + 1), name="chat", type="GENERATION", parent=root.id, start=_at(1, day), end=_at(8, day),
        input=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}], output=answer,
        model="gpt-4.1-mini", tokens={"input": 12, "output": 5},
    )  # fmt: skip
    return CanonicalTrace(id=_trace_id(number), spans=(root, call), conversation=conversation, user="ann", day=day)


def _with_root(trace: CanonicalTrace, **changes: Any) -> CanonicalTrace:
    return replace(trace, spans=(replace(trace.spans[0], **changes), *trace.spans[1:]))


def _tool_and_retrieval() -> CanonicalTrace:
    trace = _question(5, "Where is my parcel?", "In Girona.", conversation=None)
    root, call = trace.spans
    tool = CanonicalSpan(
        id=_id(0x502), name="track", type="TOOL", parent=root.id, start=_at(2), end=_at(3), input={"number": "P-1"},
        output={"place": "Girona"},
    )  # fmt: skip
    search = CanonicalSpan(
        id=_id(0x503), name="search", type="RETRIEVER", parent=root.id, start=_at(4), end=_at(5), input="parcel",
        output=["Parcels arrive by noon.", "Girona has one depot."],
    )  # fmt: skip
    return replace(trace, spans=(root, call, tool, search))


def _orphan() -> CanonicalTrace:
    trace = _question(6, "Lost parent?", "Yes.", conversation=None)
    return replace(trace, spans=(replace(trace.spans[1], parent=_id(0x6FF)),))


_IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * 2_000
CANONICAL = {
    "first turn": _question(1, "What is the capital of Catalonia?", "Barcelona.", conversation="conv-1"),
    "next day's turn": _question(2, "And of Andalusia?", "Seville.", conversation="conv-1", day=NEXT_DAY),
    "error": _with_root(_question(3, "Fail, please.", "", conversation=None), error="TimeoutError: no", output=None),
    "unfinished": _with_root(_question(4, "Still there?", "", conversation=None), end=None, output=None),
    "tool call and retrieval": _tool_and_retrieval(),
    "orphan": _orphan(),
    "unicode": _question(7, "¿Qué tal? ありがとう 📦 \u202e", "Bé, gràcies! \u0000", conversation="conv-ü"),
    "image": _question(8, f"What is in {_IMAGE}?", "A cat.", conversation=None),
    "JSON in a text": _question(9, '{"ask": "why", "items": [1, 2]}', '["because"]', conversation=None),
}  # fmt: skip


def essence(trace: Trace) -> dict[str, Any]:
    """What every format must have understood alike; ids of spans and all that only some formats tell are left out."""
    turn = trace.turns[0]
    names = {span.id: span.name for span in turn.spans}
    return {
        "turns": len(trace.turns),
        "input": turn.input,
        "output": turn.output,
        "retrieval_context": turn.retrieval_context,
        "conversation_id": trace.conversation_id,
        "user_id": trace.user_id,
        "status": trace.status,
        "error": trace.error,
        "system": trace.system,
        "started_at": trace.started_at,
        "ended_at": trace.ended_at,
        "models": trace.models,
        "tokens": {kind: trace.tokens.get(kind, 0) for kind in ("input", "output")},
        "is_partial": trace.partial is not None,
        "spans": [
            {
                "name": span.name,
                "type": span.type,
                "parent": names.get(span.parent_id or ""),
                "started_at": span.started_at,
                "ended_at": span.ended_at,
                "model": span.model,
                "error": span.error,
            }
            for span in turn.spans
        ],
    }


def expected(trace: CanonicalTrace) -> dict[str, Any]:
    """The essence that this trace must have, whatever format it comes in."""
    ids = {span.id for span in trace.spans}
    root = trace.spans[0]
    call = next(span for span in trace.spans if span.type == "GENERATION")
    is_orphan = root.parent is not None
    ends = [_iso(span.end) for span in trace.spans if span.end is not None]
    names = {span.id: span.name for span in trace.spans}
    documents = [text for span in trace.spans if span.type == "RETRIEVER" for text in span.output]
    is_pending = root.end is None
    return {
        "turns": 1,
        "input": _decoded(call.input[-1]["content"] if is_orphan and isinstance(root.input, list) else root.input),
        "output": _decoded(call.output if is_orphan else root.output) or None,
        "retrieval_context": "\n\n".join(documents) or None,
        "conversation_id": trace.conversation,
        "user_id": trace.user,
        "status": "PENDING" if is_pending else "FAILED" if root.error else "COMPLETED",
        "error": root.error,
        "system": "Be brief.",
        "started_at": _iso(root.start),
        "ended_at": None if is_pending else max(ends),
        "models": ("gpt-4.1-mini",),
        "tokens": {"input": 12, "output": 5},
        "is_partial": is_orphan,
        "spans": [
            {
                "name": span.name,
                "type": span.type,
                "parent": names.get(span.parent or "") if span.parent in ids else None,
                "started_at": _iso(span.start),
                "ended_at": _iso(span.end) if span.end is not None else None,
                "model": span.model,
                "error": span.error,
            }
            for span in sorted(trace.spans, key=lambda span: (span.start, span.id))
        ],
    }


def _iso(moment: str) -> str:
    return f"{moment.removesuffix('Z')}000Z"


def _decoded(value: Any) -> Any:
    if value == '{"ask": "why", "items": [1, 2]}':
        return {"ask": "why", "items": [1, 2]}
    return ["because"] if value == '["because"]' else value
