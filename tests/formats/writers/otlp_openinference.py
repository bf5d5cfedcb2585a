"""OTLP/JSON requests, one span each, with OpenInference attributes, as its instrumentations send them."""

from __future__ import annotations

from typing import Any

from pipeline.mappers.otlp import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace
from tests.formats.writers import openinference, otlp

__all__ = ["MAPPER", "write"]


def write(trace: CanonicalTrace) -> list[Any]:
    return [otlp.request(span, trace, _content(span, trace)) for span in reversed(trace.spans)]


def _content(span: CanonicalSpan, trace: CanonicalTrace) -> dict[str, Any]:
    kind = openinference.KINDS.get(span.type, span.type)
    return {"openinference.span.kind": kind} | openinference.attributes(trace, span)
