"""Finding a rate limit that nobody told us: start quickly, fall back once per congestion, feel the way up again.

The way up is CUBIC's (RFC 9438), in requests per second instead of bytes in flight: soon back to just below where
it was refused, long around there, then faster and faster, in case the limit has risen. It knows no clock and no
network: seconds come in, a rate comes out.
"""

from __future__ import annotations

START_PER_SECOND = 50.0
DOUBLED_EVERY_SECONDS = 0.5
"""Until the first refusal."""
FALL = 0.7
"""A refusal leaves this share of what was being accepted."""
PLATEAU_SECONDS = 10.0
"""After so long it is back where it was refused."""
SLOWEST_PER_SECOND = 0.05
BLIND_PER_SECOND = 1.0
"""Refusals with nothing accepted in between say little about the limit: down to this, and the pauses do the rest."""


class Limit:
    """The rate at which to start requests; `ceiling` is never exceeded."""

    def __init__(self, ceiling: float | None) -> None:
        self._ceiling = ceiling
        self._is_searching = ceiling is None
        self._target = ceiling if ceiling is not None else START_PER_SECOND
        """Where it was refused last, or the ceiling."""
        self._slowest = SLOWEST_PER_SECOND if ceiling is None else min(SLOWEST_PER_SECOND, ceiling)
        self._used_seconds = 0.0 if ceiling is None else PLATEAU_SECONDS
        """Since the last fall, counting only the time in which the rate held requests back."""
        self._accepted = 0
        self._rate = self._target

    @property
    def per_second(self) -> float:
        """The present rate."""
        return self._rate

    def accept(self, seconds: float, *, was_held_back: bool) -> None:
        """A request was accepted, so long after the last one. Who did not use the rate learns nothing about it."""
        self._accepted += 1
        if not was_held_back:
            return
        self._used_seconds += min(seconds, 1.0)
        if self._is_searching:
            rate = START_PER_SECOND * 2 ** min(self._used_seconds / DOUBLED_EVERY_SECONDS, 30)
        else:
            away = (self._used_seconds - PLATEAU_SECONDS) / PLATEAU_SECONDS
            rate = self._target * (1 + (1 - FALL) * away**3)
        self._rate = rate if self._ceiling is None else min(rate, self._ceiling)

    def fall(self, seconds: float) -> None:
        """The API refused for the first time in this congestion, so long after the last fall (pauses left out)."""
        seen = self._accepted / max(seconds, 1.0)
        blind = max(self._rate / 2, min(self._rate, BLIND_PER_SECOND))
        self._target = max(min(self._rate, seen) if seen else blind, self._slowest)
        self._is_searching = False
        self._used_seconds = 0.0
        self._accepted = 0
        self._rate = max(self._target * FALL, self._slowest) if seen else self._target
