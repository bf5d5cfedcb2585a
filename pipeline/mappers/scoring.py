"""How the scores of single records become one confidence for a sample: a few odd ones do not spoil it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline.mappers.mapper import Detection


class Score(NamedTuple):
    """How much one record looks like a format, 0.0 to 1.0, and what it looks like ("rows of …")."""

    value: float
    reason: str


def judge(sample: Sequence[Any], score: Callable[[dict[str, Any]], Score], nothing: str) -> Detection:
    """The average of the records that look like the format; lowered where they are less than four of five.

    Null counts as no record at all: it is what a line that could not be read leaves behind.
    """
    seen = [value for value in sample if value is not None]
    if not seen:
        return Detection(0.0, "there is no readable record")
    scores = [score(value) for value in seen if isinstance(value, dict)]
    best = max((item.value for item in scores), default=0.0)
    good = [item for item in scores if item.value > 0 and item.value >= best / 2]
    if not good:
        return Detection(0.0, nothing)
    average = sum(item.value for item in good) / len(good)
    share = min(1.0, len(good) / len(seen) * 1.25)
    reason = Counter(item.reason for item in good).most_common(1)[0][0]
    if share < 1.0:
        reason = f"{reason}; but only {len(good)} of {len(seen)} records"
    return Detection(round(average * share, 3), reason)
