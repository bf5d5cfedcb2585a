"""What exports hold, before anything is decided: their formats, counts, times, what is found in them and what is sent.

The same way through the same rooms as a run, with an empty ledger and without the network.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.coverage import Coverage
from pipeline.finding import find_sources
from pipeline.job import Job, open_job
from pipeline.ledger.database import opened_shadow
from pipeline.mappers.messages import messages_of
from pipeline.models import Reject, SessionImport
from pipeline.prepare import prepare
from pipeline.report.snapshot import Stop

SAMPLED = 300
"""Sessions whose records are compared, value by value, with what would be sent, unless all are."""
SEARCHED_CHARACTERS = 4_000_000_000
"""Fewer sessions, where much is looked for inside large texts. This many take seconds."""
MAX_DISTINCT = 1_000_000
REJECTS_KEPT = 20
_OFFLOADED = ("inputs_s3_urls", "outputs_s3_urls", "signed_body_url", "langfuseMedia")
_STATED = (
    "conversation_id", "name", "started_at", "ended_at", "user_id", "tags", "environment", "release", "version",
    "models", "tokens", "cost", "error", "partial",
)  # fmt: skip


@dataclass(slots=True)
class Inspection:
    """What was found; counts are exact unless they say otherwise."""

    sources: list[dict[str, Any]]
    """Per file: source, format, confidence, reason, doubt, records."""
    coverage: Coverage
    """Where the values of the sampled sessions' records go."""
    sample: int | None = SAMPLED
    """How many sessions are compared at most; None: all."""
    records: int = 0
    rejected: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    traces: int = 0
    sessions: int = 0
    turns: int = 0
    spans: int = 0
    first_moment: str | None = None
    last_moment: str | None = None
    conversations: set[int] = field(default_factory=set)
    """Hashes of their ids, up to MAX_DISTINCT."""
    statuses: Counter[str] = field(default_factory=Counter)
    stated: Counter[str] = field(default_factory=Counter)
    """By field of a trace, how many sessions have it."""
    with_input: int = 0
    with_output: int = 0
    without_words: int = 0
    """Sessions that have neither."""
    repeats_history: int = 0
    """Sessions in which the input of a turn holds several questions: earlier turns of the dialogue."""
    sampled: int = 0
    """Sessions that were compared."""
    rejects: list[dict[str, Any]] = field(default_factory=list)
    example: dict[str, Any] | None = None
    session_per: str = "trace"

    def warnings(self) -> list[str]:
        """What a user should know before a run, in sentences."""
        said = []
        count = len(self.conversations)
        if count and self.session_per == "trace" and count < self.stated["conversation_id"]:
            many = f"more than {count:,}" if count >= MAX_DISTINCT else f"{count:,}"
            said.append(
                f"{self.stated['conversation_id']:,} of {self.sessions:,} traces belong to {many} conversations, and "
                "session_per: trace makes each a session of its own; session_per: conversation puts them together"
            )
        if self.repeats_history:
            said.append(
                f"in {self.repeats_history:,} sessions the input of a turn holds earlier turns, too (repeated history)"
            )
        for name, times in self._offloaded().most_common():
            said.append(f"{name}: {times:,} values were offloaded by the export and hold an address, not the content")
        if self.stated["partial"]:
            said.append(
                f"{self.stated['partial']:,} traces are partial: a parent span, or the trace's own row, is not in the "
                "export (metadata.partial says which)"
            )
        if self.coverage.is_exhausted:
            said.append(
                f"only the first {self.sampled:,} sessions were compared with what would be sent: they are large"
            )
        if self.statuses["PENDING"]:
            said.append(f"{self.statuses['PENDING']:,} traces had not ended when they were exported")
        if self.sessions and self.without_words == self.sessions:
            said.append("no trace has an input or an output: was it exported without contents?")
        elif self.without_words:
            said.append(
                f"{self.without_words:,} sessions have neither input nor output (no call of a model in them?); "
                '--where "turns[?input || output]" leaves them out'
            )
        unsure = [source for source in self.sources if source["format"] is None and source["records"]]
        if unsure:
            why = next((source["doubt"] for source in unsure if source["doubt"]), "nothing in them can be read")
            said.append(f"{len(unsure):,} files are not recognised: {why}")
        return said

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "sources": self.sources,
            "records": self.records,
            "records_rejected": self.rejected,
            "records_ignored": dict(self.ignored),
            "traces": self.traces,
            "sessions": self.sessions,
            "turns": self.turns,
            "spans": self.spans,
            "conversations": len(self.conversations),
            "first_moment": self.first_moment,
            "last_moment": self.last_moment,
            "statuses": dict(self.statuses),
            "fields": {name: self.stated[name] for name in _STATED} | self._contents(),
            "sampled_sessions": self.sampled,
            "not_sent": [
                {"path": path, "values": self.coverage.paths[path], "not_sent": count, "rule": rule}
                for path, rule, count in self.coverage.not_sent()
            ],
            "coverage": [{"source": name, **file.as_json()} for name, file in self.coverage.files.items()],
            "warnings": self.warnings(),
            "rejects": self.rejects,
            "example": self.example,
        }

    def _contents(self) -> dict[str, int]:
        return {"input": self.with_input, "output": self.with_output}

    def _offloaded(self) -> Counter[str]:
        """Fields that hold an address and not the content."""
        paths = self.coverage.paths.items()
        return Counter({path: count for path, count in paths if any(name in path for name in _OFFLOADED)})


def inspect_sources(config: Config, *, sample: int | None = SAMPLED, stop: Stop | None = None) -> Inspection:
    """Read everything that `config` names, and compare the records of `sample` sessions with what would be sent.

    Raises UsageError where no file is recognised, saying what was seen.
    """
    stop = stop or Stop()
    clock = SystemClock()
    sources = find_sources(config)
    with tempfile.TemporaryDirectory(prefix="trace-import-") as name:
        scratch = Path(name)
        with opened_shadow(scratch) as database:
            beside = config.model_copy(update={"output_dir": scratch, "state_dir": scratch})
            job = open_job(beside, database, sources, clock, results_dir=scratch)
            searched = SEARCHED_CHARACTERS if sample is not None else math.inf
            coverage = Coverage(max_value_bytes=config.mapping.max_value_bytes, characters=searched)
            found = Inspection(_sources(job), coverage, sample, session_per=config.source.session_per)
            read: dict[str, int] = {}
            for batch in prepare(job, scratch_dir=scratch, is_stopping=lambda: stop.times > 0):
                read |= batch.read
                for reject in batch.rejects:
                    _note_reject(found, reject)
                found.ignored.update(reason for _, reason in batch.ignored)
                for session in batch.sessions:
                    _note_session(found, session)
    for source in found.sources:
        source["records"] = read.get(source["source"], 0)
    found.records = sum(read.values())
    return found


def _sources(job: Job) -> list[dict[str, Any]]:
    return [
        {
            "source": source.name,
            "bytes": source.size,
            "format": source.mapper.name if source.mapper is not None else None,
            "confidence": source.confidence,
            "reason": source.reason,
            "doubt": source.doubt or None,
            "records": 0,
        }
        for source in job.sources
    ]


def _note_reject(found: Inspection, reject: Reject) -> None:
    found.rejected += 1
    if len(found.rejects) < REJECTS_KEPT:
        place = {"source": reject.part.source, "position": reject.part.position, "stage": reject.stage}
        found.rejects.append({**place, "error_kind": reject.kind, "error": reject.error})


def _note_session(found: Inspection, session: SessionImport) -> None:
    context = json.loads(session.context)
    metadata = json.loads(session.metadata)
    found.sessions += 1
    found.traces += session.traces
    found.turns += session.turns
    found.spans += session.spans
    found.statuses[session.status.value] += 1
    found.stated.update(name for name in _STATED if name in metadata)
    if session.conversation_id is not None and len(found.conversations) < MAX_DISTINCT:
        found.conversations.add(hash(session.conversation_id))
    for moment in (metadata.get("started_at"), metadata.get("ended_at")):
        if isinstance(moment, str):
            found.first_moment = min(found.first_moment or moment, moment)
            found.last_moment = max(found.last_moment or moment, moment)
    turns = [json.loads(turn.body) for turn in session.content.turns] if session.content is not None else []
    has_input = any(turn["input"] != "" for turn in turns)
    has_output = any("actualOutput" in turn for turn in turns)
    found.with_input += has_input
    found.with_output += has_output
    found.without_words += not (has_input or has_output)
    found.repeats_history += any(_holds_history(turn["input"]) for turn in turns)
    if found.example is None or (not found.example["turns"] and turns):
        found.example = _example(session, context, metadata, turns)
    if not found.coverage.is_exhausted and (found.sample is None or found.sampled < found.sample):
        found.sampled += 1
        found.coverage.add(session)


def _holds_history(value: Any) -> bool:
    return sum(message.role == "user" for message in messages_of(value)) > 1


def _example(session: SessionImport, context: Any, metadata: dict[str, Any], turns: list[Any]) -> dict[str, Any]:
    return {
        "custom_id": session.custom_id,
        "position": f"{session.parts[0].source}, {session.parts[0].position}",
        "status": session.status.value,
        "system": context.get("system") if isinstance(context, dict) else None,
        "turns": turns,
        "spans": session.spans,
        "metadata": metadata,
    }
