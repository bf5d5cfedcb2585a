"""Which format is this file? A guess from its first records, and the sentence for people who must decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.mappers import MAPPERS
from pipeline.mappers.mapper import Mapper

SURE = 0.7
AHEAD = 0.2
WORTH_NAMING = 0.2


@dataclass(frozen=True, slots=True)
class Guess:
    """The mapper that fits best, how well (0.0 to 1.0), why, and the one that comes second."""

    mapper: Mapper | None
    confidence: float
    reason: str
    runner_up: Mapper | None = None
    runner_up_confidence: float = 0.0
    runner_up_reason: str = ""
    hint: str | None = None
    """What the sample looks like, where only a mapping of one's own can import it."""

    @property
    def is_sure(self) -> bool:
        """Good enough to go on without asking?"""
        return (
            self.mapper is not None
            and self.confidence >= SURE
            and round(self.confidence - self.runner_up_confidence, 6) >= AHEAD
        )


def detect_format(sample: Sequence[Any], mappers: Iterable[Mapper] | None = None) -> Guess:
    """The best guess for decoded values from the start of one file; any JSON values, never an exception."""
    ranked = sorted(
        ((mapper.detect(sample), mapper) for mapper in (MAPPERS.values() if mappers is None else mappers)),
        key=lambda pair: (-pair[0].confidence, pair[1].name),
    )
    fitting = [(detection, mapper) for detection, mapper in ranked if detection.confidence > 0]
    hint = _known_to_custom(sample)
    if not fitting:
        empty = all(value is None for value in sample)
        return Guess(None, 0.0, "there is no readable record" if empty else "no format fits", hint=hint)
    best, mapper = fitting[0]
    if len(fitting) == 1:
        return Guess(mapper, best.confidence, best.reason, hint=hint)
    second, runner_up = fitting[1]
    return Guess(mapper, best.confidence, best.reason, runner_up, second.confidence, second.reason, hint)


def doubt(guess: Guess) -> str:
    """One sentence for a guess that is not sure: what the file looks like, and the way out."""
    way_out = f"say source.format: {', '.join(MAPPERS)}, or map it yourself with source.format: custom"
    if guess.mapper is None:
        if guess.hint is not None:
            return f"format not recognised: looks like {guess.hint}; {way_out}"
        return f"format not recognised: {guess.reason}; {way_out}"
    if guess.hint is not None and guess.confidence < WORTH_NAMING:
        return f"format not recognised: looks like {guess.hint}; {way_out}"
    nearest = f"{guess.mapper.name} ({guess.confidence:.2g}: {guess.reason})"
    if guess.confidence >= SURE and guess.runner_up is not None:
        other = f"{guess.runner_up.name} ({guess.runner_up_confidence:.2g}: {guess.runner_up_reason})"
        return f"format not clear: both {nearest} and {other} fit; {way_out}"
    seems = f"looks like {guess.hint}; " if guess.hint is not None else ""
    return f"format not recognised: {seems}nearest is {nearest}; {way_out}"


# --- known, without a mapper --------------------------------------------------------------------------------


def _known_to_custom(sample: Sequence[Any]) -> str | None:
    """What at least half of the records are, where people can map it and no mapper can."""
    rows = [value for value in sample if isinstance(value, dict)]
    is_transcripts = rows and sum("messages_display" in row for row in rows) * 2 >= len(rows)
    return (
        "transcripts as plain text (messages_display), which format: custom can map as input"
        if is_transcripts
        else None
    )
