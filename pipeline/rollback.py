"""What one run created is taken back: read, renamed, deleted, and open again for the next run.

Renamed first, because a deleted session may still hold its custom id (api-contract 11.3). Each step may be repeated:
the ledger notes that a session is meant to go before the first request that changes it, so that a rollback which was
killed goes on, and knows what it did itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any, NamedTuple

from pipeline.clock import Clock, SystemClock
from pipeline.config import Config, require_target
from pipeline.errors import ExistsError, FatalError, RejectedError, StoppedError, TransientError
from pipeline.ledger.database import opened_ledger, require_ledger
from pipeline.ledger.rollbacks import RollbackLedger
from pipeline.ledger.settled import Settled, find_run, found_per_second, last_sent_at, target_of
from pipeline.loop import in_a_loop_of_its_own
from pipeline.report.snapshot import Stop
from pipeline.target import Target, at_target
from pipeline.uploader.aside import aside_id
from pipeline.uploader.client import StoredSession, is_gone
from pipeline.uploader.comparison import mark_of
from pipeline.uploader.counts import Counts
from pipeline.uploader.refusals import Refusals

WORKERS = 32
"""Sessions under way at most; the gates decide how many requests are let through."""
LOOK_AGAIN_SECONDS = 1.0


class Fate(StrEnum):
    """What became of a session that the run created."""

    PLANNED = "planned"  # dry: it is there, it is ours, it would be deleted
    DELETED = "deleted"
    GONE = "gone"  # somebody else had deleted it
    NOT_OURS = "not_ours"  # it does not carry this ledger's mark (any more): not touched
    FAILED = "failed"  # the API would not say, rename or delete


class _TakenBack(NamedTuple):
    session: Settled
    fate: Fate
    detail: str | None


@dataclass(frozen=True, slots=True)
class Rollback:
    """What was done, or would be."""

    report: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """As the command would exit."""
        return int(self.report["exit_code"])


def rollback_run(
    config: Config, *, run_id: str, act: bool = False, stop: Stop | None = None, clock: Clock | None = None
) -> Rollback:
    """Delete the sessions that this run created and nobody has marked otherwise; without `act` only say which.

    Those among them that it did not come to fill or to settle are looked up.

    Raises UsageError where there is no such run; StoppedError where the ledger is in use. Whatever stops it later is
    told in the report: the same again goes on.
    """
    clock, stop = clock or SystemClock(), stop or Stop()
    config = require_target(config)
    require_ledger(config.state_dir)
    with opened_ledger(config.state_dir) as database:
        connection = database.connection
        target = target_of(connection, config.target_name or config.target.base_url, config.target.anchor)
        run = find_run(connection, target, run_id)
        ledger = RollbackLedger(database, target, run)
        shows_by = clock.now() + _lag_left(config, clock, last_sent_at(connection, run))
        rolling = _Rolling(ledger, database.ledger_id, run.id, act, shows_by)
        before = ledger.taken_back()
        counts = Counts()
        failure: FatalError | StoppedError | None = None
        try:
            in_a_loop_of_its_own(
                lambda: at_target(
                    config,
                    rolling.run,
                    counts=counts,
                    clock=clock,
                    stop=stop,
                    found_per_second=found_per_second(connection, target),
                ),
                stop,
            )
        except (FatalError, StoppedError) as error:
            failure = error
        in_doubt = ledger.in_doubt()
        fates = Counter(taken.fate for taken in rolling.taken)
        return Rollback(
            {
                "run_id": run.id,
                "target": config.target.base_url,
                "anchor": config.target.anchor,
                "dry": not act,
                "counts": {fate.value: fates[fate] for fate in Fate if fates[fate]},
                "taken_back_before": before,
                "left": sum(len(page) for page in ledger.created()),
                "in_doubt": in_doubt,
                "updated": ledger.updated(),
                "error": str(failure) if failure is not None else None,
                "requests": counts.requests,
                "retries": counts.retries,
                "throttled": counts.throttled,
                "exit_code": _exit_code(failure, stop, fates, in_doubt),
                "sessions": [
                    {
                        "custom_id": taken.session.custom_id,
                        "session_id": taken.session.session_id,
                        "outcome": taken.fate,
                        "detail": taken.detail,
                    }
                    for taken in rolling.taken
                ],
            }
        )


def deleted_id(custom_id: str, run_id: str, *, session_id: str | None = None) -> str:
    """The custom id that a session has when it is deleted: `<id>~deleted-<run>`; see aside_id."""
    return aside_id(custom_id, f"deleted-{run_id}", session_id=session_id)


def _lag_left(config: Config, clock: Clock, sent_at: str | None) -> float:
    """So long the API may still not show what the run created."""
    if sent_at is None:
        return 0.0
    age = (clock.wall() - datetime.fromisoformat(sent_at)).total_seconds()
    return min(max(config.upload.lookup_seconds - age, 0.0), config.upload.lookup_seconds)


def _exit_code(failure: FatalError | StoppedError | None, stop: Stop, fates: Counter[Fate], in_doubt: int) -> int:
    if isinstance(failure, FatalError):
        return 5
    if stop.signal_number is not None:
        return 128 + stop.signal_number
    if failure is not None:
        return 75
    return 4 if fates[Fate.NOT_OURS] or fates[Fate.FAILED] or in_doubt else 0


class _Rolling:
    """A rollback while it goes on. The ledger is written on the loop: two short commits a session, and no rush."""

    def __init__(self, ledger: RollbackLedger, ledger_id: str, run_id: str, act: bool, shows_by: float) -> None:
        self._ledger = ledger
        self._ledger_id = ledger_id
        self._run_id = run_id
        self._acts = act
        self._shows_by = shows_by
        """One moment for all sessions: what the run sent shows by then, or never."""
        self._refusals = Refusals()
        self.taken: list[_TakenBack] = []

    async def run(self, target: Target) -> None:
        """All sessions, some of them beside each other."""
        if self._acts:
            self._ledger.begin()
        sessions = chain.from_iterable(chain(self._ledger.created(), self._ledger.doubtful()))
        workers = [asyncio.create_task(self._work(target, sessions)) for _ in range(WORKERS)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, target: Target, sessions: Iterator[Settled]) -> None:
        for session in sessions:
            try:
                if session.session_id is None:
                    found_id = await self._find(target, session)
                    if found_id is None:
                        continue  # it stays in doubt
                    session = session._replace(session_id=found_id)  # noqa: PLW2901
                fate, detail = await self._take_back(target, session)
            except RejectedError as error:
                fate, detail = Fate.FAILED, str(error)
                too_many = self._refusals.see(error)
                if too_many is not None:
                    self.taken.append(_TakenBack(session, fate, detail))
                    raise too_many from error
            except (TransientError, ExistsError) as error:
                fate, detail = Fate.FAILED, str(error)
            else:
                self._refusals.break_row()
            self.taken.append(_TakenBack(session, fate, detail))

    async def _take_back(self, target: Target, session: Settled) -> tuple[Fate, str | None]:
        session_id = session.session_id or ""
        stored = await self._read(target, session, session_id)
        if stored is None:
            fate = Fate.DELETED if self._is_intended(session) else Fate.GONE
            if self._acts:
                self._ledger.end(session, "deleted" if fate is Fate.DELETED else "gone")
            return fate, None
        if mark_of(stored).get("ledger") != self._ledger_id:
            return Fate.NOT_OURS, "it does not carry this ledger's mark"
        if not self._acts:
            return Fate.PLANNED, None
        self._ledger.intend(session)
        try:
            await self._rename(target, session, stored)
            await target.ask(lambda: target.client.delete_session(session_id))
        except RejectedError as error:
            if not is_gone(error):  # else an attempt before had reached it
                raise
        self._ledger.end(session, "deleted")
        return Fate.DELETED, None

    async def _read(self, target: Target, session: Settled, session_id: str) -> StoredSession | None:
        """As it is now; None where it is deleted."""
        while True:
            is_late = target.clock.now() >= self._shows_by
            try:
                return await target.ask(lambda: target.client.get_session(session_id))
            except RejectedError as error:
                if not is_gone(error):
                    raise
            # What was meant to be deleted had been seen; the rest may be so new that it does not show yet.
            if is_late or self._is_intended(session):
                return None
            await target.clock.sleep(LOOK_AGAIN_SECONDS)

    async def _find(self, target: Target, session: Settled) -> str | None:
        """The one that the run created and did not come to settle, by its custom id; None where none of ours shows."""
        while True:
            is_late = target.clock.now() >= self._shows_by
            found = await target.ask(lambda: target.client.find_sessions([session.custom_id], session.version_id))
            for stored in found:
                if stored.customId == session.custom_id and mark_of(stored).get("ledger") == self._ledger_id:
                    return stored.id
            intended_id = self._ledger.intended_id(session)
            if found or intended_id is not None or is_late:
                return intended_id
            await target.clock.sleep(LOOK_AGAIN_SECONDS)

    def _is_intended(self, session: Settled) -> bool:
        """Did an earlier rollback that broke off mean to delete this very session?"""
        return session.session_id is not None and self._ledger.intended_id(session) == session.session_id

    async def _rename(self, target: Target, session: Settled, stored: StoredSession) -> None:
        wanted = deleted_id(session.custom_id, self._run_id)
        other = deleted_id(session.custom_id, self._run_id, session_id=stored.id)
        if stored.customId in (wanted, other):
            return
        try:
            await target.ask(lambda: target.client.rename_session(stored.id, wanted))
        except ExistsError:  # an earlier session of this id, which this run made and a rollback took
            await target.ask(lambda: target.client.rename_session(stored.id, other))
