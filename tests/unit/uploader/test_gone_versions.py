"""A version that an earlier run sent to is asked about once, and again where nobody answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

import pytest

from pipeline.errors import AmbiguousError, RejectedError
from pipeline.uploader.client import Client, StoredVersion
from pipeline.uploader.counts import Counts
from pipeline.uploader.gone_versions import GoneVersions
from pipeline.uploader.pacing import Pace
from tests.fake_clock import FakeClock, in_virtual_time


class Versions:
    """In the place of the client: `answers` is told how often it was asked."""

    def __init__(self, answers: Callable[[int], Exception | None]) -> None:
        self.answers = answers
        self.asked = 0

    async def get_version(self, version_id: str) -> StoredVersion:
        self.asked += 1
        error = self.answers(self.asked)
        if error is not None:
            raise error
        return StoredVersion(id=version_id)


def gone(clock: FakeClock, versions: Versions) -> GoneVersions:
    chance = random.Random(0)
    pace = Pace(clock, chance, max_per_second=None, max_at_once=4, max_pause_seconds=300)
    client = cast(Client, versions)
    return GoneVersions(client, pace, clock, chance, Counts(), max_attempts=2, is_stopping=lambda: False)


def test_all_sessions_of_a_version_share_one_answer() -> None:
    async def story(clock: FakeClock) -> None:
        versions = Versions(lambda asked: RejectedError("not found", kind="http_404", status=404))
        those = gone(clock, versions)
        assert await asyncio.gather(*(those.has("ver_1") for _ in range(5))) == [True] * 5
        assert await those.has("ver_1")
        assert versions.asked == 1

    in_virtual_time(story)


def test_a_question_that_nobody_answered_is_asked_again_for_whoever_comes_later() -> None:
    async def story(clock: FakeClock) -> None:
        versions = Versions(lambda asked: AmbiguousError("reset") if asked <= 2 else None)
        those = gone(clock, versions)
        with pytest.raises(AmbiguousError):
            await those.has("ver_1")
        assert not await those.has("ver_1")
        assert versions.asked == 3

    in_virtual_time(story)
