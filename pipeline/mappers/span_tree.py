"""The spans of one trace become its one turn: what was asked and answered, how it ended, what it cost.

For every format whose records are spans. The rules (formats.md section 0), the first that finds something counts:

| of the turn, or the trace | from |
|---|---|
| input | what the export states; the first root that has an input; the last user message of the first model call |
| output | what the export states; the last root that has an output; the last answer of the last model call |
| … of model calls in no shape that messages knows | as they stand |
| … of a root that is a model call | its last user message, its last answer: the messages before repeat other turns |
| … of an agent that has a list of messages | the same |
| system | what is stated; the first model call with a system message |
| started_at, ended_at | the first start, the last end (none while a root has not ended) |
| status | PENDING where a root has neither end nor error, FAILED where the last root is in error, else COMPLETED |
| tokens, cost | sums over the spans, without those that an outer span has summed up already |
| retrieval_context | the texts of the documents that RETRIEVER spans put out |
| partial | parents that are named and not there, or no root at all |

A root has no parent. Where no span is one, those whose parents are missing stand in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from pipeline.mappers import fields, messages
from pipeline.models import Span, Status, Trace, Turn

NO_MESSAGE = "in error, without a message"
"""The error of a span that says that it failed, and not why."""
_SHOWN_PARENTS = 3
_TEXT_KEYS = ("page_content", "document.content", "content", "text", "pageContent", "chunk")


def trace_of_spans(
    spans: Iterable[Span],
    stated: Trace,
    *,
    input: Any = None,
    output: Any = None,
    status: Status | None = None,
    retrieval_context: str | None = None,
) -> Trace:
    """`stated` is what the export says of the trace itself, without turns; what it leaves empty, the spans tell.

    `status`, if given, is stated too. Of several spans with one id the last counts.
    """
    ordered = in_order(spans)
    ids = {span.id for span in ordered}
    outer = [span for span in ordered if span.parent_id not in ids and span.type != "EVENT"]
    roots = [span for span in outer if span.parent_id is None] or outer
    status = status or _status(roots)
    error = stated.error or (_error(roots, ordered) if status is Status.FAILED else None)
    ends = [span.ended_at for span in ordered if span.ended_at is not None]
    started_at = stated.started_at or next((span.started_at for span in ordered if span.started_at is not None), None)
    ended_at = stated.ended_at or (max(ends, default=None) if status is not Status.PENDING else None)
    tokens = stated.tokens or fields.sum_tokens(not_summed_above(ordered, lambda span: bool(span.tokens)))
    cost = stated.cost
    if cost is None:
        costs = [span.cost for span in not_summed_above(ordered, lambda span: span.cost is not None)]
        cost = math.fsum(each for each in costs if each is not None) if costs else None
    calls = [span for span in ordered if span.type == "GENERATION"]
    answering = calls[::-1] if status is not Status.FAILED else []
    turn = Turn(
        input=_first(
            [input],
            map(_asked, roots),
            (messages.last_user(call.input) for call in calls),
            (call.input for call in calls if not messages.messages_of(call.input)),
        ),
        output=_first(
            [output],
            map(_answered, reversed(roots)),
            (messages.last_assistant(call.output) for call in answering),
            (call.output for call in answering if not messages.messages_of(call.output)),
        ),
        started_at=started_at,
        ended_at=ended_at,
        retrieval_context=retrieval_context or retrieved(ordered),
        error=error,
        latency_ms=milliseconds(started_at, ended_at),
        tokens=tokens,
        cost=cost,
        spans=ordered,
    )
    system = stated.system or next((said for call in calls if (said := messages.system_of(call.input))), None)
    models = stated.models or tuple(dict.fromkeys(span.model for span in ordered if span.model is not None))
    return replace(
        stated,
        name=stated.name or next((span.name for span in roots if span.name), None),
        started_at=started_at,
        ended_at=ended_at,
        status=status,
        error=error,
        system=system,
        turns=(turn,),
        models=models,
        tokens=tokens,
        cost=cost,
        partial=stated.partial or missing_parents(ordered),
    )


def in_order(spans: Iterable[Span]) -> tuple[Span, ...]:
    """By start, then id: an export promises no order, and another order must not look like another trace."""
    by_id = {span.id: span for span in spans}
    return tuple(sorted(by_id.values(), key=lambda span: (span.started_at or "", span.id)))


def milliseconds(started_at: str | None, ended_at: str | None) -> float | None:
    """How long it took, where both ends are known and in order."""
    if started_at is None or ended_at is None or ended_at < started_at:
        return None
    duration = datetime.fromisoformat(ended_at) - datetime.fromisoformat(started_at)
    return round(duration.total_seconds() * 1000, 3)


def retrieved(spans: Iterable[Span]) -> str | None:
    """What the retrievers found: the texts of all their documents, a blank line between."""
    texts: list[str] = []
    for span in spans:
        if span.type == "RETRIEVER":
            found = span.output
            if isinstance(found, dict):
                found = next((found[key] for key in ("documents", "results", "output") if key in found), None)
            items = [found] if isinstance(found, str) else found if isinstance(found, list) else ()
            texts += [text for item in items if (text := _document_text(item))]
    return "\n\n".join(texts) or None


def not_summed_above(spans: Sequence[Span], has_count: Callable[[Span], bool]) -> list[Span]:
    """The spans that have a count while none above them has: an outer one repeats the sum of those inside."""
    if not any(map(has_count, spans)):
        return []
    by_id = {span.id: span for span in spans}
    told: dict[str, bool] = {}
    """Is there a count at this span, or above it?"""
    for span in spans:
        path: list[Span] = []
        here: Span | None = span
        while here is not None and here.id not in told:
            told[here.id] = False  # ends the way up where parents run in a circle
            path.append(here)
            here = by_id.get(here.parent_id or "")
        is_told = here is not None and told[here.id]
        for step in reversed(path):
            is_told = is_told or has_count(step)
            told[step.id] = is_told
    return [span for span in spans if has_count(span) and not told.get(span.parent_id or "", False)]


def exception_in(events: Any) -> str | None:
    """The last exception among the events of an OpenTelemetry span, as "type: message"."""
    for event in reversed(events if isinstance(events, list) else []):
        about = event.get("attributes") if isinstance(event, dict) else None
        if isinstance(about, dict):
            told = [about.get(f"exception.{part}") for part in ("type", "message")]
            if said := ": ".join(text for text in told if isinstance(text, str) and text):
                return said
    return None


def missing_parents(spans: Sequence[Span]) -> str | None:
    """Why these are not all spans of their trace, where parents tell it."""
    ids = {span.id for span in spans}
    missing = sorted({span.parent_id for span in spans if span.parent_id is not None and span.parent_id not in ids})
    if missing:
        shown = ", ".join(missing[:_SHOWN_PARENTS]) + (", …" if len(missing) > _SHOWN_PARENTS else "")
        return f"{len(missing)} parent span(s) not in the export: {shown}"
    if spans and all(span.parent_id is not None for span in spans):
        return "no root span in the export"  # parents in a circle
    return None


# --- parts ------------------------------------------------------------------------------------------------


def _first(*sources: Iterable[Any]) -> Any:
    return next((value for values in sources for value in values if not fields.is_empty(value)), None)


def _asked(root: Span) -> Any:
    asked = messages.last_user(root.input) if _has_messages(root, root.input) else None
    return root.input if asked is None else asked


def _answered(root: Span) -> Any:
    answered = messages.last_assistant(root.output) if _has_messages(root, root.output) else None
    return root.output if answered is None else answered


def _has_messages(root: Span, value: Any) -> bool:
    return root.type == "GENERATION" or (root.type == "AGENT" and isinstance(value, list))


def _status(roots: Sequence[Span]) -> Status:
    if any(span.ended_at is None and span.error is None for span in roots):
        return Status.PENDING
    return Status.FAILED if roots and roots[-1].error is not None else Status.COMPLETED


def _error(roots: Sequence[Span], spans: Sequence[Span]) -> str:
    """Of the root that started last; where it has no message, of the last span inside that has one."""
    last = next((span.error for span in reversed(roots) if span.error is not None), NO_MESSAGE)
    if last != NO_MESSAGE:
        return last
    told = [span.error for span in spans if span.error not in (None, NO_MESSAGE)]
    return told[-1] or NO_MESSAGE if told else NO_MESSAGE


def _document_text(document: Any) -> str | None:
    if isinstance(document, str):
        return document
    if not isinstance(document, dict):
        return None
    inner = document.get("document", document)
    for place in (inner if isinstance(inner, dict) else document, document.get("kwargs"), document.get("node")):
        if isinstance(place, dict):
            for key in _TEXT_KEYS:
                if isinstance(place.get(key), str):
                    text: str = place[key]
                    return text
    return None
