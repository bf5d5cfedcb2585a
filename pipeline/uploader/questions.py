"""Questions that store nothing: each attempt passes the gates like every request, and tells them what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.clock import Clock
from pipeline.errors import FatalError, RefusedError, RejectedError, TransientError
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace

T = TypeVar("T")


async def ask(pace: Pace, clock: Clock, counts: Counts, question: Callable[[], Awaitable[T]]) -> T:
    """One attempt, as soon as the gates let it through; raises what the client raises."""
    async with pace as is_probe:
        started = clock.now()
        try:
            answer = await question()
        except RefusedError as error:
            counts.throttled += 1
            pace.refused(error.retry_after, started)
            raise
        except TransientError:
            pace.troubled(was_probe=is_probe, is_lookup=True)
            raise
        except (RejectedError, FatalError):
            pace.looked_up()
            raise
        except asyncio.CancelledError:
            pace.abandoned(was_probe=is_probe)
            raise
        pace.looked_up()
    return answer
