"""THE STORY: config → sources → records → traces → sessions → outcomes → manifest.

Read it from top to bottom; each line names the room where the work is done.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.clock import Clock, SystemClock
from pipeline.config import Config, require_target
from pipeline.deadline import Deadline, deadline_of
from pipeline.errors import FatalError, StoppedError, TraceImportError, UsageError
from pipeline.finding import find_sources
from pipeline.job import Job, open_job
from pipeline.ledger.database import Database, opened_ledger
from pipeline.ledger.runs import RunLedger
from pipeline.ledger.settling import Send
from pipeline.loop import in_a_loop_of_its_own
from pipeline.preflight import Preflight
from pipeline.prepare import prepare
from pipeline.report.snapshot import Snapshot, Stop
from pipeline.results import RunResult, end_killed_run, end_run, remove_scratch
from pipeline.uploader.client import opened_client
from pipeline.uploader.pacing import Pace
from pipeline.uploader.uploader import Uploader

WATCH_EVERY_SECONDS = 0.2


def run_import(
    config: Config,
    *,
    watch: Callable[[Snapshot], None] | None = None,
    stop: Stop | None = None,
    ledger_dir: Path | None = None,
    clock: Clock | None = None,
) -> RunResult:
    """Import everything that `config` names; returns when it is done, or stopped for a reason that the result tells.

    Works inside a running event loop (a notebook) and installs no signal handlers. Raises UsageError where the
    configuration or the input is wrong; StoppedError where the ledger is in use or cannot be written.
    """
    clock = clock or SystemClock()
    config = require_target(config)
    deadline = deadline_of(config.stop.at, config.stop.after, clock)
    found = find_sources(config)
    with opened_ledger(ledger_dir or config.state_dir) as database:
        remove_scratch(config.state_dir, RunLedger(database).folders_without_end())
        job = open_job(config, database, found, clock, results_dir=config.state_dir)
        end_killed_run(job, clock)
        stop = stop or Stop()
        failure = in_a_loop_of_its_own(_Import(job, database, clock, watch, stop, deadline).run, stop)
        return end_run(job, failure, stop, clock)


class _Import:
    """A run while it works: one thread reads and maps, one writes the ledger, the loop waits for the network."""

    def __init__(
        self,
        job: Job,
        database: Database,
        clock: Clock,
        watch: Callable[[Snapshot], None] | None,
        stop: Stop,
        deadline: Deadline | None,
    ) -> None:
        self._job = job
        self._config = job.config
        self._ledger_id = database.ledger_id
        self._clock = clock
        self._watch = watch
        self._stop = stop
        self._deadline = deadline
        self._time_up: StoppedError | None = None
        self._uploader: Uploader | None = None
        self._finished: dict[str, str] = {}
        self._snapshot = Snapshot({source.name: source.size for source in job.sources})
        self._reading_thread = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._ledger_thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def run(self) -> TraceImportError | None:
        """Send everything; returns why it stopped, where it did."""
        failure: TraceImportError | None
        works = (self._pass_signals_on(), self._keep_watch(), self._end_in_time())
        beside = [asyncio.create_task(work) for work in works]
        try:
            failure = await self._send_everything()
            is_end = failure is None and not self._stop.times
            mark_done = partial(self._job.mark_done, is_end=is_end)
            await self._in_ledger_thread(mark_done, self._finished)  # the watch may be at it, too
            if self._time_up is not None and failure is self._time_up and self._job.runs.is_complete(self._job.run):
                failure = None  # the last ones came back in time
        except (FatalError, StoppedError, UsageError) as error:
            failure = error
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self._reading_thread.shutdown()
            self._ledger_thread.shutdown()
        if self._uploader is None:  # what was asked before the first session is traffic too
            self._job.sessions.sending.settle([], self._snapshot.counts.traffic())
            if isinstance(failure, StoppedError):
                failure = self._time_up or failure
        return failure

    async def _send_everything(self) -> TraceImportError | None:
        config, clock, chance = self._config, self._clock, random.Random()
        async with opened_client(config, self._snapshot.counts) as client:
            pace = self._snapshot.pace = Pace(
                clock,
                chance,
                max_per_second=config.upload.max_per_second,
                max_at_once=config.upload.max_at_once,
                max_pause_seconds=config.upload.max_pause_seconds,
                found_per_second=self._job.runs.found_per_second(self._job.target),
            )
            client.on_quota = pace.hinted
            preflight = Preflight(client, pace, self._snapshot.counts, config, clock, chance, self._is_stopping)
            version_id = await preflight.resolve_version()
            sends_turns = config.extent != "session"
            closed_policy = await preflight.closed_policy(version_id) if sends_turns else None
            self._uploader = Uploader(
                client,
                pace,
                self._job.sessions.sending,
                self._snapshot.counts,
                in_ledger_thread=self._in_ledger_thread,
                ledger_id=self._ledger_id,
                version_id=version_id,
                run_id=self._job.run.id,
                closed_policy=closed_policy,
                config=config.upload,
                clock=clock,
                chance=chance,
            )
            await self._uploader.upload(self._sends())
        return self._uploader.failure

    async def _sends(self) -> AsyncIterator[Sequence[Send]]:
        """Records are read, mapped and admitted to the ledger, batch by batch; what is to be sent comes out."""
        batches = prepare(self._job, scratch_dir=self._job.run.folder, is_stopping=self._is_stopping)
        loop = asyncio.get_running_loop()
        while (batch := await loop.run_in_executor(self._reading_thread, next, batches, None)) is not None:
            sends = await self._in_ledger_thread(self._job.sessions.admit, batch)
            self._finished |= batch.finished
            self._snapshot.note(batch, len(sends))
            yield sends

    async def _in_ledger_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._ledger_thread, work, *arguments)

    def _is_stopping(self) -> bool:
        is_asked_to = self._stop.times > 0 or self._time_up is not None
        return is_asked_to or (self._uploader is not None and self._uploader.is_stopping)

    async def _pass_signals_on(self) -> None:
        passed_on = 0
        while True:
            await self._clock.sleep(WATCH_EVERY_SECONDS)
            if self._uploader is not None and self._stop.times > passed_on:
                passed_on = self._stop.times
                self._uploader.stop(at_once=passed_on > 1)

    async def _end_in_time(self) -> None:
        """Shortly before the deadline, send nothing new; at the deadline, wait no longer for what is on the wire."""
        if self._deadline is None:
            return
        read_before = self._job.runs.records_read(self._job.run)
        merges = self._config.source.session_per == "conversation"
        records = 0
        while self._deadline.seconds_to_send(records, merges=merges) > 0:
            await self._clock.sleep(WATCH_EVERY_SECONDS)
            read = sum(self._snapshot.records_read.values())
            records = read and read_before + read
        self._time_up = StoppedError(f"The time was up ({self._deadline.words}); run again to go on")
        while self._uploader is None:  # the preflight sees it, too
            await self._clock.sleep(WATCH_EVERY_SECONDS)
        self._uploader.stop(self._time_up)
        await self._clock.sleep(max(self._deadline.seconds_left(), 0))
        self._uploader.stop(self._time_up, at_once=True)

    async def _keep_watch(self) -> None:
        """Tell whoever watches, and note files as done on the way. A watcher that fails is not told again."""
        while True:
            await self._clock.sleep(WATCH_EVERY_SECONDS)
            if self._finished:
                await self._in_ledger_thread(self._job.mark_done, self._finished)
            if self._watch is not None:
                self._watch(self._snapshot)
