"""Versions that earlier runs sent sessions to: was one of them deleted since? Asked once for all its sessions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from pipeline.clock import Clock
from pipeline.errors import RejectedError, TransientError
from pipeline.uploader.client import Client, is_gone
from pipeline.uploader.counts import Counts
from pipeline.uploader.journey import StoppingError
from pipeline.uploader.pacing import Pace
from pipeline.uploader.questions import ask
from pipeline.uploader.retry import backoff_seconds


class GoneVersions:
    """What was found out about them."""

    def __init__(
        self,
        client: Client,
        pace: Pace,
        clock: Clock,
        chance: random.Random,
        counts: Counts,
        *,
        max_attempts: int,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._client = client
        self._pace = pace
        self._clock = clock
        self._chance = chance
        self._counts = counts
        self._max_attempts = max_attempts
        self._is_stopping = is_stopping
        self._asked: dict[str, asyncio.Task[bool]] = {}

    async def has(self, version_id: str) -> bool:
        """Is it gone? Raises StoppingError, and TransientError where nobody says."""
        asked = self._asked.get(version_id)
        if asked is None or _has_failed(asked):  # whoever comes later may hear the answer
            asked = self._asked[version_id] = asyncio.create_task(self._ask(version_id))
        return await asyncio.shield(asked)

    def cancel(self) -> list[asyncio.Task[bool]]:
        """Ask nothing more; what is to be waited for."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        return tasks

    async def _ask(self, version_id: str) -> bool:
        troubles = 0
        while True:
            if self._is_stopping():
                raise StoppingError
            try:
                version = await ask(self._pace, self._clock, self._counts, lambda: self._client.get_version(version_id))
            except RejectedError as answer:
                return is_gone(answer)
            except TransientError:
                troubles += not self._pace.is_waiting  # nor does a session use up attempts while all wait
                if troubles >= self._max_attempts:
                    raise
                self._counts.retries += 1
                await self._clock.sleep(backoff_seconds(max(troubles, 1), self._chance))
            else:
                return version.deletedAt is not None


def _has_failed(asked: asyncio.Task[bool]) -> bool:
    return asked.done() and (asked.cancelled() or asked.exception() is not None)
