"""The target, asked outside of an import: the same client, gates, preflight and patience."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.clock import Clock
from pipeline.config import Config, UploadConfig
from pipeline.errors import StoppedError
from pipeline.preflight import Preflight
from pipeline.report.snapshot import Stop
from pipeline.uploader.client import Client, opened_client
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from pipeline.uploader.questions import ask_until_answered

LOOK_EVERY_SECONDS = 0.1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """All that it takes to ask it something."""

    client: Client
    pace: Pace
    clock: Clock
    chance: random.Random
    counts: Counts
    upload: UploadConfig

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer; the TransientError of the last attempt where there is none, though others are answered."""
        return await ask_until_answered(
            self.pace, self.clock, self.counts, self.chance, question, max_attempts=self.upload.max_attempts
        )


async def at_target(
    config: Config,
    work: Callable[[Target], Coroutine[Any, Any, T]],
    *,
    counts: Counts,
    clock: Clock,
    stop: Stop,
    found_per_second: float | None,
) -> T:
    """Do `work` there, once key, version and route are known to be good.

    Raises StoppedError where nothing answers for `give_up_after_seconds`, or the user stops it.
    """
    chance, upload = random.Random(), config.upload
    async with opened_client(config, counts) as client:
        pace = Pace(
            clock,
            chance,
            max_per_second=upload.max_per_second,
            max_at_once=upload.max_at_once,
            max_pause_seconds=upload.max_pause_seconds,
            found_per_second=found_per_second,
        )
        client.on_quota = pace.hinted
        await Preflight(client, pace, counts, config, clock, chance, lambda: stop.times > 0).resolve_version()
        task = asyncio.create_task(work(Target(client, pace, clock, chance, counts, upload)))
        try:
            while not task.done():
                if stop.times:
                    raise StoppedError("stopped before it was through; run the same command again to go on")
                if pace.trouble_seconds > upload.give_up_after_seconds:
                    raise StoppedError(
                        f"{config.target.base_url} has answered nothing for {pace.trouble_seconds:.0f} s; "
                        "run the same command again to go on"
                    )
                await asyncio.wait([task], timeout=LOOK_EVERY_SECONDS)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
