"""The turns of a conversation, put together from its traces: what a later one repeats is not in it twice.

Some tools record the whole dialogue with every trace, or a window of it. Where the first turns of a trace that holds
several repeat the last ones that are there so far, asked and answered in the same words, only its new turns are added.
Nothing is lost by that: of a repeated turn and the one that is there, that one stays which tells all of the other; both
stay where each says something of its own (a span, a time, a count, more than words in its input).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pipeline import json_text
from pipeline.mappers import messages
from pipeline.mappers.content import says_only
from pipeline.models import Span, Turn
from pipeline.on_disk import Filling

_OF_STEP = ("name", "type", "started_at", "ended_at", "input", "output", "error", "model", "tokens", "cost", "metadata")
"""All but its ids: many mappers number steps by their place in the trace."""
SAID_BYTES = 16


class Dialogue:
    """Turns in the order in which they were said."""

    def __init__(self, turns: Filling[Turn] | None = None) -> None:
        """`turns`: an empty sequence to put them into."""
        self.turns: Filling[Turn] = [] if turns is None else turns
        self._said = bytearray()
        """SAID_BYTES of each."""

    def add(self, turns: Sequence[Turn]) -> int:
        """Add what is new in the turns of the next trace; tells how many repeat what was there."""
        said = [_said(turn) for turn in turns]
        repeated = self._repeated(b"".join(said)) if len(turns) > 1 else 0
        first = len(self.turns) - repeated
        new = [*range(repeated, len(turns))]
        for place, turn in enumerate(turns[:repeated]):
            there = self.turns[first + place]
            if not _tells(there, turn):
                if _tells(turn, there):
                    self.turns[first + place] = turn
                else:
                    new.append(place)
        for place in sorted(new):
            self.turns.append(turns[place])
            self._said += said[place]
        return len(turns) - len(new)

    def _repeated(self, said: bytes) -> int:
        longest = min(len(said), len(self._said))
        sizes = range(longest, 0, -SAID_BYTES)
        return next((size for size in sizes if self._said.endswith(said[:size])), 0) // SAID_BYTES


def _said(turn: Turn) -> bytes:
    """In which words it was asked and answered, hashed; values without words as they are."""
    words = json_text.encode([_words(turn.input, messages.last_user), _words(turn.output, messages.last_assistant)])
    return hashlib.blake2b(words, digest_size=SAID_BYTES).digest()


def _words(value: Any, words_of: Any) -> Any:
    text = words_of(value)
    return text if isinstance(text, str) else value


def _tells(one: Turn, other: Turn) -> bool:
    """Does a turn in which the same was said tell all that the other does?"""
    steps = [_step(span) for span in one.spans]
    return (
        _contains(one.input, other.input, messages.last_user)
        and _contains(one.output, other.output, messages.last_assistant)
        and all(
            getattr(other, name) in (None, getattr(one, name))
            for name in ("started_at", "ended_at", "retrieval_context", "error", "latency_ms", "cost")
        )
        and other.tokens.items() <= one.tokens.items()
        and all(_step(span) in steps for span in other.spans)
    )


def _contains(value: Any, other: Any, words_of: Any) -> bool:
    """Of two values with the same words: does this one say all of the other?"""
    return value == other or says_only(other, words_of(other))


def _step(span: Span) -> list[Any]:
    return [getattr(span, name) for name in _OF_STEP]
