"""What every law is put through, and what is read off it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.uploader.gates import NEVER, NOW
from tests.simulation.events import LATENCY_SECONDS, Seen, play
from tests.simulation.laws import Law, NewLaw
from tests.simulation.servers import Bucket, Knee, Noise, Server, Style, Unlimited, Window

MINUTES_15 = 900.0
CHANGES_AT = 300.0


@dataclass(frozen=True)
class Played:
    """One law in one scenario with one seed."""

    accepted_share: float
    """Of what the limit allowed."""
    refused_share: float
    recovery_seconds: float | None = None
    p95_seconds: float | None = None
    per_second: float | None = None
    other_share: float | None = None
    """What another client got, of the limit."""


Scenario = Callable[[NewLaw, Style, int], Played]


def steady(limit: float, *, burst_seconds: float = 1.0, seconds: float = MINUTES_15) -> Scenario:
    """A limit that stays as it is, cold start included."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        server = Bucket(lambda now: limit, style, now=began_at, burst_seconds=burst_seconds)
        (seen,) = play([new(began_at, chance)], server, seconds=seconds, began_at=began_at, chance=chance)
        return Played(len(seen.accepted_at) / (limit * seconds), seen.refused_share)

    return scenario


def changing(before: float, after: float) -> Scenario:
    """A limit that changes after five minutes; recovered when 90 % of it is used for five seconds in a row, calmly."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        changes_at = CHANGES_AT + chance.uniform(0, 60)
        server = Bucket(lambda now: before if now - began_at < changes_at else after, style, now=began_at)
        (seen,) = play([new(began_at, chance)], server, seconds=MINUTES_15, began_at=began_at, chance=chance)
        allowed = before * changes_at + after * (MINUTES_15 - changes_at)
        recovery = recovered_after(seen, after, changes_at)
        return Played(len(seen.accepted_at) / allowed, seen.refused_share, recovery_seconds=recovery)

    return scenario


def recovered_after(seen: Seen, limit: float, since: float, *, stretch_seconds: float = 5.0) -> float:
    """Seconds until a stretch begins in which 90 % of the limit is accepted and less than 10 % refused."""
    at = since
    while at < MINUTES_15 - stretch_seconds:
        accepted = seen.accepted(at, at + stretch_seconds)
        refused = seen.refused(at, at + stretch_seconds)
        if accepted >= 0.9 * limit * stretch_seconds and refused <= 0.1 * (accepted + refused):
            return at - since
        at += 1.0
    return NEVER


def windows(quota: int) -> Scenario:
    """So many a minute of the clock; the beginning falls anywhere into one."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        server = Window(quota, 60.0, style)
        (seen,) = play([new(began_at, chance)], server, seconds=MINUTES_15, began_at=began_at, chance=chance)
        return Played(len(seen.accepted_at) / (quota * MINUTES_15 / 60), seen.refused_share)

    return scenario


def knee(per_second: float) -> Scenario:
    """No refusals; answers queue beyond `per_second`."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        (seen,) = play([new(began_at, chance)], Knee(per_second), seconds=300, began_at=began_at, chance=chance)
        return Played(
            seen.accepted(30) / (per_second * 270), 0.0, p95_seconds=_p95(seen), per_second=seen.accepted(30) / 270
        )

    return scenario


def slow(latency_seconds: float) -> Scenario:
    """Unlimited, and slow; what 64 at once can do is what is allowed."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        (seen,) = play(
            [new(began_at, chance)],
            Unlimited(),
            seconds=300,
            began_at=began_at,
            chance=chance,
            latency_seconds=latency_seconds,
        )
        allowed = 64 / latency_seconds
        return Played(
            seen.accepted(30) / 270 / allowed, 0.0, p95_seconds=_p95(seen), per_second=seen.accepted(30) / 270
        )

    return scenario


class Neighbour:
    """Another client, evenly spaced at its own rate, which gives up what is refused."""

    def __init__(self, now: float, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = now

    def may_start(self, now: float) -> float:
        return NOW if now >= self._next else self._next

    def start(self, now: float) -> None:
        self._next += self._gap

    def answered(self, now: float, started_at: float) -> None:
        """It does not care,"""

    def refused(self, now: float, retry_after: str | None, started_at: float) -> None:
        """whatever it hears."""


def neighbour(limit: float) -> Scenario:
    """A second client sends half of the limit all the time."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        server = Bucket(lambda now: limit, style, now=began_at)
        laws: list[Law] = [new(began_at, chance), Neighbour(began_at, limit / 2)]
        ours, theirs = play(laws, server, seconds=MINUTES_15, began_at=began_at, chance=chance)
        allowed = limit * MINUTES_15
        return Played(
            len(ours.accepted_at) / allowed, ours.refused_share, other_share=len(theirs.accepted_at) / allowed
        )

    return scenario


def two(limit: float) -> Scenario:
    """Two clients of the same law; the second comes two minutes later. Read off the last five minutes."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        server = Bucket(lambda now: limit, style, now=began_at)
        laws: list[Law] = [new(began_at, chance), _Later(new, began_at + 120, chance)]
        first, second = play(laws, server, seconds=MINUTES_15, began_at=began_at, chance=chance)
        allowed = limit * 300
        return Played(first.accepted(600) / allowed, first.refused_share, other_share=second.accepted(600) / allowed)

    return scenario


class _Later:
    """A law that comes later."""

    def __init__(self, new: NewLaw, at: float, chance: random.Random) -> None:
        self._at = at
        self._law = new(at, chance)
        self.start = self._law.start
        self.answered = self._law.answered
        self.refused = self._law.refused

    def may_start(self, now: float) -> float:
        return self._at if now < self._at else self._law.may_start(now)


def noise(share: float, *, limit: float | None = None) -> Scenario:
    """A share refused at random for three minutes, whatever the rate. Recovered: half of what is used at the end."""

    def scenario(new: NewLaw, style: Style, seed: int) -> Played:
        chance, began_at = _seeded(seed)
        behind: Server = Unlimited() if limit is None else Bucket(lambda now: limit, style, now=began_at)
        server = Noise(share, style, chance, behind, ends_at=began_at + 180)
        (seen,) = play([new(began_at, chance)], server, seconds=300, began_at=began_at, chance=chance)
        during = seen.accepted(30, 180) / 150
        at_the_end = seen.accepted(280, 300) / 20
        recovery = next((at - 180.0 for at in range(180, 299) if seen.accepted(at, at + 1) >= 0.5 * at_the_end), NEVER)
        allowed = limit if limit is not None else 64 / LATENCY_SECONDS
        return Played(during / allowed, seen.refused_share, recovery_seconds=recovery, per_second=during)

    return scenario


def _seeded(seed: int) -> tuple[random.Random, float]:
    """Chance, and a second of the clock's minute at which it begins."""
    chance = random.Random(seed)
    return chance, chance.uniform(0, 60)


def _p95(seen: Seen) -> float:
    latencies = sorted(seen.latencies)
    return latencies[int(len(latencies) * 0.95)] if latencies else NEVER


SCENARIOS: dict[str, Scenario] = {
    "0.5/s": steady(0.5),
    "2/s": steady(2),
    "5/s": steady(5),
    "40/s": steady(40),
    "300/s": steady(300),
    "40/s, burst of 4": steady(40, burst_seconds=0.1),
    "40/s, burst of 10 s": steady(40, burst_seconds=10),
    "200 → 20/s": changing(200, 20),
    "20 → 200/s": changing(20, 200),
    "600 a minute": windows(600),
    "120 a minute": windows(120),
    "knee at 100/s": knee(100),
    "slow, 2 s": slow(2.0),
    "40/s, a neighbour at 20/s": neighbour(40),
    "40/s, two of the same": two(40),
    "20 % refused at random": noise(0.2),
    "40/s, 20 % refused at random": noise(0.2, limit=40),
}
