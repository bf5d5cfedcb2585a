"""When to try again: waits between attempts, and a budget that keeps retries from becoming the load."""

from __future__ import annotations

import math
import random
from datetime import datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 30.0
MAX_REFUSALS = 100
"""A "later" is everybody's matter, but one session that hears nothing else has used up its attempts."""
EPOCH_FROM = 1e9
"""A number of seconds beyond this is a moment and no wait: X-RateLimit-Reset is sent as either."""
EPOCH_MILLISECONDS_FROM = 1e11


def backoff_seconds(attempt: int, chance: random.Random) -> float:
    """Full jitter: anything between nothing and twice the wait before (attempt 1 is the first retry)."""
    return chance.uniform(0, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(attempt, 30)))


def parse_retry_after(text: str | None, *, now: datetime, longest_seconds: float) -> float | None:
    """Seconds to wait, bounded; None where the header is missing or makes no sense (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    try:
        seconds = float(text)
        if seconds >= EPOCH_FROM and math.isfinite(seconds):
            seconds = seconds / (1000 if seconds >= EPOCH_MILLISECONDS_FROM else 1) - now.timestamp()
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if date.tzinfo is None:
            return None
        seconds = (date - now).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), longest_seconds)


class RetryBudget:
    """Retries may be a fifth of what is accepted, and a few beside it; past that they wait, and none is lost."""

    SHARE = 0.2
    PER_SECOND = 2.0
    SAVED_UP = 100.0

    def __init__(self, now: float) -> None:
        self._tokens = self.SAVED_UP
        self._filled_at = now

    def accept(self) -> None:
        """Something was accepted: room for a fifth of a retry more."""
        self._tokens = min(self.SAVED_UP, self._tokens + self.SHARE)

    def wait_seconds(self, now: float) -> float:
        """Take one retry out of the budget; returns how long it must wait for it."""
        self._tokens = min(self.SAVED_UP, self._tokens + (now - self._filled_at) * self.PER_SECOND)
        self._filled_at = now
        # A debt without bound would outlive the trouble that made it: nobody waits for longer than for a backoff.
        self._tokens = max(self._tokens - 1, -self.PER_SECOND * LONGEST_WAIT_SECONDS)
        return max(0.0, -self._tokens / self.PER_SECOND)
