"""The whole uploader over a real ledger, in virtual time: a night is one process, which may be killed or stopped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pipeline.config import UploadConfig
from pipeline.errors import TraceImportError
from pipeline.ledger.admission import Policy
from pipeline.ledger.database import Database, open_database, prepare_state_dir
from pipeline.ledger.runs import RunLedger, RunRow, Totals
from pipeline.ledger.sessions import Batch, Progress, SessionLedger
from pipeline.ledger.settling import Send
from pipeline.models import SessionImport
from pipeline.uploader.client import Client
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from pipeline.uploader.transport import Transport
from pipeline.uploader.uploader import Uploader
from tests.fake_clock import FakeClock, in_virtual_time
from tests.unit.factories import SOURCE

VERSION = "ver_1"
CONTINUED = (75, 130, 143)


@dataclass
class Nights:
    """One job on one state directory, night after night."""

    state_dir: Path
    clock: FakeClock
    server: Transport
    seed: int = 0
    upload: dict[str, Any] = field(default_factory=dict)
    version_id: str = VERSION
    """What this night's run resolved its target to."""
    reading_seconds: float = 0.0
    """So long it takes to read the next batch."""
    run: RunRow | None = None
    ledger_id: str = ""
    counts: Counts = field(default_factory=Counts)
    failure: TraceImportError | None = None

    def night(
        self,
        sessions: Sequence[SessionImport],
        *,
        killed_after: float | None = None,
        stopped_after: float | None = None,
        batch_size: int = 20,
        meanwhile: Callable[[Uploader, FakeClock], Any] | None = None,
    ) -> Totals:
        """Read all of it and send what is to be sent; `killed_after` seconds nothing reaches the ledger any more."""
        database = open_fast(self.state_dir)
        try:
            story = _Night(self, database, batch_size, killed_after, stopped_after, meanwhile)
            in_virtual_time(lambda clock: story.play(sessions), self.clock)
            return story.runs.totals(story.run)
        finally:
            database.close()

    def rows(self) -> dict[str, tuple[str, str | None, str, str | None]]:
        """The manifest of the last run: custom id → outcome, session id, payload hash, error kind."""
        assert self.run is not None
        database = open_fast(self.state_dir)
        try:
            query = "SELECT custom_id, outcome, session_id, payload_sha256, error_kind FROM entry WHERE run = ?"
            rows = database.connection.execute(query, (self.run.number,)).fetchall()
        finally:
            database.close()
        assert len({row[0] for row in rows}) == len(rows)
        return {row[0]: row[1:] for row in rows}


class _Night:
    def __init__(
        self,
        nights: Nights,
        database: Database,
        batch_size: int,
        killed_after: float | None,
        stopped_after: float | None,
        meanwhile: Callable[[Uploader, FakeClock], Any] | None,
    ) -> None:
        self.nights = nights
        self.clock = nights.clock
        self.batch_size = batch_size
        self.killed_after = killed_after
        self.stopped_after = stopped_after
        self.meanwhile = meanwhile
        self.is_dead = False
        self.runs = RunLedger(database)
        target = self.runs.target("https://api.test", f"version:{VERSION}")
        self.config = UploadConfig(**nights.upload)
        self.run = begin_or_go_on(self.runs, target, nights.state_dir)
        nights.run = self.run
        nights.ledger_id = database.ledger_id
        self.ledger_id = database.ledger_id
        paths = self.runs.path_ids([SOURCE])
        self.runs.add_sources(self.run, [(path, "f", "langfuse", "reading") for path in paths.values()])
        self.ledger = SessionLedger(
            database,
            run=self.run.number,
            target=target,
            paths=paths,
            unchanged_paths=[],
            policy=Policy(self.config.on_change, self.config.retry_rejected),
            keep_records=True,
        )

    async def play(self, sessions: Sequence[SessionImport]) -> None:
        chance = random.Random(self.nights.seed)
        counts = self.nights.counts = Counts()
        client = Client(self.nights.server, SecretStr("gsk_secret"), counts)
        pace = Pace(
            self.clock,
            chance,
            max_per_second=self.config.max_per_second,
            max_at_once=self.config.max_at_once,
            max_pause_seconds=self.config.max_pause_seconds,
        )
        uploader = Uploader(
            client,
            pace,
            self.ledger.sending,
            counts,
            in_ledger_thread=self.in_ledger_thread,
            ledger_id=self.ledger_id,
            version_id=self.nights.version_id,
            config=self.config,
            clock=self.clock,
            chance=chance,
        )
        uploading = asyncio.create_task(uploader.upload(self.sends(sessions, uploader)))
        others = [asyncio.create_task(self.end_it(uploader, uploading))]
        if self.meanwhile is not None:
            others.append(asyncio.create_task(self.meanwhile(uploader, self.clock)))
        try:
            await uploading
        except asyncio.CancelledError:
            assert self.is_dead
        for other in others:
            other.cancel()
        if not self.is_dead:
            self.nights.failure = uploader.failure
            assert uploader.held == 0 or uploader.is_stopping
            exit_code = 75 if uploader.is_stopping else 0
            self.runs.finish(self.run, exit_code=exit_code, finished_at="now", peak_rss_bytes=0)

    async def sends(self, sessions: Sequence[SessionImport], uploader: Uploader) -> AsyncIterator[Sequence[Send]]:
        for start in range(0, len(sessions), self.batch_size):
            if start and self.nights.reading_seconds:
                await self.clock.sleep(self.nights.reading_seconds)
            if uploader.is_stopping:
                return
            part = sessions[start : start + self.batch_size]
            progress = {SOURCE: Progress(start + len(part), 0)}
            yield await self.in_ledger_thread(self.ledger.admit, Batch(part, [], [], progress, {}))

    async def in_ledger_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        await asyncio.sleep(0)
        if self.is_dead:
            await asyncio.Event().wait()
        done = work(*arguments)
        await asyncio.sleep(0)
        return done

    async def end_it(self, uploader: Uploader, uploading: asyncio.Task[None]) -> None:
        if self.killed_after is not None:
            await self.clock.sleep(self.killed_after)
            self.is_dead = True
            uploading.cancel()
        elif self.stopped_after is not None:
            await self.clock.sleep(self.stopped_after)
            uploader.stop()


def open_fast(state_dir: Path) -> Database:
    """A real ledger in a real file; it need not survive a power cut."""
    prepare_state_dir(state_dir)
    database = open_database(state_dir)
    database.connection.execute("PRAGMA synchronous = OFF")
    return database


def begin_or_go_on(runs: RunLedger, target: int, folder: Path, mapping_sha256: str = "m") -> RunRow:
    """A run, as job.py would open it where the input is what it was."""
    interrupted = runs.find_interrupted(target, "s", mapping_sha256)
    if interrupted is not None:
        return runs.go_on(interrupted, folder=folder, config_sha256="c")
    number = runs._one("SELECT coalesce(max(number), 0) + 1 FROM run", ())[0]
    return runs.begin(
        run_id=f"run-{number}",
        folder=folder,
        target=target,
        sources_key="s",
        mapping_sha256=mapping_sha256,
        config_sha256="c",
        started_at="now",
    )
