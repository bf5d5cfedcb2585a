"""THE STORY: config → sources → records → traces → sessions → outcomes → manifest.

Read it from top to bottom; each line names the room where the work is done.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clock import Clock, SystemClock, iso
from pipeline.config import Config, require_target
from pipeline.errors import FatalError, StoppedError, TraceImportError, UsageError
from pipeline.job import KILLED_EXIT_CODE, Job, open_job
from pipeline.ledger.database import Database, opened_ledger
from pipeline.ledger.runs import RunRow
from pipeline.ledger.sessions import Send
from pipeline.plan import find_files
from pipeline.preflight import Preflight
from pipeline.prepare import prepare
from pipeline.report.snapshot import Snapshot, Stop
from pipeline.report.summary import exit_code_of, peak_rss_bytes, summarise
from pipeline.uploader.client import Client
from pipeline.uploader.pacing import Pace
from pipeline.uploader.transport import open_transport
from pipeline.uploader.uploader import Uploader

if TYPE_CHECKING:
    import pandas as pd

Watch = Callable[[Snapshot], None]
WATCH_EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended; the files are in `folder`."""

    summary: dict[str, Any]
    folder: Path

    @property
    def exit_code(self) -> int:
        """As the command would exit."""
        return int(self.summary["exit_code"])

    def manifest(self) -> pd.DataFrame:
        """One row per session (columns: pipeline.manifest.COLUMNS)."""
        import pandas as pd  # noqa: PLC0415  (heavy; loaded when somebody asks)

        return pd.read_parquet(self.folder / "manifest.parquet")


def run_import(
    config: Config, *, watch: Watch | None = None, stop: Stop | None = None, ledger_dir: Path | None = None
) -> RunResult:
    """Import everything that `config` names; returns when it is done, or stopped for a reason that the result tells.

    Works inside a running event loop (a notebook) and installs no signal handlers. Raises UsageError before
    anything was begun; StoppedError where the ledger is in use or cannot be written.
    """
    config = require_target(config)
    files = find_files(config)
    with opened_ledger(ledger_dir or config.state_dir) as database:
        job = open_job(config, database, files, SystemClock(), results_dir=config.state_dir)
        if job.killed is not None:
            _write_results(job, job.killed, KILLED_EXIT_CODE, error="killed; its files changed before it could go on")
        return _in_a_loop_of_its_own(lambda: _Import(job, database, watch, stop or Stop()).run())


class _Import:
    """One run while it works."""

    def __init__(self, job: Job, database: Database, watch: Watch | None, stop: Stop) -> None:
        self._job = job
        self._config = job.config
        self._ledger_id = database.ledger_id
        self._watch = watch
        self._stop = stop
        self._clock: Clock = SystemClock()
        self._chance = random.Random()
        self._finished: dict[str, str] = {}
        self._uploader: Uploader | None = None
        self._ledger_thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._reading_thread = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._snapshot = Snapshot({source.name: source.size for source in job.sources})

    async def run(self) -> RunResult:
        watching = asyncio.create_task(self._keep_watch())
        try:
            failure = await self._send_everything()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._reading_thread.shutdown()
            self._ledger_thread.shutdown()
        self._job.mark_done(self._finished)
        return self._end(failure)

    async def _send_everything(self) -> TraceImportError | None:
        upload = self._config.upload
        transport = open_transport(
            self._config.target.base_url,
            timeout_seconds=upload.timeout_seconds,
            max_at_once=upload.max_at_once,
            ca_file=self._config.target.ca_file,
            kind=upload.transport,
        )
        assert self._config.api_key is not None  # require_target has seen to it
        client = Client(transport, self._config.api_key, self._snapshot.counts)
        try:
            preflight = Preflight(client, self._config, self._clock, self._chance, self._is_stopping)
            version_id = await preflight.resolve_version()
            pace = Pace(
                self._clock,
                self._chance,
                max_per_second=upload.max_per_second,
                max_at_once=upload.max_at_once,
                max_pause_seconds=upload.max_pause_seconds,
            )
            self._uploader = Uploader(
                client,
                pace,
                self._job.sessions,
                self._snapshot.counts,
                in_ledger_thread=self._in_ledger_thread,
                ledger_id=self._ledger_id,
                version_id=version_id,
                config=upload,
                clock=self._clock,
                chance=self._chance,
            )
            self._snapshot.pace = pace
            await self._uploader.upload(self._sends())
        except (FatalError, StoppedError, UsageError) as error:
            return error
        finally:
            await transport.close()
        return self._uploader.failure

    async def _sends(self) -> AsyncIterator[Sequence[Send]]:
        """Records are read and mapped in one thread, admitted in another; what is to be sent comes out."""
        batches = prepare(
            self._config, self._job.sources, scratch_dir=self._job.run.folder, is_stopping=self._is_stopping
        )
        loop = asyncio.get_running_loop()
        while (batch := await loop.run_in_executor(self._reading_thread, next, batches, None)) is not None:
            sends = await self._in_ledger_thread(self._job.sessions.admit, batch)
            self._finished |= batch.finished
            self._snapshot.note(batch)
            yield sends

    async def _in_ledger_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._ledger_thread, work, *arguments)

    def _is_stopping(self) -> bool:
        return self._stop.times > 0 or (self._uploader is not None and self._uploader.is_stopping)

    async def _keep_watch(self) -> None:
        """Pass a signal on, tell whoever watches, and note files as done on the way."""
        passed_on = 0
        while True:
            await self._clock.sleep(WATCH_EVERY_SECONDS)
            if self._uploader is not None and self._stop.times > passed_on:
                passed_on = self._stop.times
                self._uploader.stop(at_once=passed_on > 1)
            if self._watch is not None:
                self._watch(self._snapshot)
            if self._finished and self._config.source.session_per == "trace":
                await self._in_ledger_thread(self._job.mark_done, self._finished)

    def _end(self, failure: TraceImportError | None) -> RunResult:
        totals = self._job.runs.totals(self._job.run)
        exit_code = exit_code_of(
            totals,
            failure=failure,
            signal_number=self._stop.signal_number,
            max_rejected=self._config.upload.max_rejected,
            keeps_first=self._config.upload.on_conflict == "keep_first",
        )
        summary = _write_results(self._job, self._job.run, exit_code, error=str(failure) if failure else None)
        if isinstance(failure, UsageError):
            raise failure
        for folder in self._job.runs.prune(self._config.keep_runs):
            shutil.rmtree(folder, ignore_errors=True)
        return RunResult(summary, self._job.run.folder)


def _write_results(job: Job, run: RunRow, exit_code: int, *, error: str | None) -> dict[str, Any]:
    from pipeline.manifest import write_manifest, write_rejects, write_summary  # noqa: PLC0415  (pyarrow is heavy)

    finished_at = iso(SystemClock().wall())
    write_manifest(run.folder, job.runs.entries(run))
    write_rejects(run.folder, job.runs.rejects(run))
    summary = summarise(
        run,
        job.runs.totals(run),
        job.runs.sources(run),
        finished_at=finished_at,
        exit_code=exit_code,
        target=job.config.target.base_url,
        config_sha256=job.config.sha256(),
        peak_rss_bytes=peak_rss_bytes(),
        error=error,
    )
    write_summary(run.folder, summary)
    job.runs.finish(run, exit_code=exit_code, finished_at=finished_at, peak_rss_bytes=peak_rss_bytes())
    return summary


def _in_a_loop_of_its_own(work: Callable[[], Coroutine[Any, Any, RunResult]]) -> RunResult:
    """Run `work` to its end; where this thread has a loop already (a notebook), in another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(work())
    with ThreadPoolExecutor(1, thread_name_prefix="import") as thread:
        return thread.submit(lambda: _in_a_loop_of_its_own(work)).result()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
