"""What a LangSmith run used: its tokens, and what they cost.

| field of a run | Span field |
|---|---|
| prompt_tokens, completion_tokens, total_tokens | tokens input, output, total |
| prompt_token_details, completion_token_details (API v2: in `raw`) | tokens input_cache_read, output_reasoning, … |
| total_cost; else prompt_cost and completion_cost | cost, USD: numbers, or digits in a text |

Where a run of a model (llm, embedding) has none of them, as in what the SDKs send, its application may tell:
usage_metadata in outputs, in metadata or in the message of the first generation; llm_output.token_usage; usage. There
only whole numbers count, because it is the application's own, and all of it is kept where it stands.

Counts and costs of 0 say nothing where all are 0: LangSmith gives them to tools and chains, too. The outer run has the
sums of those inside.

Sources: langsmith 0.15.1 from PyPI: schemas.py (Run, UsageMetadata, InputTokenDetails), types/run.py (API v2);
langchain-core 1.8.3, tracers/langchain.py (usage_metadata of generations); formats.md section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap

_COUNTS = {"prompt_tokens": "input", "completion_tokens": "output", "total_tokens": "total"}
_DETAILS = {"prompt_token_details": "input", "completion_token_details": "output"}
_COSTS = ("prompt_cost", "completion_cost")
COUNTED = frozenset([*_COUNTS, *_DETAILS, "total_cost"])
"""The fields of a run that become tokens and cost, and are kept nowhere else."""
_TOLD = {**_COUNTS, "input_tokens": "input", "output_tokens": "output"}
_TOLD_DETAILS = {"input_token_details": "input", "output_token_details": "output"}


class Usage(NamedTuple):
    """What one run used."""

    tokens: Mapping[str, int]
    cost: float | None
    """USD."""


def usage_of(run: Mapping[str, Any], place: str) -> Usage:
    """What LangSmith counted. Raises RejectedError, naming the field in the run at `place`."""
    counts = fields.tokens_of({name: run.get(name) for name in _COUNTS}, place)
    tokens = {_COUNTS[name]: count for name, count in counts.items()}
    for name, prefix in _DETAILS.items():
        if details := unwrap(run.get(name)):
            raw = details["raw"] if isinstance(details, dict) and details.keys() == {"raw"} else details
            counts = fields.tokens_of(raw, f"{place}.{name}")
            tokens |= {f"{prefix}_{kind}": count for kind, count in counts.items()}
    cost = fields.number_of(run.get("total_cost"), f"{place}.total_cost")
    if cost is None:
        parts = [fields.number_of(run[name], f"{place}.{name}") for name in _COSTS if name in run]
        cost = sum(part for part in parts if part is not None) or None
    return _without_zeros(tokens, cost)


def usage_told(outputs: Any, own: Mapping[str, Any]) -> Usage:
    """What the application says that a call of a model used, wherever it says so."""
    llm_output = inner(outputs, "llm_output")
    places = ((outputs, "usage_metadata"), (own, "usage_metadata"), (llm_output, "token_usage"), (llm_output, "usage"))
    told = next((found for place, key in (*places, (outputs, "usage")) if (found := inner(place, key))), None)
    if told is None:
        generations = outputs.get("generations") if isinstance(outputs, dict) else None
        while isinstance(generations, list) and generations:
            generations = generations[0]  # [[generation]], or [generation] in runs of older SDKs
        told = inner(inner(inner(generations, "message"), "kwargs"), "usage_metadata")
    tokens = {kind: told[name] for name, kind in _TOLD.items() if told.get(name).__class__ is int}
    for name, prefix in _TOLD_DETAILS.items():
        details = inner(told, name)
        tokens |= {f"{prefix}_{kind}": count for kind, count in details.items() if count.__class__ is int}
    cost: Any = told.get("total_cost")
    is_cost = cost.__class__ in (int, float) and math.isfinite(cost)
    return _without_zeros(tokens, float(cost) if is_cost else None)


def inner(value: Any, key: str) -> dict[str, Any]:
    """The object under this key, or an empty one."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _without_zeros(tokens: dict[str, int], cost: float | None) -> Usage:
    counted = tokens if any(tokens.values()) else {}
    return Usage(counted, cost if cost or counted else None)
