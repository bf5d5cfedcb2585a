"""The sessions of a run on their way: queued, written down before they leave, delivered, and settled in the ledger."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

from pipeline.clock import Clock, iso
from pipeline.config import UploadConfig
from pipeline.errors import FatalError, StoppedError, TraceImportError
from pipeline.ledger.sending import Sending
from pipeline.ledger.settling import Send, Settlement, Traffic
from pipeline.models import Outcome
from pipeline.uploader.attempts import Attempts
from pipeline.uploader.beginnings import Beginnings
from pipeline.uploader.checks import Checks
from pipeline.uploader.client import Client
from pipeline.uploader.content_api import ContentApi
from pipeline.uploader.contents import Contents
from pipeline.uploader.counts import Counts
from pipeline.uploader.delivery import Delivery
from pipeline.uploader.gone_versions import GoneVersions
from pipeline.uploader.journey import Journey, StoppingError
from pipeline.uploader.lookups import Lookups
from pipeline.uploader.pacing import Pace
from pipeline.uploader.places import Places
from pipeline.uploader.refusals import Alike, Refusals, refused_spans_alike

MAX_WAITING = 5_000
"""Sessions in memory at most, however small they are: with all that belongs to one it takes some 10 KB."""
INTENDED_AHEAD = 256
"""Sessions that are written down as about to leave before they can: one commit serves them all."""
SETTLE_EVERY_SECONDS = 0.2
NEWS = 0.02
"""The limit found is written down when it has changed by this share."""


class Uploader:
    """Takes sessions, settles each of them.

    A session is in the ledger as intended before its first byte leaves. A kill at any point leaves it so, and the
    next run sends it again under the same custom id: the server, not this process, says whether it was stored.
    """

    def __init__(
        self,
        client: Client,
        pace: Pace,
        sending: Sending,
        counts: Counts,
        *,
        in_ledger_thread: Callable[..., Awaitable[Any]],
        ledger_id: str,
        version_id: str,
        run_id: str = "",
        closed_policy: str | None = None,
        config: UploadConfig,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._client = client
        self._pace = pace
        self._sending = sending
        self._in_ledger_thread = in_ledger_thread
        self._version_id = version_id
        self._config = config
        self._clock = clock
        self._chance = chance
        self._counts = counts
        self._lookups = Lookups(client, pace, clock, chance, self._counts)
        places = self._places = Places(2 * config.max_at_once, self._start_more)
        beginnings = self._beginnings = Beginnings(self._begin)
        attempts = self._attempts = Attempts(
            pace, places, counts, config, clock, chance, lambda: self.is_stopping, beginnings
        )
        api = ContentApi(client)
        self._checks = Checks(
            api,
            pace,
            clock,
            chance,
            counts,
            max_attempts=config.max_attempts,
            would_fill=self._would_fill,
        )
        contents = Contents(
            client,
            api,
            attempts,
            self._checks,
            config=config,
            clock=clock,
            closed_policy=closed_policy,
        )
        self._gone = GoneVersions(
            client,
            pace,
            clock,
            chance,
            counts,
            max_attempts=config.max_attempts,
            is_stopping=lambda: self.is_stopping,
        )
        self._delivery = Delivery(
            client,
            attempts,
            self._lookups,
            contents,
            self._gone,
            in_ledger_thread=in_ledger_thread,
            intend=self._intend,
            see_refusal=self._see_refusal,
            is_stopping=lambda: self.is_stopping,
            ledger_id=ledger_id,
            version_id=version_id,
            run_id=run_id,
            config=config,
            clock=clock,
        )
        self._queue: deque[Journey] = deque()
        self._intended: deque[Journey] = deque()
        self._may_intend = asyncio.Event()
        self._has_room = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], Journey] = {}
        self._idle_since = clock.now()
        """Where no session is on its way."""
        self._ends: dict[str, asyncio.Future[Settlement | None]] = {}
        self._held_bytes = 0
        self._taken = 0
        self._is_all_taken = False
        self._wants_room = False
        self._held = 0
        self._moved = asyncio.Event()
        self._unwritten: list[Settlement] = []
        self._written_traffic = Traffic()
        self._written_per_second = 0.0
        self._writing = asyncio.Lock()
        self._refusals = Refusals()
        self._refused_spans = Alike()
        self.failure: TraceImportError | None = None
        """Why the run must stop, where it must."""
        self.is_stopping = False

    @property
    def held(self) -> int:
        """Sessions that are in memory, waiting or on their way."""
        return self._held

    async def upload(self, batches: AsyncIterator[Sequence[Send]]) -> None:
        """Send all that comes; returns when everything is settled, or stopped, and written to the ledger."""
        workers = [
            asyncio.create_task(self._guarded(work))
            for work in (
                self._intend_ahead(),
                self._lookups.run(),
                self._checks.run(),
                self._write_often(),
                self._watch(),
            )
        ]
        intending = workers[0]
        taking = asyncio.create_task(self._take_all(batches))
        for task in (taking, *workers):
            task.add_done_callback(self._end_of_work)
        try:
            while not taking.done() or (self._held and not (self.is_stopping and not self._tasks)):
                self._moved.clear()
                await self._moved.wait()
            self._refusals.break_row()
            self._count(self._refusals.take())
            await self._beginnings.written()
            await self._guarded(self._write())
            if self.is_stopping:
                await asyncio.wait([intending])
                await self._guarded(self._withdraw())
        finally:
            self._intended.clear()  # whoever ends now leaves a place that nobody takes
            working: list[asyncio.Task[Any]] = [taking, *workers, *self._tasks, *self._gone.cancel()]
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    def stop(self, failure: TraceImportError | None = None, *, at_once: bool = False) -> None:
        """Send nothing new. What is on the wire is waited for, unless `at_once`; the rest stays pending."""
        if failure is not None and self.failure is None:
            self.failure = failure
        self.is_stopping = True
        for event in (self._moved, self._may_intend, self._has_room):
            event.set()
        for task, journey in self._tasks.items():
            if at_once or not journey.is_sending:
                task.cancel()

    # --- the queue ----------------------------------------------------------------------------------------

    async def _take_all(self, batches: AsyncIterator[Sequence[Send]]) -> None:
        try:
            async for sends in batches:
                for send in sends:
                    await self._take(send)
        except TraceImportError as error:  # reading broke off; what was read is sent all the same
            self.failure = self.failure or error
        finally:
            self._is_all_taken = True

    async def _take(self, send: Send) -> None:
        size = send.session.size
        while not self.is_stopping and not self._has_room_for(size):
            self._has_room.clear()
            self._wants_room = True
            await self._has_room.wait()
        self._wants_room = False
        if self.is_stopping:
            return  # it is in the ledger as pending
        end: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        self._taken += 1
        version_id = send.version_id or self._version_id
        journey = Journey(send, version_id, self._ends.get(send.custom_id), end, rank=self._taken)
        journey.is_change = send.is_older
        self._ends[send.custom_id] = end
        self._held += 1
        self._held_bytes += size
        self._queue.append(journey)
        self._may_intend.set()

    def _has_room_for(self, size: int) -> bool:
        return not self._held or (self._held < MAX_WAITING and self._held_bytes + size <= self._config.max_buffer_bytes)

    async def _intend_ahead(self) -> None:
        """Write down in groups what is about to leave: the commit of one group goes on while another is sent."""
        while not self.is_stopping:
            if not self._queue or len(self._intended) > INTENDED_AHEAD // 2:
                self._may_intend.clear()
                await self._may_intend.wait()
                continue
            count = min(len(self._queue), INTENDED_AHEAD - len(self._intended))
            group = [self._queue.popleft() for _ in range(count)]
            await self._in_ledger_thread(self._intend, [journey.send for journey in group])
            self._intended.extend(group)
            self._start_more()

    def _intend(self, sends: Sequence[Send]) -> None:
        """In the ledger's thread."""
        self._sending.intend(sends, self._version_id, iso(self._clock.wall()))

    async def _begin(self, rows: list[int]) -> None:
        """Write that turns or spans of these are about to leave."""
        self._refusals.release(rows)
        self._count(self._refusals.take())
        if not {settlement.send.row for settlement in self._unwritten}.isdisjoint(rows):
            await self._write()  # how an earlier state of the same row ended, which would say that nothing is open
        await self._in_ledger_thread(self._sending.begin_content, rows, iso(self._clock.wall()))

    def _would_fill(self, waiting: int) -> bool:
        """Could anything still join the sessions that wait for their check?"""
        is_all = self._is_all_taken and not self._queue and not self._intended
        return not (is_all and len(self._tasks) - self._delivery.idle <= waiting) and not self._wants_room

    async def _withdraw(self) -> None:
        """What was written down and did not leave is not in flight."""
        sends = [journey.send for journey in self._intended if journey.send.action != "replace"]
        await self._in_ledger_thread(self._sending.withdraw, sends)

    def _start_more(self) -> None:
        """Who is written down starts, as long as there are places."""
        while self._intended and not self.is_stopping and self._places.take():
            journey = self._intended.popleft()
            if not self._tasks:
                self._pace.leave_out(self._clock.now() - self._idle_since)
            task = asyncio.create_task(self._import(journey))
            self._tasks[task] = journey
            task.add_done_callback(self._forget)
        if len(self._intended) <= INTENDED_AHEAD // 2:
            self._may_intend.set()

    def _forget(self, task: asyncio.Task[None]) -> None:
        journey = self._tasks.pop(task)
        if not self._tasks:
            self._idle_since = self._clock.now()
        self._held -= 1
        self._held_bytes -= journey.send.session.size
        if self._ends.get(journey.send.custom_id) is journey.end:
            del self._ends[journey.send.custom_id]
        if not journey.end.done():
            journey.end.set_result(None)
        self._attempts.leave_place(journey)
        # Not at every session: who waits for room wants enough of it to be worth waking up for.
        if self._held <= MAX_WAITING // 2 and self._held_bytes <= self._config.max_buffer_bytes // 2:
            self._has_room.set()
        if not self._held or self.is_stopping:
            self._moved.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(_defect(error))

    # --- one session --------------------------------------------------------------------------------------

    async def _import(self, journey: Journey) -> None:
        try:
            settlement = await self._delivery.deliver(journey)
        except (asyncio.CancelledError, StoppingError):
            settlement = journey.ended(self._clock, Outcome.PENDING, error=journey.last_error)
        except (FatalError, StoppedError) as error:
            self.stop(error)
            settlement = journey.ended(self._clock, Outcome.PENDING, error=error)
        journey.end.set_result(settlement)
        self._note(settlement)

    # --- outcomes -----------------------------------------------------------------------------------------

    def _note(self, settlement: Settlement) -> None:
        outcome = settlement.outcome
        if settlement.is_refused:
            self._refusals.hold(settlement)
            return
        if outcome in (Outcome.CREATED, Outcome.EXISTING, Outcome.CHANGED):
            self._refusals.break_row()
            self._note_spans(settlement)
        self._count([*self._refusals.take(), settlement])

    def _note_spans(self, settlement: Settlement) -> None:
        if settlement.has_stored_spans:
            self._refused_spans.break_row()
        elif settlement.refused_all_spans is not None and self._refused_spans.see(settlement.refused_all_spans):
            self.stop(refused_spans_alike(settlement.refused_all_spans))

    def _see_refusal(self, error: TraceImportError) -> None:
        failure = self._refusals.see(error)
        self._count(self._refusals.take())
        if failure is not None:
            self.stop(failure)

    def _count(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            self._counts.outcomes[settlement.outcome] = self._counts.outcomes.get(settlement.outcome, 0) + 1
        self._unwritten += settlements

    async def _write_often(self) -> None:
        while True:
            await self._clock.sleep(SETTLE_EVERY_SECONDS)
            await self._write()

    async def _write(self) -> None:
        async with self._writing:
            traffic = self._counts.traffic()
            if not self._unwritten and traffic == self._written_traffic:
                return
            batch, self._unwritten = self._unwritten, []
            since = Traffic(*(now - then for now, then in zip(traffic, self._written_traffic, strict=True)))
            self._written_traffic = traffic
            await self._in_ledger_thread(self._sending.settle, batch, since, self._new_limit(), iso(self._clock.wall()))

    def _new_limit(self) -> float | None:
        found = self._pace.found_per_second
        if found is None or abs(found - self._written_per_second) <= NEWS * self._written_per_second:
            return None
        self._written_per_second = found
        return found

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(1.0)
            silence = self._pace.trouble_seconds
            if silence > self._config.give_up_after_seconds and self._tasks:
                self.stop(
                    StoppedError(f"the API accepted nothing for {silence:.0f} s; stopped for now. Run again to go on")
                )

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong in one piece of work stops the run."""
        try:
            await work
        except TraceImportError as error:
            self.stop(error)

    def _end_of_work(self, task: asyncio.Task[None]) -> None:
        """A defect does too: nothing may wait for a worker that is no more."""
        self._moved.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(_defect(error))


def _defect(error: BaseException) -> FatalError:
    return FatalError(f"a defect in trace-import, please report it: {type(error).__name__}", kind="defect")
