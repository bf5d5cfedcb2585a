"""Canonical traces as the batches that LangSmith's SDKs send: creates in one, updates in another."""

from __future__ import annotations

from typing import Any

from pipeline.mappers.langsmith import MAPPER
from tests.formats.canonical import CanonicalTrace
from tests.formats.writers import langsmith

__all__ = ["MAPPER", "write"]

_OF_CREATE = ("id", "trace_id", "dotted_order", "name", "run_type", "start_time", "inputs", "extra", "tags")
_OF_UPDATE = ("id", "trace_id", "dotted_order", "end_time", "error", "outputs", "tags")


def write(trace: CanonicalTrace) -> list[Any]:
    return [
        batch
        for run, span in zip(langsmith.write(trace), trace.spans, strict=True)
        for batch in (
            {"post": [_create(run)], "patch": []},
            {"post": [], "patch": [_update(run, span.tokens)] if span.end is not None else []},
        )
    ]


def _create(run: dict[str, Any]) -> dict[str, Any]:
    return {key: run[key] for key in _OF_CREATE} | {"outputs": {}, "session_name": "bot"}


def _update(run: dict[str, Any], tokens: dict[str, int]) -> dict[str, Any]:
    update = {key: run[key] for key in _OF_UPDATE}
    if tokens:
        counts = {"input_tokens": tokens["input"], "output_tokens": tokens["output"]}
        update["extra"] = {"metadata": {"usage_metadata": counts}}
    return update
