"""What a run comes to: the summary, whether it balances, and the exit code."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.errors import FatalError, StoppedError, TraceImportError, UsageError
from pipeline.ledger.admission import PARTS_MISSING
from pipeline.ledger.runs import RunRow, SourceRow, Totals
from pipeline.models import Outcome

if TYPE_CHECKING:
    from pipeline.finding import Found

LEFT_OUT_SHOWN = 20


def summarise(
    run: RunRow,
    totals: Totals,
    sources: Sequence[SourceRow],
    *,
    finished_at: str | None,
    exit_code: int,
    target: str,
    config_sha256: str,
    peak_rss_bytes: int,
    error: str | None,
    max_rejected: int,
    extent: str = "session",
    rejected_before: int = 0,
    differing_before: int = 0,
    found: Found | None = None,
    redacted: Mapping[str, int] = MappingProxyType({}),
    open_elsewhere: Mapping[str, int] = MappingProxyType({}),
    ids_not_met: Collection[str] = (),
    also_alone: tuple[int, Sequence[str]] = (0, ()),
) -> dict[str, Any]:
    """The content of summary.json (design.md, section 3)."""
    has_read_all = not run.is_continued and all(source.state in ("read", "done") for source in sources)
    if not has_read_all:  # they may be in what this run, or this process of it, did not read
        ids_not_met = ()
    return {
        "run_id": run.id,
        "started_at": run.started_at,
        "finished_at": finished_at,
        "continued": run.is_continued,
        "target": target,
        "import": extent,
        "records_read": totals.records_read,
        "records_repaired": totals.records_repaired,
        "records_rejected": totals.records_rejected,
        "new_rejects": totals.new_rejects,
        "max_rejected": max_rejected,
        "rejects": _counted_rejects(totals.rejects),
        "rejected_before": rejected_before,
        "differing_before": differing_before,
        "records_ignored": dict(totals.records_ignored),
        "traces": totals.traces,
        "sessions": totals.sessions,
        "turns": totals.turns,
        "spans": totals.spans,
        "outcomes": dict(totals.outcomes),
        "details": {outcome: dict(kinds) for outcome, kinds in totals.details.items()},
        "balanced": is_balanced(totals),
        "exit_code": exit_code,
        "error": error,
        "requests": totals.requests,
        "retries": totals.retries,
        "throttled": totals.throttled,
        "bytes_sent": totals.bytes_sent,
        "peak_rss_bytes": peak_rss_bytes,
        "config_sha256": config_sha256,
        "version": __version__,
        "open_elsewhere": {
            "sessions": sum(open_elsewhere.values()),
            "files": sorted(open_elsewhere)[:LEFT_OUT_SHOWN],
        },
        "ids_not_met": {"count": len(ids_not_met), "ids": sorted(ids_not_met)[:LEFT_OUT_SHOWN]},
        "also_alone": {"count": also_alone[0], "ids": list(also_alone[1])},
        "redacted": dict(sorted(redacted.items())),
        "left_out": _counted(found.left_out if found else ()),
        "incomplete": _counted(found.incomplete if found else ()),
        "missing": _counted(found.missing if found else ()),
        "sources": [
            {
                "source": source.path,
                "format": source.format,
                "state": source.state,
                "records_read": source.records_read,
                "records_repaired": source.records_repaired,
            }
            for source in sources
        ],
    }


def _counted_rejects(rejects: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Lines of rejects.jsonl by error_kind, and by file; the most first."""
    kinds: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for (file, kind), count in rejects.items():
        kinds[kind] += count
        files[file] += count
    return {
        "by_kind": dict(kinds.most_common()),
        "files": {"count": len(files), "first": dict(files.most_common(LEFT_OUT_SHOWN))},
    }


def _counted(files: Sequence[str]) -> dict[str, Any]:
    return {"count": len(files), "files": list(files[:LEFT_OUT_SHOWN])}


def is_balanced(totals: Totals) -> bool:
    """Is every record that was read charged to exactly one place, and every session to one outcome?"""
    charged = totals.records_in_sessions + totals.records_rejected + sum(totals.records_ignored.values())
    return totals.records_read == charged and totals.sessions == sum(totals.outcomes.values())


def exit_code_of(
    totals: Totals,
    *,
    failure: TraceImportError | None,
    was_stopped: bool,
    signal_number: int | None,
    max_rejected: int,
    keeps_first: bool,
) -> int:
    """Several reasons at once: 5, 130/143, 75, 4, 3 (design.md, section 3)."""
    if isinstance(failure, FatalError):
        return 5
    if isinstance(failure, UsageError):
        return 2
    if signal_number is not None:
        return 128 + signal_number
    outcomes: Mapping[str, int] = totals.outcomes
    if isinstance(failure, StoppedError) or was_stopped or outcomes.get(Outcome.PENDING):
        return 75
    unsolved = [Outcome.FAILED, Outcome.UNKNOWN] + ([] if keeps_first else [Outcome.CONFLICT])
    has_lost = any(PARTS_MISSING in kinds for kinds in totals.details.values())
    if any(outcomes.get(outcome) for outcome in unsolved) or has_lost or not is_balanced(totals):
        return 4
    return 3 if totals.new_rejects > max_rejected else 0


def peak_rss_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
