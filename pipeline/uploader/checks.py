"""Are the turns there that the API said it had stored? Asked for many sessions with one question.

An API that ignores turns of closed sessions answers as if it had stored them (api-contract 2.5), and one that lies
is nothing that an import may trust. A group is asked about when it is full, or when nothing else would fill it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.clock import Clock
from pipeline.errors import RejectedError, TransientError
from pipeline.uploader.batches import CHECKED_TOGETHER, MAX_CHECKED_TURNS
from pipeline.uploader.client import QueryTooLongError
from pipeline.uploader.content_api import ContentApi, StoredTurn
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from pipeline.uploader.questions import ask_until_answered

LONGEST_WAIT_SECONDS = 10.0
"""For a group to fill."""
LOOK_EVERY_SECONDS = 0.05


@dataclass(slots=True, eq=False)
class _Question:
    session_id: str
    turn_ids: Sequence[str]
    asked_at: float
    answer: asyncio.Future[bool]


class Checks:
    """A queue of its own beside the uploads; `run` works until it is cancelled."""

    def __init__(
        self,
        api: ContentApi,
        pace: Pace,
        clock: Clock,
        chance: random.Random,
        counts: Counts,
        *,
        max_attempts: int,
        would_fill: Callable[[int], bool],
    ) -> None:
        self._api = api
        self._pace = pace
        self._clock = clock
        self._chance = chance
        self._counts = counts
        self._max_attempts = max_attempts
        self._would_fill = would_fill
        """Is there anything left that could join the so many who wait?"""
        self._most = CHECKED_TOGETHER
        """Sessions in one question; fewer, once a proxy has found one too long."""
        self._waiting: list[_Question] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def are_stored(self, session_id: str, turn_ids: Sequence[str]) -> bool:
        """Does the API show these turns of the session, and no others? False also where it would not say.

        Raises FatalError.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        question = _Question(session_id, turn_ids, self._clock.now(), answer)
        if len(turn_ids) > MAX_CHECKED_TURNS:
            self._ask([question])
        else:
            self._waiting.append(question)
            if len(self._waiting) >= self._most:
                self._ask_all()
        try:
            return await answer
        finally:
            if question in self._waiting:
                self._waiting.remove(question)

    async def run(self) -> None:
        """Ask about groups that will not fill."""
        try:
            while True:
                await self._clock.sleep(LOOK_EVERY_SECONDS)
                if not self._waiting:
                    continue
                waited = self._clock.now() - self._waiting[0].asked_at
                if waited >= LONGEST_WAIT_SECONDS or not self._would_fill(len(self._waiting)):
                    self._ask_all()
        finally:
            for task in self._asking:
                task.cancel()

    def _ask_all(self) -> None:
        group, self._waiting = self._waiting, []
        self._ask(group)

    def _ask(self, group: list[_Question]) -> None:
        task = asyncio.ensure_future(self._answer(group))
        self._asking.add(task)
        task.add_done_callback(partial(self._end, group))

    def _end(self, group: list[_Question], task: asyncio.Task[None]) -> None:
        """Whatever went wrong, a defect too, is told to those who wait for the answer."""
        self._asking.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        for question in group:
            if not question.answer.done():
                question.answer.set_exception(error)

    async def _ask_for_page(self, ids: Sequence[str], offset: int) -> list[StoredTurn]:
        page = await ask_until_answered(
            self._pace,
            self._clock,
            self._counts,
            self._chance,
            lambda: self._api.turns(ids, offset=offset),
            max_attempts=self._max_attempts,
            can_be_shorter=len(ids) > 1,
        )
        return page.rows

    async def _answer(self, group: list[_Question]) -> None:
        is_long = len(group[0].turn_ids) > MAX_CHECKED_TURNS
        offset = len(group[0].turn_ids) - 1 if is_long else 0
        count = 1 if is_long else sum(len(question.turn_ids) for question in group)
        ids = [question.session_id for question in group]
        stored: list[StoredTurn] = []
        try:
            while len(stored) < count:  # the API's highest limit is unknown
                page = await self._ask_for_page(ids, offset + len(stored))
                stored += page
                if not page:
                    break
        except QueryTooLongError:
            if len(group) > 1:
                self._most = half = len(group) // 2
                self._ask(group[:half])
                self._ask(group[half:])
                return
        except (TransientError, RejectedError):
            pass  # each of them will look for itself
        shown: dict[str, list[StoredTurn]] = {}
        for turn in stored:
            shown.setdefault(turn.session_id, []).append(turn)
        for question in group:
            found = shown.get(question.session_id, [])
            is_stored = len(found) == 1 if is_long else _is_in_order(found, question.turn_ids)
            if not question.answer.done():
                question.answer.set_result(is_stored)


def _is_in_order(found: Sequence[StoredTurn], turn_ids: Sequence[str]) -> bool:
    """Are these just the turns that are asked for, in this order, as far as the API tells one?"""
    places = {turn_id: place for place, turn_id in enumerate(turn_ids)}
    by_rank = sorted(found, key=lambda turn: (turn.rank, places.get(turn.id, len(places))))
    return [turn.id for turn in by_rank] == list(turn_ids)
