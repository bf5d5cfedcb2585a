"""The work of one run, opened: its tables in the ledger, the files that are to be read, the folder for its results."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.clock import Clock, iso
from pipeline.config import Config
from pipeline.errors import StoppedError, UsageError
from pipeline.filters import Filter, trace_filter
from pipeline.finding import Found
from pipeline.ledger.admission import Policy
from pipeline.ledger.database import CANNOT_EXIST, Database
from pipeline.ledger.parts import PartIndex, scope_of
from pipeline.ledger.runs import RunLedger, RunRow, SourceRow
from pipeline.ledger.sessions import SessionLedger
from pipeline.mappers.session import SessionMapper, session_mapper
from pipeline.plan import Source, recognise
from pipeline.readers.opening import Place
from pipeline.readers.places import Unreadable, marked
from pipeline.redaction.clean import Redaction

UNREADABLE_NAMED = 5


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a run works on."""

    config: Config
    runs: RunLedger
    sessions: SessionLedger
    run: RunRow
    target: int
    mapping_sha256: str
    paths: dict[str, int]
    to_session: SessionMapper
    redaction: Redaction
    wants: Filter | None
    """Which traces are imported; None: all."""
    parts: PartIndex
    is_joined: bool
    """Records of several files may make one session: pieces of traces, or conversations."""
    scattered_formats: frozenset[str]
    """Formats of which some sources, now or in earlier runs, hold pieces that are no traces by themselves."""
    sources: tuple[Source, ...]
    """What is to be read; files that are done are not among them."""
    fingerprints: dict[int, str]
    """Of these, before they were read; by path."""
    rejected_before: int
    """Records in files that are done, which were rejected when those were read."""
    differing_before: int
    """Sessions of files that are done, whose content on the server was another one and was left so."""
    found: Found
    """All that there is, also files that are done, and those that nobody looks at."""
    killed: RunRow | None
    """An earlier run of this job that was killed and could not be continued: it still lacks its manifest."""

    def ids_not_met(self) -> list[str]:
        """Of the ids that the filter wants, those that nothing had which was read so far."""
        not_met = self.wants.ids_not_met if self.wants is not None else ()
        return [shown for each in not_met if (shown := self.redaction.id(each)) is not None]

    def mark_done(self, finished: dict[str, str], *, is_end: bool = False) -> None:
        """Note those files as done that were read to their end, unchanged meanwhile, with nothing in them open.

        Where records of several files are joined, only at the end of a run that will not go on: one that does reads all
        of them again, so that each session is made of the same records as before.
        """
        if self.is_joined and not is_end:
            return
        ready = {}
        for name, after in list(finished.items()):
            path = self.paths[name]
            if after != self.fingerprints[path]:
                del finished[name]  # it grew while it was read, or holds what a later night wants: it is read again
            elif self.sessions.open_records[path] == 0:
                ready[path] = after
                del finished[name]
        if ready:
            self.runs.mark_done(
                self.run,
                ready,
                target=self.target,
                mapping_sha256=self.mapping_sha256,
                keeps_first=self.config.upload.on_conflict == "keep_first",
            )


def open_job(config: Config, database: Database, found: Found, clock: Clock, *, results_dir: Path) -> Job:
    """Find out what is done already, begin a run (or continue the interrupted one), and note its files."""
    try:
        over_record = config.source.format == "custom"
        redaction = Redaction(config.mapping, salt=_salt(config), over_record=over_record)
        to_session = session_mapper(
            config.mapping,
            redaction,
            source_name=config.source.name,
            over_record=over_record,
            extent=config.extent,
            turns=config.upload.turns,
        )
        trace_filter(config.source, clock.wall())  # a wrong condition is told before anything begins
    except UsageError as error:
        raise UsageError(f"{config.origin}: {error}") from error
    runs = RunLedger(database)
    now = dict(marked(file) for file in found.places)
    files = list(now)
    _require_readable(files)
    mapping_sha256 = config.mapping_sha256()
    target = runs.target(config.target_name or config.target.base_url, config.target.anchor)
    paths = runs.path_ids([str(file) for file in files])
    done = runs.done_files(
        target,
        mapping_sha256,
        without_rejects=config.upload.retry_rejected,
        without_updatable=config.upload.on_change in ("update", "recreate"),
        without_differing=config.upload.on_existing == "complete",
    )
    unchanged = [file for file in files if str(file) in done and done[str(file)].fingerprint == now[file]]
    is_any_done = bool(unchanged)
    done_already = set(unchanged)
    to_read = [file for file in files if file not in done_already]
    sources = tuple(recognise(config, to_read, is_any_done=is_any_done))
    scope = scope_of(target, config.parts_sha256())
    parts = PartIndex(database, scope)
    with parts:
        known_scattered = parts.formats()
        indexed = parts.files()
    scattered = known_scattered | {source.mapper.name for source in sources if source.mapper and source.is_scattered}
    if scattered:
        # What was read before a format was known to come in pieces is not in the index, and may be one of them.
        not_indexed = [file for file in unchanged if str(file) not in indexed]
        again = [
            source
            for source in recognise(config, not_indexed, is_any_done=True)
            if source.mapper is not None and source.mapper.name in scattered
        ]
        runs.forget_done([paths[source.name] for source in again], target=target, mapping_sha256=mapping_sha256)
        unchanged = [file for file in unchanged if file not in {source.place for source in again}]
        in_order = {str(file): number for number, file in enumerate(files)}
        sources = tuple(sorted([*sources, *again], key=lambda source: in_order[source.name]))
    is_joined = bool(scattered) or config.source.session_per == "conversation"
    run, killed = _begin_or_continue(
        config,
        runs,
        target,
        mapping_sha256,
        {str(k): v for k, v in now.items()},
        clock,
        results_dir,
        is_joined=is_joined,
        done=frozenset(str(file) for file in unchanged),
    )
    finished_before = {source.path for source in runs.sources(run) if source.state == "done"}
    # Files that an earlier process of this run finished count in this run: they are not "unchanged".
    rows: list[tuple[int, str, str | None, str]] = [
        (paths[str(file)], now[file], None, "unchanged") for file in unchanged if str(file) not in finished_before
    ]
    for source in sources:
        format = source.mapper.name if source.mapper is not None else None
        rows.append((paths[source.name], source.fingerprint, format, "reading"))
    runs.add_sources(run, rows)
    done_before = [done[str(file)] for file in unchanged if str(file) not in finished_before]
    sessions = SessionLedger(
        database,
        run=run.number,
        is_new=not run.is_continued,
        target=target,
        paths=paths,
        unchanged_paths=[paths[str(file)] for file in unchanged],
        policy=Policy(
            on_change=config.upload.on_change,
            retry_rejected=config.upload.retry_rejected,
            completes_existing=config.upload.on_existing == "complete",
        ),
        keep_records=config.includes_record,
        scope=scope,
    )
    return Job(
        config=config,
        runs=runs,
        sessions=sessions,
        run=run,
        target=target,
        mapping_sha256=mapping_sha256,
        paths=paths,
        to_session=to_session,
        redaction=redaction,
        # A run that goes on means the same traces by `7d` as when it began: none is counted twice.
        wants=trace_filter(config.source, datetime.fromisoformat(run.started_at)),
        parts=parts,
        is_joined=is_joined,
        scattered_formats=scattered,
        sources=sources,
        fingerprints={paths[source.name]: source.fingerprint for source in sources},
        rejected_before=sum(file.rejects for file in done_before),
        differing_before=sum(file.differing for file in done_before),
        found=found,
        killed=killed,
    )


def _require_readable(files: Sequence[Place]) -> None:
    """One that cannot be read is a reject beside others; where it is all of them, nothing can be done."""
    unreadable = [f"{file}: {file.why}" for file in files if isinstance(file, Unreadable)]
    if unreadable and len(unreadable) == len(files):
        raise UsageError("\n".join(unreadable[:UNREADABLE_NAMED]))


def _begin_or_continue(
    config: Config,
    runs: RunLedger,
    target: int,
    mapping_sha256: str,
    fingerprints: dict[str, str],
    clock: Clock,
    results_dir: Path,
    *,
    is_joined: bool,
    done: frozenset[str],
) -> tuple[RunRow, RunRow | None]:
    sources_key = hashlib.sha256("\n".join(sorted(config.source.paths)).encode()).hexdigest()
    interrupted = runs.find_interrupted(target, sources_key, mapping_sha256)
    killed = None
    if interrupted is not None:
        if _is_same_input(runs.sources(interrupted), fingerprints, is_joined=is_joined, done=done):
            folder = _make_folder(config.output_dir or interrupted.folder)
            return runs.go_on(interrupted, folder=folder, config_sha256=config.sha256()), None
        if runs.is_killed(interrupted):
            killed = interrupted
    started = clock.wall()
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    run = runs.begin(
        run_id=run_id,
        folder=_make_folder(config.output_dir or results_dir / "runs" / run_id),
        target=target,
        sources_key=sources_key,
        mapping_sha256=mapping_sha256,
        config_sha256=config.sha256(),
        started_at=iso(started),
    )
    return run, killed


def _is_same_input(
    sources: Sequence[SourceRow], fingerprints: Mapping[str, str], *, is_joined: bool, done: frozenset[str]
) -> bool:
    """May a run go on with these files? What is new is read, too, and what is done may be gone.

    Not so where records of several files are joined (`is_joined`): another file may hold more of a session that this
    run has sent and counted already, so that it needs a run of its own. And where another job has `done` one of its
    files meanwhile, that is not read again, and what this run charged to it would be charged once more.
    """
    if is_joined:
        is_as_it_was = {source.path: source.fingerprint for source in sources} == fingerprints
        return is_as_it_was and all(source.state in ("unchanged", "done") for source in sources if source.path in done)
    return all(
        source.fingerprint == fingerprints.get(source.path, source.fingerprint if source.state == "done" else None)
        for source in sources
    )


def _salt(config: Config) -> bytes:
    return config.id_salt.get_secret_value().encode() if config.id_salt is not None else b""


def _make_folder(folder: Path) -> Path:
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except CANNOT_EXIST as error:
        raise UsageError(f"{folder}: cannot write results here ({error.strerror}); name another folder") from error
    except OSError as error:
        raise StoppedError(f"{folder}: cannot write results here ({error.strerror})") from error
    return folder
