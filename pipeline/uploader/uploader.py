"""One session's steps: intended, sent, and until it is settled tried again, looked up, adopted."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.clock import Clock, iso
from pipeline.config import UploadConfig
from pipeline.errors import (
    AmbiguousError,
    ExistsError,
    FatalError,
    RefusedError,
    RejectedError,
    StoppedError,
    TraceImportError,
    TransientError,
)
from pipeline.ledger.admission import UPDATE_REJECTED
from pipeline.ledger.sessions import SessionLedger
from pipeline.ledger.settling import Send, Settlement, Traffic
from pipeline.models import Outcome
from pipeline.payload import create_body, update_body
from pipeline.uploader.attribution import Whose, whose
from pipeline.uploader.client import Client, Created, StoredSession, is_gone
from pipeline.uploader.counts import Counts
from pipeline.uploader.lookups import Lookups
from pipeline.uploader.pacing import Pace
from pipeline.uploader.places import Places
from pipeline.uploader.questions import ask
from pipeline.uploader.refusals import Refusals
from pipeline.uploader.retry import MAX_REFUSALS, RetryBudget, backoff_seconds

MAX_WAITING = 5_000
"""Sessions in memory at most, however small they are: with all that belongs to one it takes some 10 KB."""
INTENDED_AHEAD = 256
"""Sessions that are written down as about to leave before they can: one commit serves them all."""
SETTLE_EVERY_SECONDS = 0.2
NEWS = 0.02
"""The limit found is written down when it has changed by this share."""
T = TypeVar("T")
MOSTLY = 0.5
"""When more than this share of the answers is "exists already", sessions are looked up before they are posted."""


class _StoppingError(Exception):
    """The run stops, and this session's next step would be a new request: it stays pending."""


@dataclass(slots=True, eq=False)
class _Journey:
    """What happens to one session in this process."""

    send: Send
    version_id: str
    predecessor: asyncio.Future[Settlement | None] | None
    end: asyncio.Future[Settlement | None]
    attempts: int = 0
    used_attempts: int = 0
    refusals: int = 0
    spent_seconds: float = 0.0
    was_ambiguous: bool = False
    is_change: bool = False
    """The session is older than this run."""
    is_sending: bool = False
    has_place: bool = True
    first_sent_at: str | None = None
    latency_ms: float | None = None
    last_error: TransientError | None = None


class Uploader:
    """Takes sessions, settles each of them.

    A session is in the ledger as intended before its first byte leaves. A kill at any point leaves it so, and the
    next run sends it again under the same custom id: the server, not this process, says whether it was stored.
    """

    def __init__(
        self,
        client: Client,
        pace: Pace,
        ledger: SessionLedger,
        counts: Counts,
        *,
        in_ledger_thread: Callable[..., Awaitable[Any]],
        ledger_id: str,
        version_id: str,
        config: UploadConfig,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._client = client
        self._pace = pace
        self._ledger = ledger
        self._in_ledger_thread = in_ledger_thread
        self._ledger_id = ledger_id
        self._version_id = version_id
        self._config = config
        self._clock = clock
        self._chance = chance
        self._counts = counts
        self._lookups = Lookups(client, pace, clock, chance, self._counts)
        self._budget = RetryBudget(clock.now())
        self._places = Places(2 * config.max_at_once, self._start_more)
        self._queue: deque[_Journey] = deque()
        self._intended: deque[_Journey] = deque()
        self._may_intend = asyncio.Event()
        self._has_room = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], _Journey] = {}
        self._idle_since = clock.now()
        """Where no session is on its way."""
        self._ends: dict[str, asyncio.Future[Settlement | None]] = {}
        self._held_bytes = 0
        self._held = 0
        self._moved = asyncio.Event()
        self._unwritten: list[Settlement] = []
        self._written_traffic = Traffic()
        self._written_per_second = 0.0
        self._writing = asyncio.Lock()
        self._refusals = Refusals()
        self._exists_share = 0.0
        self._gone: dict[str, asyncio.Task[bool]] = {}
        """Versions that earlier intents named, and the question whether they were deleted since."""
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
            for work in (self._intend_ahead(), self._lookups.run(), self._write_often(), self._watch())
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
            await self._guarded(self._write())
            if self.is_stopping:
                await asyncio.wait([intending])
                await self._guarded(self._withdraw())
        finally:
            self._intended.clear()  # whoever ends now leaves a place that nobody takes
            working: list[asyncio.Task[Any]] = [taking, *workers, *self._tasks, *self._gone.values()]
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

    async def _take(self, send: Send) -> None:
        size = send.session.size
        while not self.is_stopping and not self._has_room_for(size):
            self._has_room.clear()
            await self._has_room.wait()
        if self.is_stopping:
            return  # it is in the ledger as pending
        end: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        journey = _Journey(send, send.version_id or self._version_id, self._ends.get(send.custom_id), end)
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
            await self._in_ledger_thread(self._ledger.intend, [journey.send for journey in group], self._version_id)
            self._intended.extend(group)
            self._start_more()

    async def _withdraw(self) -> None:
        """What was written down and did not leave is not in flight."""
        sends = [journey.send for journey in self._intended if journey.send.action == "create"]
        await self._in_ledger_thread(self._ledger.withdraw, sends)

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
        self._leave_place(journey)
        # Not at every session: who waits for room wants enough of it to be worth waking up for.
        if self._held <= MAX_WAITING // 2 and self._held_bytes <= self._config.max_buffer_bytes // 2:
            self._has_room.set()
        if not self._held or self.is_stopping:
            self._moved.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(_defect(error))

    # --- one session --------------------------------------------------------------------------------------

    async def _import(self, journey: _Journey) -> None:
        try:
            settlement = await self._steps(journey)
        except (asyncio.CancelledError, _StoppingError):
            settlement = self._ended(journey, Outcome.PENDING, error=journey.last_error)
        except (FatalError, StoppedError) as error:
            self.stop(error)
            settlement = self._ended(journey, Outcome.PENDING, error=error)
        journey.end.set_result(settlement)
        self._note(settlement)

    async def _steps(self, journey: _Journey) -> Settlement:
        send = journey.send
        if send.action == "update":
            if journey.predecessor is not None:  # or an older state, tried again, would come after this one
                self._leave_place(journey)
                await asyncio.shield(journey.predecessor)
            return await self._update(journey, send.session_id or "")
        if send.action == "replace":
            session_id = send.session_id if send.state == "created" else None
            if journey.predecessor is not None:
                self._leave_place(journey)
                earlier = await asyncio.shield(journey.predecessor)
                if earlier is not None and earlier.outcome in (Outcome.CREATED, Outcome.CHANGED):
                    session_id = earlier.session_id
                    journey.is_change = earlier.outcome is Outcome.CHANGED
                else:
                    journey.was_ambiguous |= earlier is None or earlier.is_in_doubt
            if session_id is not None:
                return await self._update(journey, session_id)
        elif self._exists_share > MOSTLY:
            try:
                found = await self._find(journey, 0)
            except (TransientError, RejectedError):
                found = None  # the POST will tell as well
            if found is not None:
                return await self._adopt(journey, found)
            self._exists_share *= 0.98
        return await self._create(journey)

    async def _create(self, journey: _Journey) -> Settlement:
        custom_id, version_id = journey.send.custom_id, journey.version_id
        body = create_body(journey.send.session, custom_id, version_id=version_id, ledger_id=self._ledger_id)

        async def post() -> Created:
            return await self._client.create_session(body, custom_id=custom_id, version_id=version_id)

        while True:
            try:
                stored = await self._attempt(journey, post)
            except ExistsError as error:
                return await self._adopt_existing(journey, error)
            except (RejectedError, FatalError) as error:
                try:
                    is_version_gone = await self._is_version_gone(journey, error)
                except TransientError as trouble:
                    return await self._give_up(journey, Outcome.FAILED, trouble)
                if is_version_gone:
                    await self._go_to_the_version_of_this_run(journey)
                    return await self._create(journey)
                if isinstance(error, FatalError):
                    raise
                self._see_refusal(error)
                return await self._give_up(journey, Outcome.REJECTED, error)
            except TransientError as error:
                if self._is_used_up(journey):
                    return await self._give_up(journey, Outcome.FAILED, error)
                await self._wait(journey, error)
                continue
            self._exists_share *= 0.98
            return self._ended(journey, Outcome.CREATED, session_id=stored.id, status=201, is_applied=True)

    async def _is_version_gone(self, journey: _Journey, error: RejectedError | FatalError) -> bool:
        """Was the version that an earlier run sent this to (a product's newest, then) deleted since?

        One question serves all its sessions. Raises TransientError where nobody says.
        """
        version_id = journey.version_id
        if version_id == self._version_id or error.kind in ("unauthorized", "identity_broken"):
            return False
        if version_id not in self._gone:
            self._gone[version_id] = asyncio.create_task(self._ask_whether_gone(version_id))
        self._leave_place(journey)
        return await asyncio.shield(self._gone[version_id])

    async def _ask_whether_gone(self, version_id: str) -> bool:
        troubles = 0
        while True:
            if self.is_stopping:
                raise _StoppingError
            try:
                version = await ask(self._pace, self._clock, self._counts, lambda: self._client.get_version(version_id))
            except RejectedError as answer:
                return is_gone(answer)
            except TransientError:
                troubles += not self._pace.is_waiting  # nor does a session use up attempts while all wait
                if troubles >= self._config.max_attempts:
                    raise
                self._counts.retries += 1
                await self._clock.sleep(backoff_seconds(max(troubles, 1), self._chance))
            else:
                return version.deletedAt is not None

    async def _go_to_the_version_of_this_run(self, journey: _Journey) -> None:
        """What that version held is gone with it: nothing of this session is anywhere. The intent is written anew."""
        journey.send = journey.send._replace(version_id=None, state="pending")
        journey.version_id = self._version_id
        journey.was_ambiguous = False
        await self._in_ledger_thread(self._ledger.intend, [journey.send], self._version_id)

    async def _update(self, journey: _Journey, session_id: str) -> Settlement:
        send = journey.send
        body = update_body(send.session, ledger_id=self._ledger_id)
        while True:
            try:
                await self._attempt(journey, lambda: self._client.update_session(session_id, body))
            except RejectedError as error:
                # The session stands as it was; what was refused is the change.
                self._see_refusal(error)
                return self._ended(journey, Outcome.CHANGED, error=error, kind=UPDATE_REJECTED, session_id=session_id)
            except TransientError as error:
                if self._is_used_up(journey):
                    outcome = Outcome.UNKNOWN if journey.was_ambiguous else Outcome.FAILED
                    return self._ended(journey, outcome, error=error, session_id=session_id)
                await self._wait(journey, error)
                continue
            if send.action == "replace" and not journey.is_change:
                return self._ended(journey, Outcome.CREATED, session_id=session_id, status=200, is_applied=True)
            return self._ended(
                journey, Outcome.CHANGED, kind="updated", session_id=session_id, status=200, is_applied=True
            )

    async def _adopt_existing(self, journey: _Journey, exists: ExistsError) -> Settlement:
        self._exists_share = self._exists_share * 0.98 + 0.02
        try:
            found = await self._find(journey, self._config.lookup_seconds)
        except (TransientError, RejectedError) as error:
            return self._ended(journey, Outcome.UNKNOWN, error=error, kind="lookup_failed")
        if found is None:
            return self._ended(journey, Outcome.EXISTING, error=exists, kind="hidden_or_deleted", status=400)
        return await self._adopt(journey, found)

    async def _adopt(self, journey: _Journey, found: StoredSession) -> Settlement:
        match whose(found, journey.send.session, self._ledger_id, journey.send.grows_from):
            case Whose.OURS:
                return self._ended(journey, Outcome.CREATED, session_id=found.id, is_applied=True)
            case Whose.OURS_BEFORE:
                return await self._update(journey, found.id)
            case Whose.OURS_BUT_OTHER if journey.send.action == "replace" or self._config.on_change == "update":
                return await self._update(journey, found.id)
            case Whose.OURS_BUT_OTHER:
                return self._ended(journey, Outcome.CHANGED, kind="reported", session_id=found.id)
            case Whose.SAME_CONTENT:
                return self._ended(journey, Outcome.EXISTING, session_id=found.id)
            case Whose.FOREIGN:
                return self._ended(journey, Outcome.EXISTING, kind="other_payload", session_id=found.id)

    async def _give_up(self, journey: _Journey, outcome: Outcome, error: TraceImportError) -> Settlement:
        """Rejected or failed, unless an attempt may have been stored: then only a look-up can tell."""
        was_sent_before = journey.send.state in ("sent", "unknown")
        if not journey.was_ambiguous and not was_sent_before:
            return self._ended(journey, outcome, error=error)
        try:
            found = await self._find(journey, self._config.lookup_seconds)
        except (TransientError, RejectedError):
            return self._ended(journey, Outcome.UNKNOWN, error=error)
        if found is not None:
            return await self._adopt(journey, found)
        # What an earlier process sent has had the time to show; what this one sent may still come.
        return self._ended(journey, Outcome.UNKNOWN if journey.was_ambiguous else outcome, error=error)

    async def _find(self, journey: _Journey, patience_seconds: float) -> StoredSession | None:
        self._leave_place(journey)
        if self.is_stopping:
            raise _StoppingError
        return await self._lookups.find(journey.send.custom_id, journey.version_id, patience_seconds=patience_seconds)

    # --- one attempt --------------------------------------------------------------------------------------

    async def _attempt(self, journey: _Journey, request: Callable[[], Awaitable[T]]) -> T:
        if self.is_stopping:
            raise _StoppingError
        if not journey.has_place:
            await self._places.wait()
            journey.has_place = True
        async with self._pace as is_probe:
            started_at = self._clock.now()
            journey.attempts += 1
            journey.first_sent_at = journey.first_sent_at or iso(self._clock.wall())
            journey.is_sending = True
            try:
                result = await request()
            except RefusedError as error:
                journey.last_error = error
                journey.refusals += 1
                self._counts.throttled += 1
                self._pace.refused(error.retry_after, started_at)
                raise
            except TransientError as error:
                journey.last_error = error
                journey.used_attempts += not is_probe
                journey.was_ambiguous |= isinstance(error, AmbiguousError)
                self._pace.troubled(was_probe=is_probe, timed_out_from=started_at if error.kind == "timeout" else None)
                raise
            except (ExistsError, RejectedError, FatalError):
                self._pace.answered()
                raise
            except asyncio.CancelledError:
                journey.was_ambiguous = True  # it goes on behind our back
                self._pace.abandoned(was_probe=is_probe)
                raise
            finally:
                journey.is_sending = False
                if not is_probe:
                    journey.spent_seconds += self._clock.now() - started_at
            self._pace.answered(started_at)
        self._budget.accept()
        journey.latency_ms = (self._clock.now() - started_at) * 1000
        return result

    def _is_used_up(self, journey: _Journey) -> bool:
        return (
            journey.used_attempts >= self._config.max_attempts
            or journey.refusals >= MAX_REFUSALS
            or journey.spent_seconds >= self._config.record_deadline_seconds
        )

    async def _wait(self, journey: _Journey, error: TransientError) -> None:
        if self.is_stopping:
            raise _StoppingError
        self._counts.retries += 1
        if isinstance(error, RefusedError):
            return  # the pause is everybody's turn to wait
        self._leave_place(journey)
        seconds = backoff_seconds(max(journey.used_attempts, 1), self._chance)
        journey.spent_seconds += seconds
        await self._clock.sleep(seconds + self._budget.wait_seconds(self._clock.now()))

    def _leave_place(self, journey: _Journey) -> None:
        """Who waits for something else than its turn keeps nobody from theirs."""
        if journey.has_place:
            journey.has_place = False
            self._places.leave()

    # --- outcomes -----------------------------------------------------------------------------------------

    def _ended(
        self,
        journey: _Journey,
        outcome: Outcome,
        *,
        error: TraceImportError | None = None,
        kind: str | None = None,
        session_id: str | None = None,
        status: int | None = None,
        is_applied: bool = False,
    ) -> Settlement:
        return Settlement(
            send=journey.send,
            outcome=outcome,
            is_in_doubt=(
                journey.was_ambiguous
                or journey.send.state in ("sent", "unknown")
                # A replacement that did not end shares its row with an older state that may be in flight.
                or (journey.send.action == "replace" and outcome is Outcome.PENDING)
            ),
            is_applied=is_applied,
            session_id=session_id,
            version_id=journey.version_id if journey.send.action == "create" else None,
            http_status=getattr(error, "status", None) or status,
            attempts=journey.attempts,
            error_kind=kind or getattr(error, "kind", None),
            error=str(error) if error is not None else None,
            first_sent_at=journey.first_sent_at,
            settled_at=None if outcome is Outcome.PENDING else iso(self._clock.wall()),
            latency_ms=journey.latency_ms,
        )

    def _note(self, settlement: Settlement) -> None:
        outcome = settlement.outcome
        if settlement.is_refused:
            self._refusals.hold(settlement)
            return
        if outcome in (Outcome.CREATED, Outcome.EXISTING, Outcome.CHANGED):
            self._refusals.break_row()
        self._count([*self._refusals.take(), settlement])

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
            await self._in_ledger_thread(self._ledger.settle, batch, since, self._new_limit())

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
