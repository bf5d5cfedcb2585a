"""What an export format must offer to be imported: the seam that makes each format one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.models import Trace


class Detection(NamedTuple):
    """How sure a mapper is that a sample is its format: 0.0 (not at all) to 1.0, and why, for people."""

    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class Mapper:
    """One export format.

    `detect` sees the decoded values of the first records of one file (objects mostly, but any JSON value);
    `map_trace` turns one record into a trace or raises RejectedError, naming the field and the way out.
    `family` is the default prefix of custom ids.
    """

    name: str
    family: str
    detect: Callable[[Sequence[Any]], Detection]
    map_trace: Callable[[Any], Trace]
