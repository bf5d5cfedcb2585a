"""Clients and a server, event by event: what takes 15 minutes takes seconds, and the law is the one of production."""

from __future__ import annotations

import heapq
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from pipeline.uploader.gates import NEVER, NOW
from tests.simulation.laws import Law
from tests.simulation.servers import Server, Verdict

LATENCY_SECONDS = 0.05
JITTER = 0.2
"""Of the latency, either way."""


@dataclass
class Seen:
    """What one client saw, by the moments at which the server decided."""

    began_at: float
    accepted_at: array[float] = field(default_factory=lambda: array("d"))
    refused_at: array[float] = field(default_factory=lambda: array("d"))
    latencies: array[float] = field(default_factory=lambda: array("d"))

    def accepted(self, since: float = 0.0, until: float = NEVER) -> int:
        """Requests taken from `since` on, in seconds after the beginning."""
        return sum(1 for at in self.accepted_at if since <= at - self.began_at < until)

    def refused(self, since: float = 0.0, until: float = NEVER) -> int:
        return sum(1 for at in self.refused_at if since <= at - self.began_at < until)

    @property
    def refused_share(self) -> float:
        return len(self.refused_at) / max(len(self.refused_at) + len(self.accepted_at), 1)


def play(
    laws: Sequence[Law],
    server: Server,
    *,
    seconds: float,
    began_at: float,
    chance: random.Random,
    latency_seconds: float = LATENCY_SECONDS,
) -> list[Seen]:
    """Let every law send as much as it wants for so long."""
    seen = [Seen(began_at) for _ in laws]
    wakes = [NEVER] * len(laws)
    numbers = count()
    events: list[tuple[float, int, int, float, Verdict | None, bool]] = []
    ends_at = began_at + seconds
    push, pop = heapq.heappush, heapq.heappop
    half, spread = latency_seconds / 2, latency_seconds / 2 * JITTER

    def pump(who: int, now: float) -> None:
        law = laws[who]
        while (at := law.may_start(now)) == NOW:
            law.start(now)
            push(events, (now + half + spread * (chance.random() * 2 - 1), next(numbers), who, now, None, False))
        if at != wakes[who] and at != NEVER:
            push(events, (at, next(numbers), who, at, None, True))
        wakes[who] = at

    for who in range(len(laws)):
        pump(who, began_at)
    while events:
        now, _, who, started_at, verdict, is_wake = pop(events)
        if now >= ends_at:
            break
        if is_wake:
            if wakes[who] == started_at:
                wakes[who] = NEVER
                pump(who, now)
        elif verdict is None:
            verdict = server.arrive(now)
            (seen[who].accepted_at if verdict.is_accepted else seen[who].refused_at).append(now)
            back_at = now + half + spread * (chance.random() * 2 - 1) + verdict.delay_seconds
            push(events, (back_at, next(numbers), who, started_at, verdict, False))
        else:
            if verdict.is_accepted:
                seen[who].latencies.append(now - started_at)
                laws[who].answered(now, started_at)
            else:
                laws[who].refused(now, verdict.retry_after, started_at)
            pump(who, now)
    return seen
