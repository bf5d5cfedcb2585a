"""Whoever waits for a check hears of whatever went wrong with it."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from pipeline.errors import FatalError
from pipeline.uploader.checks import Checks
from pipeline.uploader.content_api import ContentApi
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from tests.fake_clock import FakeClock, in_virtual_time


class Failing:
    """In the place of the API."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def turns(self, session_ids: Any, *, offset: int) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [FatalError("the key is gone", kind="unauthorized"), ZeroDivisionError("a defect")])
def test_an_error_ends_the_wait_of_all_who_asked(error: Exception) -> None:
    async def story(clock: FakeClock) -> None:
        chance = random.Random(0)
        pace = Pace(clock, chance, max_per_second=None, max_at_once=4, max_pause_seconds=300)
        api = cast(ContentApi, Failing(error))
        checks = Checks(api, pace, clock, chance, Counts(), max_attempts=2, would_fill=lambda waiting: waiting < 3)
        working = asyncio.create_task(checks.run())
        asked = [checks.are_stored(f"session_{number}", ["turn"]) for number in range(3)]
        assert await asyncio.gather(*asked, return_exceptions=True) == [error] * 3
        working.cancel()

    in_virtual_time(story)
