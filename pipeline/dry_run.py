"""What a run would do: the same way through the same rooms, with the ledger but without the network."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.finding import find_sources
from pipeline.job import open_job
from pipeline.ledger.database import opened_shadow
from pipeline.ledger.settling import Send
from pipeline.payload import create_body
from pipeline.prepare import prepare
from pipeline.report.snapshot import Stop
from pipeline.report.summary import exit_code_of, peak_rss_bytes, summarise
from pipeline.uploader.batches import Foretold

SAMPLES = 3
SAMPLE_TURNS, SAMPLE_SPANS = 2, 3
"""Of a sample its first turns are shown, and of each turn its first spans; they lack the ids that the API gives."""
LONGEST_SHOWN = 1_000_000
"""Bytes of the metadata in a sample."""
REJECTS_SHOWN = 20
PREFLIGHT_REQUESTS = 2


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What would happen; nothing did."""

    summary: dict[str, Any]
    """As of a run, with `sends` by kind (create, update, replace), `requests` and `bytes_to_send` foretold."""
    samples: list[dict[str, Any]]
    """The first payloads, as they would leave."""
    rejects: list[dict[str, Any]]
    """The first rejects."""

    @property
    def exit_code(self) -> int:
        """The exit code that the run would have, if the API took everything."""
        return int(self.summary["exit_code"])


def plan_import(config: Config, *, stop: Stop | None = None, ledger_dir: Path | None = None) -> PlanResult:
    """Read, map and compare with the ledger (read-only, unlocked), and tell what a run would send."""
    stop = stop or Stop()
    clock = SystemClock()
    found = find_sources(config)
    kinds: Counter[str] = Counter()
    foretold = Foretold()
    samples: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="trace-import-") as scratch,
        opened_shadow(ledger_dir or config.state_dir) as database,
    ):
        # A run that would go on has a folder, and that is not ours to touch.
        beside = config.model_copy(update={"output_dir": Path(scratch)})
        job = open_job(beside, database, found, clock, results_dir=Path(scratch))
        batches = prepare(job, scratch_dir=Path(scratch), is_stopping=lambda: stop.times > 0)
        for batch in batches:
            for send in job.sessions.admit(batch):
                kinds[send.action] += 1
                foretold.note(send)
                if len(samples) < SAMPLES:
                    samples.append(_sample(config, send, database.ledger_id))
        job.runs.plan_pending(job.run)
        totals = job.runs.totals(job.run)
        exit_code = exit_code_of(
            totals,
            failure=None,
            was_stopped=stop.times > 0,
            signal_number=stop.signal_number,
            max_rejected=config.upload.max_rejected,
            keeps_first=config.upload.on_conflict == "keep_first",
        )
        summary = summarise(
            job.run,
            totals,
            job.runs.sources(job.run),
            finished_at=None,
            exit_code=exit_code,
            target=config.target_name or config.target.base_url,
            config_sha256=config.sha256(),
            peak_rss_bytes=peak_rss_bytes(),
            error=None,
            max_rejected=config.upload.max_rejected,
            extent=config.extent,
            rejected_before=job.rejected_before,
            differing_before=job.differing_before,
            found=job.found,
            ids_not_met=job.ids_not_met(),
            also_alone=(job.sessions.also_alone, job.sessions.first_also_alone),
            redacted=job.redaction.counts,
        )
        requests = foretold.requests + PREFLIGHT_REQUESTS + (config.extent != "session")
        requests += config.target.product_id is not None  # whether the list of its versions is whole
        summary |= {
            "sends": dict(kinds),
            "requests": requests,
            "bytes_to_send": foretold.bytes,
            **dict.fromkeys(
                ["retries", "throttled", "bytes_sent"], 0
            ),  # of a run that goes on: what was, not what will
            "seconds_at_max_per_second": (
                round(requests / config.upload.max_per_second, 1) if config.upload.max_per_second else None
            ),
        }
        rejects = [
            {"source": source, "position": position, "stage": stage, "error_kind": kind, "error": error}
            for source, position, stage, kind, error, *_ in job.runs.rejects(job.run).fetchmany(REJECTS_SHOWN)
        ]
    return PlanResult(summary, samples, rejects)


def _sample(config: Config, send: Send, ledger_id: str) -> dict[str, Any]:
    of_target = "(the newest of the product)" if config.target.product_id else "(no target is named: a run needs one)"
    version_id = send.version_id or config.target.version_id or of_target
    session = send.session
    if len(session.metadata) > LONGEST_SHOWN:
        session = replace(session, metadata=json.dumps({"not_shown": f"{len(session.metadata)} bytes"}).encode())
    body = create_body(session, send.custom_id, version_id=version_id, ledger_id=ledger_id)
    first = session.parts[0]
    sample = {"action": send.action, "source": first.source, "position": first.position, "body": json.loads(body)}
    content = session.content
    if content is None:
        return sample
    turns = [
        {**json.loads(turn.body), "spans": [json.loads(span.body) for span in turn.spans[:SAMPLE_SPANS]]}
        for turn in content.turns[:SAMPLE_TURNS]
    ]
    return sample | {"turns": turns, "finish": json.loads(content.finish) if content.finish is not None else None}
