"""Virtual time: an event loop that never waits. When nobody can go on, time jumps to whoever is due next.

    def test_it() -> None:
        async def story(clock: FakeClock) -> float:
            await clock.sleep(3600)
            return clock.now()

        assert in_virtual_time(story) == 3600.0

`asyncio.sleep`, timeouts and `loop.time()` follow the same time, so nothing under test needs to be told. Where
everybody waits and nothing is due, a real loop would hang; this one raises `DeadlockError`, and also where a story
goes on and on.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
LONGEST_STORY_SECONDS = 20_000.0
START = datetime(2026, 8, 22, 8, 0, 0, tzinfo=UTC)


class DeadlockError(AssertionError):
    """Everybody waits for somebody else, and no time is set at which anything happens."""


class FakeClock:
    """The Clock of pipeline.clock on virtual time; `wall_shift_seconds` moves the date alone, as an NTP jump does."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self.ends_at = float("inf")
        self.wall_shift_seconds = 0.0

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._seconds

    def wall(self) -> datetime:
        """The date, as far from START as `now()` is from nothing."""
        return START + timedelta(seconds=self._seconds + self.wall_shift_seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait, in no time."""
        await asyncio.sleep(seconds)

    def pass_time(self, seconds: float) -> None:
        """Time goes by while the loop stands still: a stall, or work that hogs the process."""
        self._seconds += seconds


class _Skipping(selectors.SelectSelector):
    """Where a loop would wait for `timeout` seconds, the clock moves on by them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise DeadlockError("everybody waits, and nothing is due")
        if timeout > 0:
            self._clock.pass_time(timeout)
        if self._clock.now() > self._clock.ends_at:
            self._clock.ends_at = float("inf")  # so that the story can be cleaned up
            raise DeadlockError("it goes on and on")
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        super().__init__(_Skipping(clock))

    def time(self) -> float:
        return self._clock.now()


def in_virtual_time(
    story: Callable[[FakeClock], Coroutine[Any, Any, T]],
    clock: FakeClock | None = None,
    *,
    longest_seconds: float = LONGEST_STORY_SECONDS,
) -> T:
    """Run `story` to its end on a loop of its own; `clock` goes on from an earlier story where it is given."""
    clock = clock or FakeClock()
    clock.ends_at = clock.now() + longest_seconds
    loop = _VirtualLoop(clock)
    try:
        return loop.run_until_complete(story(clock))
    finally:
        try:
            _cancel_all(loop)
        finally:
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """What the story left running ends here, so that no task outlives its loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
