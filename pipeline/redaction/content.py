"""Structure, times and counts only: what was said, and by whom, stays where it is."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pipeline.mappers import fields
from pipeline.models import Span, Trace, Turn

SAYS_NOTHING = "not imported (mapping.content: none)"


def content_free(trace: Trace) -> Trace:
    """Ids, names and types of steps, models, times, tokens, cost and status stay; of all else its size at most."""
    return replace(
        trace,
        user_id=None,
        tags=(),
        error=_error(trace.error),
        system=None,
        turns=tuple(_turn(turn) for turn in trace.turns),
        metadata={},
    )


def _turn(turn: Turn) -> Turn:
    return replace(
        turn,
        input=_size(turn.input),
        output=_size(turn.output),
        retrieval_context=None,
        error=_error(turn.error),
        spans=tuple(_span(span) for span in turn.spans),
    )


def _span(span: Span) -> Span:
    return replace(span, input=_size(span.input), output=_size(span.output), error=_error(span.error), metadata={})


def _size(value: Any) -> Any:
    if value is None:
        return None
    text = value if isinstance(value, str) else fields.json_text(value)
    return {"characters": len(text)}


def _error(error: str | None) -> str | None:
    return SAYS_NOTHING if error is not None else None
