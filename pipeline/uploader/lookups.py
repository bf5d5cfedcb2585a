"""Look-ups: which sessions does the API show under these custom ids? Asked in groups, patiently, holding no slot."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.errors import FatalError, RefusedError, RejectedError, TraceImportError, TransientError
from pipeline.uploader import breaker
from pipeline.uploader.client import (
    MAX_IDS_PER_QUERY,
    MAX_QUERY_BYTES,
    Client,
    QueryTooLongError,
    StoredSession,
    find_query,
)
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from pipeline.uploader.retry import backoff_seconds

GATHER_SECONDS = 0.02
"""How long a group may gather before it is asked for."""
MOST_TROUBLES = breaker.THRESHOLD + 2
"""Look-ups of one session that failed: where nothing else works either, the breaker opens before."""


@dataclass(slots=True, eq=False)
class _Question:
    custom_id: str
    version_id: str
    asked_at: float
    patience_seconds: float
    answer: asyncio.Future[list[StoredSession]]
    times: int = 0
    troubles: int = 0
    first_empty_at: float | None = None
    """Patience runs from here: before, nobody had looked."""
    is_missed: bool = False
    """It was looked for and not found, and is asked for again: whoever watches is told."""
    goes_alone: bool = False
    """It was in a group that was refused: one of them spoils the others."""


class Lookups:
    """A queue of its own beside the uploads. `run` works until it is cancelled; several may, and end together."""

    def __init__(self, client: Client, pace: Pace, clock: Clock, chance: random.Random, counts: Counts) -> None:
        self._client = client
        self._pace = pace
        self._clock = clock
        self._chance = chance
        self._questions: asyncio.Queue[_Question] = asyncio.Queue()
        self._waiting: set[asyncio.Task[None]] = set()
        self._group_size = MAX_IDS_PER_QUERY
        self._counts = counts

    async def find(self, custom_id: str, version_id: str, *, patience_seconds: float) -> StoredSession | None:
        """The session under this id, or None where the API does not show it for so long; see find_all."""
        found = await self.find_all(custom_id, version_id, patience_seconds=patience_seconds)
        return found[0] if found else None

    async def find_all(self, custom_id: str, version_id: str, *, patience_seconds: float) -> list[StoredSession]:
        """All sessions under this id: where it has several, the one made first, that all else refers to, comes first.

        A write may become visible late, so an empty answer is asked again until the patience ends. Raises what
        the client raised where the API would not answer; with patience, that takes more than an outage.
        """
        future: asyncio.Future[list[StoredSession]] = asyncio.get_running_loop().create_future()
        question = _Question(custom_id, version_id, self._clock.now(), patience_seconds, future)
        self._questions.put_nowait(question)
        try:
            return await future
        finally:
            self._counts.looked_for -= question.is_missed

    async def run(self) -> None:
        """Ask, group by group."""
        try:
            while True:
                group = [await self._questions.get()]
                await self._clock.sleep(GATHER_SECONDS)
                self._gather(group)
                await self._ask(group)
        finally:
            for task in self._waiting:
                task.cancel()

    def _gather(self, group: list[_Question]) -> None:
        version_id = group[0].version_id
        others = []
        while len(group) < self._group_size and not group[0].goes_alone and not self._questions.empty():
            item = self._questions.get_nowait()
            ids = [question.custom_id for question in [*group, item]]
            is_alike = item.version_id == version_id and not item.goes_alone
            if is_alike and len(find_query(ids, version_id)) <= MAX_QUERY_BYTES:
                group.append(item)
            else:
                others.append(item)
                break
        for item in others:
            self._questions.put_nowait(item)

    async def _ask(self, group: list[_Question]) -> None:
        version_id = group[0].version_id
        async with self._pace.turn() as is_probe:
            started = self._clock.now()
            try:
                found = await self._client.find_sessions([question.custom_id for question in group], version_id)
            except RefusedError as error:
                self._counts.throttled += 1
                self._pace.refused(error.retry_after, started)
                self._ask_again(group, counts=False)
            except QueryTooLongError as error:
                self._pace.looked_up()
                if len(group) > 1:
                    self._group_size = max(1, len(group) // 2)
                    self._ask_again(group, counts=False)
                else:  # it cannot be shorter: the proxy may have another reason, which may pass
                    self._trouble(group, error, is_probe=is_probe)
            except TransientError as error:
                self._pace.troubled(was_probe=is_probe, is_lookup=True)
                self._trouble(group, error, is_probe=is_probe)
            except RejectedError as error:
                self._pace.looked_up()
                if len(group) > 1:
                    for question in group:
                        question.goes_alone = True
                    self._ask_again(group, counts=False)
                else:
                    self._fail(group, error)
            except FatalError as error:
                self._pace.looked_up()
                self._fail(group, error)
            else:
                self._pace.looked_up(is_progress=bool(found))
                self._group_size = min(MAX_IDS_PER_QUERY, 2 * self._group_size)
                self._answer(group, found)

    def _answer(self, group: list[_Question], found: list[StoredSession]) -> None:
        shown: dict[str | None, list[StoredSession]] = {}
        for session in sorted(found, key=lambda item: item.createdAt or ""):
            shown.setdefault(session.customId, []).append(session)
        missing = []
        for question in group:
            if question.answer.done():
                continue
            if question.custom_id in shown:
                question.answer.set_result(shown[question.custom_id])
                continue
            if question.first_empty_at is None:
                question.first_empty_at = self._clock.now()
            if self._patience_left(question) <= 0:
                question.answer.set_result([])
            else:
                self._counts.looked_for += not question.is_missed
                question.is_missed = True
                missing.append(question)
        self._ask_again(missing, counts=True)

    def _ask_again(self, group: list[_Question], *, counts: bool) -> None:
        for question in group:
            if question.answer.done():
                continue
            question.times += counts
            task = asyncio.ensure_future(self._later(question))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _later(self, question: _Question) -> None:
        if question.times:
            wait = 0.2 + backoff_seconds(min(question.times, 5), self._chance)
            await self._clock.sleep(min(wait, max(self._patience_left(question), 0.2)))
        self._questions.put_nowait(question)

    def _trouble(self, group: list[_Question], error: TransientError, *, is_probe: bool) -> None:
        for question in group:
            question.troubles += not is_probe
        patient = [question for question in group if self._bears(question)]
        self._ask_again(patient, counts=True)
        self._fail([question for question in group if question not in patient], error)

    def _bears(self, question: _Question) -> bool:
        """May this question be asked again after trouble? Only empty answers use up its patience."""
        waited = self._clock.now() - question.asked_at
        return question.patience_seconds > 0 and (
            waited < question.patience_seconds or question.troubles < MOST_TROUBLES
        )

    def _fail(self, group: list[_Question], error: TraceImportError) -> None:
        for question in group:
            if not question.answer.done():
                question.answer.set_exception(error)

    def _patience_left(self, question: _Question) -> float:
        since = self._clock.now() if question.first_empty_at is None else question.first_empty_at
        return question.patience_seconds - (self._clock.now() - since)
