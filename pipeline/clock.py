"""Time, passed in: the real one here, a fake one in tests and simulations."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the import needs to know of time."""

    def now(self) -> float:
        """Seconds, monotonic: for waits and deadlines."""
        ...

    def wall(self) -> datetime:
        """The date, in UTC: for what people read, and for Retry-After dates."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Monotonic seconds; no jump of the wall clock moves them."""
        return time.monotonic()

    def wall(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


def iso(moment: datetime) -> str:
    """2026-08-22T08:00:00.000000Z"""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat('T', 'microseconds')[:-6]}Z"  # without "+00:00"; a quarter of strftime's time
