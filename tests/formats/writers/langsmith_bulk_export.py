"""Canonical traces as rows of LangSmith's bulk export: objects are JSON in texts, costs are decimals in texts."""

from __future__ import annotations

import json
from typing import Any

from pipeline.mappers.langsmith import MAPPER
from tests.formats.canonical import CanonicalTrace
from tests.formats.writers import langsmith

__all__ = ["MAPPER", "write"]


def write(trace: CanonicalTrace) -> list[Any]:
    return [_row(run) for run in langsmith.write(trace)]


def _row(run: dict[str, Any]) -> dict[str, Any]:
    texts = {key: json.dumps(run[key]) for key in ("inputs", "outputs", "extra", "events", "feedback_stats")}
    moments = {key: run[key] and run[key].replace("T", " ") + "000" for key in ("start_time", "end_time")}
    return {
        **run,
        **texts,
        **moments,
        "tenant_id": "7c0ffee0-0000-4000-8000-000000000001",
        "is_root": "." not in run["dotted_order"],
        "trace_tier": "shortlived",
        "parent_run_ids": [segment.partition("Z")[2] for segment in run["dotted_order"].split(".")[:-1]],
        "total_cost": "0.000120",
        "prompt_cost": "0.000100",
        "completion_cost": "0.000020",
        "first_token_time": None,
    }
