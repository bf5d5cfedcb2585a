"""The end of a run: what it comes to, the files that say so, and what is forgotten."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clock import Clock, iso
from pipeline.errors import StoppedError, TraceImportError, UsageError
from pipeline.finding import SCRATCH_NAMES
from pipeline.job import Job
from pipeline.ledger.runs import RunRow
from pipeline.report.snapshot import Stop
from pipeline.report.summary import exit_code_of, peak_rss_bytes, summarise

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
KILLED_EXIT_CODE = 137
"""Of a run that was killed and cannot be continued, because its files have changed since."""


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


def end_run(job: Job, failure: TraceImportError | None, stop: Stop, clock: Clock) -> RunResult:
    """Add up, write the files, prune. Raises `failure` again where it is the user's to mend before anything else."""
    upload = job.config.upload
    exit_code = exit_code_of(
        job.runs.totals(job.run),
        failure=failure,
        was_stopped=stop.times > 0,
        signal_number=stop.signal_number,
        max_rejected=upload.max_rejected,
        keeps_first=upload.on_conflict == "keep_first",
    )
    summary = write_results(job, job.run, exit_code, clock, error=str(failure) if failure is not None else None)
    if isinstance(failure, UsageError):
        raise failure
    _forget_old_runs(job)
    return RunResult(summary, job.run.folder)


def _forget_old_runs(job: Job) -> None:
    """What fails here (a full disk) does not change how the run ended; the next one tries again."""
    try:
        for run in job.runs.old_runs(job.run, keep=job.config.keep_runs):
            if run.folder.parent == job.config.state_dir / "runs":  # an --output-dir is the user's
                shutil.rmtree(run.folder, ignore_errors=True)
            job.runs.forget(run)
    except StoppedError as error:
        log.warning("old_runs_not_forgotten: %s; the next run tries again", error.__cause__ or error)


def remove_scratch(state_dir: Path, folders_without_end: Sequence[Path]) -> None:
    """What killed runs had on disk, records as they were exported among it. The caller holds the ledger's lock.

    `folders_without_end`: of runs that have none. An --output-dir is the user's: nothing else there is touched.
    """
    left = [folder / name for folder in folders_without_end for name in SCRATCH_NAMES]
    for path in [*(state_dir / "runs").glob("*/*.scratch"), *left]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def end_killed_run(job: Job, clock: Clock) -> None:
    """An earlier run of this job was killed and cannot go on: what it did is written down all the same."""
    if job.killed is not None:
        why = "it was killed, and its files changed before it could go on"
        write_results(job, job.killed, KILLED_EXIT_CODE, clock, error=why)


def write_results(job: Job, run: RunRow, exit_code: int, clock: Clock, *, error: str | None) -> dict[str, Any]:
    """Manifest, rejects and summary, in this order; then the ledger says that the run has ended."""
    from pipeline.manifest import write_manifest, write_rejects, write_summary  # noqa: PLC0415  (pyarrow is heavy)

    finished_at = iso(clock.wall())
    try:
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
            max_rejected=job.config.upload.max_rejected,
            extent=job.config.extent,
            rejected_before=job.rejected_before if run is job.run else 0,
            differing_before=job.differing_before if run is job.run else 0,
            found=job.found if run is job.run else None,
            ids_not_met=job.ids_not_met() if run is job.run else (),
            also_alone=(job.sessions.also_alone, job.sessions.first_also_alone) if run is job.run else (0, ()),
            redacted=job.redaction.counts if run is job.run else {},
            open_elsewhere=job.runs.open_elsewhere(run, job.target) if job.runs.is_complete(run) else {},
        )
        write_summary(run.folder, summary)
    except OSError as problem:
        raise StoppedError(
            f"{run.folder}: the results cannot be written ({problem.strerror}); the ledger has them all. "
            "Make room and run again"
        ) from problem
    job.runs.finish(run, exit_code=exit_code, finished_at=finished_at, peak_rss_bytes=peak_rss_bytes())
    return summary
