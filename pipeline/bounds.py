"""A bound on the time of traces, as people write it: a date, a date with a time, or how long ago (7d)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.deadline import parse_duration


def parse_bound(text: str) -> timedelta | datetime:
    """7d, 36h; 2026-08-22, 2026-08-22T06:00, with a zone or in UTC as traces are. Raises ValueError."""
    try:
        return parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time; write a date (2026-08-22), a date with a time (2026-08-22T06:00, UTC unless it "
            "names a zone), or how long ago (7d, 36h)"
        ) from None
