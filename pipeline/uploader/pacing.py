"""The queue in front of the gates: who may start at once does, the others wait in the order of their ranks."""

from __future__ import annotations

import asyncio
import heapq
import random
from types import TracebackType

from pipeline.clock import Clock
from pipeline.uploader.gates import NEVER, NOW, Gates

FIRST = 0
"""The rank of questions: sessions that are under way wait for the answers."""


class Pace:
    """`async with pace.turn(rank):` around one attempt, and in it say what the attempt saw.

    Where nothing holds an attempt back, it passes without waiting for anything. The others wait for one timer, or for
    something to come back: nobody polls.
    """

    def __init__(
        self,
        clock: Clock,
        chance: random.Random,
        *,
        max_per_second: float | None,
        max_at_once: int,
        max_pause_seconds: float,
        found_per_second: float | None = None,
    ) -> None:
        self._clock = clock
        self._gates = Gates(
            clock.now(),
            chance,
            max_per_second=max_per_second,
            max_at_once=max_at_once,
            max_pause_seconds=max_pause_seconds,
            found_per_second=found_per_second,
        )
        self._waiting: list[tuple[int, int, asyncio.Future[int]]] = []
        """A heap: rank, arrival, turn."""
        self._arrivals = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._trouble_since: float | None = None
        """When the first attempt after the last good answer went wrong, if one did."""

    @property
    def per_second(self) -> float:
        """The present rate of starts, at most."""
        return self._gates.limit.per_second

    @property
    def found_per_second(self) -> float | None:
        """The API's limit, once refusals have shown it: for the next run."""
        return self._gates.limit.found_per_second

    @property
    def at_once(self) -> int:
        """How many may be in flight at present."""
        return self._gates.concurrency.at_once

    @property
    def in_flight(self) -> int:
        """How many are."""
        return self._gates.in_flight

    @property
    def is_waiting(self) -> bool:
        """Is the whole run paused, or the breaker open?"""
        return self._gates.breaker.is_open or self._clock.now() < self._gates.paused_until

    @property
    def pause_seconds(self) -> float:
        """How long everybody still pauses because the API said so."""
        return max(self._gates.paused_until - self._clock.now(), 0.0)

    @property
    def trouble_seconds(self) -> float:
        """How long nothing but trouble and "later" has come back; a run that asks nothing has no trouble."""
        return 0.0 if self._trouble_since is None else self._clock.now() - self._trouble_since

    def turn(self, rank: int = FIRST) -> _Turn:
        """The lowest rank goes first, and of equal ones the one that came first."""
        return _Turn(self, rank)

    async def enter(self, rank: int) -> int:
        """See turn. The number of the breaker's probe that this attempt is; 0: it is none."""
        if not self._waiting:
            now = self._clock.now()
            if self._gates.may_start(now) == NOW:
                return self._start(now)
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiting, (rank, self._arrivals, turn))
        self._pass_on()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let through, and will not go
                self.leave(turn.result())
            else:
                turn.cancel()
                self._pass_on()
            raise

    def leave(self, probe: int) -> None:
        """See turn. A probe of which nobody told what it saw is lost: else all would wait for it for ever."""
        self._gates.end()
        if probe and probe == self._gates.breaker.probe_out:
            self._gates.breaker.lose_probe()
        if self._waiting:
            self._pass_on()

    def _start(self, now: float) -> int:
        return self._gates.breaker.probe_out if self._gates.start(now) else 0

    # --- the queue ----------------------------------------------------------------------------------------

    def _pass_on(self) -> None:
        """Let through whom the gates let through, and set the timer for the next one."""
        while self._waiting:
            if self._waiting[0][-1].done():
                heapq.heappop(self._waiting)
                continue
            now = self._clock.now()
            at = self._gates.may_start(now)
            if at != NOW:
                self._wake_at(at, now)
                return
            heapq.heappop(self._waiting)[-1].set_result(self._start(now))
        self._wake_at(NEVER, 0.0)

    def _wake_at(self, at: float, now: float) -> None:
        if self._timer is not None:
            if at == self._timer_at:
                return
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at < NEVER:
            # The loop's own timer, and no task that sleeps: at thousands of starts a second it is the cheaper one.
            self._timer = asyncio.get_running_loop().call_later(at - now, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        self._pass_on()

    # --- what the attempt saw -----------------------------------------------------------------------------

    def answered(self, started_at: float | None = None) -> None:
        """The API gave a real answer (stored, exists, rejected): things work.

        `started_at` where the latency tells about load: what stores nothing is other work, and not compared.
        """
        self._gates.answered(self._clock.now(), started_at)
        self._trouble_since = None
        if self._waiting:
            self._pass_on()

    def looked_up(self, *, is_progress: bool = False) -> None:
        """A look-up was answered. While posts fail, the breaker stays; the trouble ends if sessions were found."""
        self._gates.looked_up(self._clock.now())
        if is_progress or not self._gates.are_posts_failing:
            self._trouble_since = None
        self._pass_on()

    def refused(self, retry_after: str | None, started_at: float) -> None:
        """The API said "later": one pause for all, and slower after it."""
        now = self._clock.now()
        self._note_trouble(now)
        self._gates.refused(now, self._clock.wall(), retry_after, started_at)
        self._pass_on()

    def troubled(self, *, was_probe: bool, is_lookup: bool = False, timed_out_from: float | None = None) -> None:
        """No answer, or a broken one; where none came in time, also when the attempt started."""
        now = self._clock.now()
        self._note_trouble(now)
        self._gates.troubled(now, was_probe=was_probe, is_lookup=is_lookup, timed_out_from=timed_out_from)
        self._pass_on()

    def hinted(self, per_second: float) -> None:
        """The API's headers tell its limit."""
        self._gates.limit.hint(per_second)

    def leave_out(self, seconds: float) -> None:
        """So long nothing was on its way: it is no part of a trouble."""
        if self._trouble_since is not None:
            self._trouble_since = min(self._trouble_since + seconds, self._clock.now())

    def _note_trouble(self, now: float) -> None:
        if self._trouble_since is None:
            self._trouble_since = now


class _Turn:
    """Waits for its turn; says whether this attempt is the breaker's probe, which counts against nobody."""

    __slots__ = ("_pace", "_probe", "_rank")

    def __init__(self, pace: Pace, rank: int) -> None:
        self._pace = pace
        self._rank = rank
        self._probe = 0

    async def __aenter__(self) -> bool:
        self._probe = await self._pace.enter(self._rank)
        return self._probe > 0

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace.leave(self._probe)
