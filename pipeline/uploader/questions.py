"""Questions, and changes that may be repeated: each attempt passes the gates and tells them what it saw."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.clock import Clock
from pipeline.errors import ExistsError, FatalError, RefusedError, RejectedError, TransientError
from pipeline.uploader.client import QueryTooLongError
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import FIRST, Pace
from pipeline.uploader.pages import LowerLimitError
from pipeline.uploader.retry import MAX_REFUSALS, backoff_seconds

T = TypeVar("T")


async def ask(
    pace: Pace, clock: Clock, counts: Counts, question: Callable[[], Awaitable[T]], *, rank: int = FIRST
) -> T:
    """One attempt, as soon as the gates let it through; raises what the client raises."""
    async with pace.turn(rank) as is_probe:
        started = clock.now()
        try:
            answer = await question()
        except RefusedError as error:
            counts.throttled += 1
            pace.refused(error.retry_after, started)
            raise
        except (ExistsError, RejectedError, FatalError, QueryTooLongError, LowerLimitError):
            pace.looked_up()
            raise
        except TransientError:
            pace.troubled(was_probe=is_probe, is_lookup=True)
            raise
        pace.looked_up()
    return answer


async def ask_until_answered(
    pace: Pace,
    clock: Clock,
    counts: Counts,
    chance: random.Random,
    question: Callable[[], Awaitable[T]],
    *,
    max_attempts: int,
    rank: int = FIRST,
    can_be_shorter: bool = False,
) -> T:
    """The same, tried again after trouble; while everybody waits for the API, no attempt is used up.

    `can_be_shorter`: a question that is too long is not tried again; the caller asks shorter ones.
    """
    troubles = refusals = 0
    while True:
        try:
            return await ask(pace, clock, counts, question, rank=rank)
        except RefusedError:  # the pause is everybody's turn to wait
            refusals += 1
            if refusals >= MAX_REFUSALS:
                raise
        except LowerLimitError:
            pass  # at once, and with the lower one
        except TransientError as error:
            if can_be_shorter and isinstance(error, QueryTooLongError):
                raise
            troubles += not pace.is_waiting
            if troubles >= max_attempts:
                raise
            await clock.sleep(backoff_seconds(max(troubles, 1), chance))
        counts.retries += 1
