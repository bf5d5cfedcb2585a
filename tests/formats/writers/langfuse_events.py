"""Rows of Langfuse's UI export of events: camelCase, counts as texts, a column for each score."""

from __future__ import annotations

import json
from typing import Any

from pipeline.mappers.langfuse import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

__all__ = ["MAPPER", "write"]


def write(trace: CanonicalTrace) -> list[Any]:
    return [_row(trace, span) for span in reversed(trace.spans)]


def _row(trace: CanonicalTrace, span: CanonicalSpan) -> dict[str, Any]:
    return {
        "id": span.id, "traceId": trace.id, "traceName": "", "type": span.type, "name": span.name,
        "startTime": _time(span.start), "endTime": _time(span.end), "completionStartTime": None,
        "environment": "default", "version": "", "userId": trace.user or "", "sessionId": trace.conversation or "",
        "level": "ERROR" if span.error else "DEFAULT", "statusMessage": span.error or "", "promptName": "",
        "promptId": "", "promptVersion": None, "modelId": "", "providedModelName": span.model or "",
        "modelParameters": "{}", "usageDetails": {kind: str(count) for kind, count in span.tokens.items()},
        "costDetails": {}, "totalCost": None, "input": _text(span.input), "output": _text(span.output),
        "metadata": {"scope.name": "openinference"}, "latencyMs": "8000", "timeToFirstTokenMs": None, "tags": [],
        "release": "", "parentObservationId": span.parent or "", "comments": [], "quality": None,
    }  # fmt: skip


def _time(moment: str | None) -> str | None:
    return None if moment is None else moment.replace("T", " ").replace("Z", "000")


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
