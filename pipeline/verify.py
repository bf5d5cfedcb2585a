"""The ledger against the server: is everything there that the ledger says, once, ours, and as it was sent?

Every session is looked up, thirty a request, and the turns of those that an import gave some are read, twenty sessions
a request. What differs at first sight is looked at a second time, patiently: the API may show a write late, and a run
that works changes both sides meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.clock import Clock, SystemClock, iso
from pipeline.config import Config, require_target
from pipeline.errors import RejectedError, StoppedError, TransientError
from pipeline.holdings import groups_of, read_held
from pipeline.ledger.database import Database, ledger_id_of, opened_for_reading, opened_ledger, require_ledger
from pipeline.ledger.overview import holder_of
from pipeline.ledger.reopening import Reopening
from pipeline.ledger.runs import RunRow
from pipeline.ledger.settled import (
    Settled,
    find_run,
    found_per_second,
    last_settled_at,
    open_sessions,
    settled_session,
    settled_sessions,
    target_of,
)
from pipeline.loop import in_a_loop_of_its_own
from pipeline.report.snapshot import Stop
from pipeline.target import Target, at_target
from pipeline.uploader.client import StoredSession, is_gone
from pipeline.uploader.comparison import (
    Difference,
    Finding,
    Held,
    compare,
    compare_held,
    has_known_content,
    has_known_turns,
)
from pipeline.uploader.content_api import ContentApi
from pipeline.uploader.counts import Counts
from pipeline.uploader.lookups import Lookups

WORKERS = 8
"""Groups of look-ups in flight at most; the gates decide how many are let through."""
READ_AT_ONCE = 8
"""Groups of sessions whose turns are being read at most: they are held in memory."""
SUSPECTS_AT_ONCE = 2_000
LOOK_AGAIN_SECONDS = 1.0
SHORTEST_PATIENCE_SECONDS = 2.0
"""One empty answer proves nothing, however long ago it was written."""
SETTLING_SECONDS = 1.0
"""A run that works writes down within this time what it has changed on the server."""
_COMPARED = frozenset(
    [Difference.DIFFERENT, Difference.ENDS_OTHERWISE, Difference.TURNS_DIFFER, Difference.SPANS_DIFFER]
)
"""What is only found where the content was looked into."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and what differs."""

    report: dict[str, Any]
    """The content of verify.json."""
    file: Path

    @property
    def exit_code(self) -> int:
        """As the command would exit."""
        return int(self.report["exit_code"])


def verify_import(
    config: Config,
    *,
    run_id: str | None = None,
    everything: bool = False,
    sample: int | None = None,
    reopen_missing: bool = False,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> Verification:
    """Compare one run (the last one, where none is named) or everything on this target with the server.

    Only reads, also while a run works; `reopen_missing` locks the ledger and opens sessions that are gone. `sample`:
    look into the contents of so many sessions only, always the same ones. Raises what a run raises before it begins.
    """
    clock, stop = clock or SystemClock(), stop or Stop()
    config = require_target(config)
    require_ledger(config.state_dir)
    with contextlib.ExitStack() as stack:
        database: Database | None = None
        if reopen_missing:
            database = stack.enter_context(opened_ledger(config.state_dir))
            connection = database.connection
        else:
            connection = stack.enter_context(opened_for_reading(config.state_dir))
        target = target_of(connection, config.target_name or config.target.base_url, config.target.anchor)
        run = None if everything else find_run(connection, target, run_id)
        comparing = _Comparing(config, connection, target, run, sample, clock)
        started_at = iso(clock.wall())
        in_a_loop_of_its_own(lambda: comparing.run(stop), stop)
        compared = comparing.report()  # before anything is opened
        missing = [found.session.row for found in comparing.findings if found.kind is Difference.MISSING]
        if database is not None and missing:
            reopening = Reopening(database, target)
            reopening.choose_rows(missing)
            with database.transaction():
                for row in missing:
                    reopening.open(row)
        report = {
            "run_id": run.id if run is not None else None,
            "target": config.target.base_url,
            "anchor": config.target.anchor,
            "started_at": started_at,
            "finished_at": iso(clock.wall()),
            **compared,
            "reopened": len(missing) if reopen_missing else 0,
        }
        return Verification(report, _written(run.folder if run is not None else config.state_dir, report))


def _written(folder: Path, report: dict[str, Any]) -> Path:
    from pipeline.manifest import write_verification  # noqa: PLC0415  (pyarrow is heavy)

    try:
        return write_verification(folder, report)
    except OSError as error:
        raise StoppedError(f"{folder}: verify.json cannot be written ({error.strerror}); make room") from error


class _Comparing:
    """A comparison while it goes on."""

    def __init__(
        self,
        config: Config,
        connection: sqlite3.Connection,
        target: int,
        run: RunRow | None,
        sample: int | None,
        clock: Clock,
    ) -> None:
        self._config = config
        self._connection = connection
        self._ledger_id = ledger_id_of(connection)
        self._target = target
        self._run = run
        self._clock = clock
        self._counts = Counts()
        self._highest_hash = self._highest_of_sample(sample)
        self._sessions = 0
        self._contents = 0
        self._hidden = 0
        self._others = 0
        self._turns = 0
        self._changing = 0
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._api: ContentApi | None = None
        self.findings: list[Finding] = []

    async def run(self, stop: Stop) -> None:
        """To the end, or raises why it did not come there."""
        await at_target(
            self._config,
            self._compare_all,
            counts=self._counts,
            clock=self._clock,
            stop=stop,
            found_per_second=found_per_second(self._connection, self._target),
        )

    def report(self) -> dict[str, Any]:
        """What it came to."""
        kinds = Counter(found.kind for found in self.findings)
        unanswered = kinds.pop(Difference.UNANSWERED, 0)
        return {
            "sessions": self._sessions,
            "as_the_ledger_says": self._sessions - len(self.findings),
            "contents_compared": self._contents,
            "turns": self._turns,
            "changing": self._changing,
            "hidden": self._hidden,
            "others": self._others,
            "not_settled": open_sessions(self._connection, self._target, self._run),
            "differences": {kind.value: kinds[kind] for kind in Difference if kind in kinds},
            "unanswered": unanswered,
            "requests": self._counts.requests,
            "retries": self._counts.retries,
            "throttled": self._counts.throttled,
            "exit_code": 75 if unanswered else 4 if kinds else 0,
            "findings": [
                {
                    "kind": found.kind,
                    "custom_id": found.session.custom_id,
                    "session_id": found.session.session_id,
                    "version_id": found.session.version_id,
                    "detail": found.detail,
                }
                for found in self.findings
            ],
        }

    # --- which --------------------------------------------------------------------------------------------

    def _pages(self) -> Iterator[list[Settled]]:
        return settled_sessions(self._connection, self._target, self._run)

    def _highest_of_sample(self, sample: int | None) -> int | None:
        """Contents are looked into up to this hash of a custom id; None: into all."""
        if sample is None:
            return None
        hashes = (_hash(session) for page in self._pages() for session in page if has_known_content(session))
        return max(heapq.nsmallest(sample, hashes), default=-1)

    def _looks_into(self, session: Settled) -> bool:
        is_chosen = self._highest_hash is None or _hash(session) <= self._highest_hash
        return is_chosen and has_known_content(session)

    # --- comparing ----------------------------------------------------------------------------------------

    async def _compare_all(self, target: Target) -> None:
        lookups = Lookups(target.client, target.pace, target.clock, target.chance, target.counts)
        workers = [asyncio.create_task(lookups.run()) for _ in range(WORKERS)]
        try:
            suspects: list[Settled] = []
            for page in self._pages():
                suspects += await self._first_look(target, lookups, page)
            for start in range(0, len(suspects), SUSPECTS_AT_ONCE):
                some = suspects[start : start + SUSPECTS_AT_ONCE]
                patience = self._patience_seconds()
                looked = await asyncio.gather(*(self._second_look(target, lookups, one, patience) for one in some))
                self.findings += [finding for finding in looked if finding is not None]
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _first_look(self, target: Target, lookups: Lookups, page: Sequence[Settled]) -> list[Settled]:
        """Those that are not as the ledger says."""
        self._sessions += len(page)
        looked_up = await asyncio.gather(*(self._look_up(lookups, session) for session in page))
        found = {session.row: one for session, one in zip(page, looked_up, strict=True) if one is not None}
        there = [session for session in page if session.row in found]
        groups = list(groups_of(session for session in there if has_known_turns(session)))
        read = await asyncio.gather(*(self._differing(target, group) for group in groups))
        differing = {session.row for group, rows in zip(groups, read, strict=True) for session in rows}
        for session in there:
            if session.row not in differing:
                self._count(session, found[session.row])
        return [session for session in page if session.row not in found or session.row in differing]

    async def _look_up(self, lookups: Lookups, session: Settled) -> Sequence[StoredSession] | None:
        """What is there under its custom id; None where that is not as the ledger says."""
        try:
            found = await lookups.find_all(session.custom_id, session.version_id, patience_seconds=0)
        except (TransientError, RejectedError):
            return None
        is_fine = compare(session, found, self._ledger_id, contents=self._looks_into(session)) is None
        return found if is_fine else None

    async def _second_look(
        self, target: Target, lookups: Lookups, suspect: Settled, patience_seconds: float
    ) -> Finding | None:
        """The same, patiently; what the ledger says by now counts, and not what it said when we began."""
        session = settled_session(self._connection, suspect.row)
        while session is not None:
            try:
                found = await self._find_patiently(target, lookups, session, patience_seconds)
                finding = compare(session, found, self._ledger_id, contents=self._looks_into(session))
                if finding is None and has_known_turns(session):
                    finding = await self._compare_held_patiently(target, session, patience_seconds)
            except (TransientError, RejectedError) as error:
                return Finding(Difference.UNANSWERED, session, str(error))
            if finding is None:
                self._count(session, found)
                return None
            if self._run_works():
                await self._clock.sleep(SETTLING_SECONDS)
            now = settled_session(self._connection, suspect.row)
            if now == session:
                self._count(session, found, finding)
                return finding
            session = now
        self._sessions -= 1  # the run that works has opened it
        return None

    def _count(self, session: Settled, found: Sequence[StoredSession], finding: Finding | None = None) -> None:
        came_to_contents = found and (finding is None or finding.kind in _COMPARED)
        self._contents += bool(came_to_contents) and self._looks_into(session)
        self._hidden += not found and session.session_id is None
        self._others += session.state == "existing" and session.extent is None
        self._changing += bool(session.is_changing)
        if finding is None and has_known_turns(session):
            self._turns += session.turns

    async def _find_patiently(
        self, target: Target, lookups: Lookups, session: Settled, patience_seconds: float
    ) -> Sequence[StoredSession]:
        found = await lookups.find_all(session.custom_id, session.version_id, patience_seconds=patience_seconds)
        session_id = session.session_id
        if found or session_id is None:
            return found
        try:  # under its own id: somebody may have given it another custom id
            return [await target.ask(lambda: target.client.get_session(session_id))]
        except RejectedError as error:
            if is_gone(error):
                return []
            raise

    # --- turns and spans ----------------------------------------------------------------------------------

    async def _differing(self, target: Target, group: Sequence[Settled]) -> list[Settled]:
        """Those of the group whose turns or spans are not as the ledger says, or could not be read."""
        try:
            held = await self._read(target, group)
        except (TransientError, RejectedError):
            return list(group)
        return [session for session in group if self._compare_held(session, held) is not None]

    async def _compare_held_patiently(
        self, target: Target, session: Settled, patience_seconds: float
    ) -> Finding | None:
        until = self._clock.now() + patience_seconds
        while True:
            finding = self._compare_held(session, await self._read(target, [session]))
            if finding is None or self._clock.now() >= until:
                return finding
            await self._clock.sleep(LOOK_AGAIN_SECONDS)

    def _compare_held(self, session: Settled, held: Mapping[str, Held]) -> Finding | None:
        return compare_held(session, held[session.session_id or ""], contents=self._looks_into(session))

    async def _read(self, target: Target, sessions: Sequence[Settled]) -> Mapping[str, Held]:
        async with self._reading:
            self._api = self._api or ContentApi(target.client)
            return await read_held(target, self._api, sessions, self._counts_spans)

    def _counts_spans(self, session: Settled) -> bool:
        return session.spans is not None and self._looks_into(session)

    # --- how long -----------------------------------------------------------------------------------------

    def _patience_seconds(self) -> float:
        """What was written long ago must be visible by now."""
        settled_at = last_settled_at(self._connection, self._run)
        longest = self._config.upload.lookup_seconds
        if settled_at is None:
            return SHORTEST_PATIENCE_SECONDS
        age = (self._clock.wall() - datetime.fromisoformat(settled_at)).total_seconds()
        return max(SHORTEST_PATIENCE_SECONDS, min(longest, longest - age))

    def _run_works(self) -> bool:
        holder = holder_of(self._config.state_dir)
        return holder is not None and holder.pid != os.getpid()


def _hash(session: Settled) -> int:
    return int.from_bytes(hashlib.sha256(session.custom_id.encode()).digest()[:8])
