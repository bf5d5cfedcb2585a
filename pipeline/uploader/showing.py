"""How long what was sent may take to show, and how often one looks meanwhile."""

from __future__ import annotations

from datetime import datetime

from pipeline.clock import Clock
from pipeline.config import UploadConfig
from pipeline.uploader.journey import Journey

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 20.0


def pause_seconds(times: int, left: float) -> float:
    """Between two looks, each pause twice the one before: a dozen looks in all, the last one when the time is over."""
    return max(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * (1 << min(times, 10)), left), 0.05)


def shows_until(journey: Journey, config: UploadConfig, clock: Clock) -> float:
    """Until then (monotonic), what an earlier process may have sent of this session can come to light."""
    before = journey.send.before
    if before.sent_at is None:
        return clock.now()
    age = (clock.wall() - datetime.fromisoformat(before.sent_at)).total_seconds()
    longest = config.lookup_seconds
    return clock.now() + max(0.0, min(longest, longest + config.timeout_seconds - age))
