"""What a run or plan came to, in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.text import safe, unique_tail

if TYPE_CHECKING:
    from pipeline.dry_run import PlanResult

Say = Callable[[str], None]
REJECTS_SHOWN = 5
KINDS_SHOWN = FILES_SHOWN = 5
"""The most frequent ones, where there are more rejects."""
CONFLICTS_SHOWN = 5
EMPTY_SHOWN = 5
LEFT_OUT_SHOWN = 5
IDS_SHOWN = 5
SAMPLE_CHARACTERS = 3_000
_MEANING = {
    "created": "are on the server, from this ledger",
    "existing": "were on the server already, not from this ledger",
    "skipped": "were imported before: nothing was sent",
    "changed": "were there before, with another content",
    "duplicate": "came again in this input",
    "conflict": "share a custom id with another trace of this input: NOT imported",
    "rejected": "were refused by the API (rejects.jsonl)",
    "failed": "could not be sent; the next run tries again",
    "unknown": "may or may not be on the server; the next run finds out",
    "pending": "were read and are not settled; the next run goes on",
    "held": "are so new that more of them may come: a later run sends them",
    "planned": "would be sent",
}
_DETAIL = {
    "updated": "of them were updated",
    "reported": "of them differ and were NOT sent: --on-change update sends them",
    "other_payload": "of them differ on the server, where they are not from this ledger, and were NOT sent: "
    "another source.name imports yours beside them",
    "mapping_changed": "of them would be mapped differently today: --on-change update sends them",
    "parts_missing": "of them lack parts that earlier runs read, and were NOT sent: put the files back, or set "
    "assembly.missing_parts: accept",
    "completed": "of them got what they lacked: turns, spans, or their end",
    "unfinished": "of them are there from another ledger, and have not ended: another machine fills them, or they lack "
    "turns and upload.on_existing: complete brings them",
    "recreated": "of them were made anew, in the place of the old ones",
    "turns_differ": "of them hold other turns on the server than the trace, and were NOT changed: --on-change update "
    "makes those equal that this ledger filled, and reaches no others",
    "content_rejected": "of them are there in part: the API refused a turn, or the end (rejects.jsonl)",
    "spans_rejected": "of them are there without some spans, which the API refused (rejects.jsonl)",
    "hidden_or_deleted": "of them cannot be seen there: hidden, or deleted and still holding their custom id",
}
_BROKE_OFF = (
    "of them hold turns on the server that are not the trace's, and their import broke off there: --on-change update "
    "makes those equal that are this ledger's"
)
_SENDS = {
    "update": "update",
    "replace": "bring up to date within this input",
    "complete": "complete",
    "recreate": "make anew",
}
"""Beside those that are created."""
_ADVICE = {
    2: "Nothing was imported: the command or the configuration is wrong.",
    3: "Finished, with more rejects than allowed: see rejects.jsonl. Mend them and run it as --source, or allow them "
    "with --max-rejected.",
    4: "Finished, but not everything is imported: see the manifest. Run again for what failed; a conflict needs a "
    "mended export, or a mapping.custom_id that tells the two apart.",
    5: "Stopped: the target refuses. Mend the cause and run again.",
    75: "Stopped for now: run the same command again and it goes on.",
    130: "Interrupted: run the same command again and it goes on.",
    143: "Interrupted: run the same command again and it goes on.",
}


def print_summary(summary: dict[str, Any], folder: Path, *, to_stderr: bool) -> None:
    """The end of a run."""

    def say(text: str) -> None:
        click.echo(text, err=to_stderr)

    say(f"Run {summary['run_id']}{' (continued)' if summary['continued'] else ''} on {safe(summary['target'])}")
    _print_counts(summary, say)
    unchanged = sum(source["state"] == "unchanged" for source in summary["sources"])
    if unchanged:
        say(f"  {unchanged} of {len(summary['sources'])} files are done since an earlier run and were not read again")
    if summary["rejected_before"]:
        say(f"  {summary['rejected_before']:,} records in them were rejected then; --retry-rejected tries them again")
    if summary["differing_before"]:
        say(
            f"  {summary['differing_before']:,} sessions of them differ on the server and were NOT sent then; "
            "--on-change update sends those that are this ledger's"
        )
    if not summary["sessions"] and not summary["records_read"] and not summary["error"]:
        say("  Nothing was sent: there is nothing new.")
    say(
        f"  {summary['requests']:,} requests, {summary['retries']:,} retries, "
        f"{summary['throttled']:,} times told to wait, {summary['bytes_sent']:,} bytes sent"
    )
    idle = [rule for rule, count in summary["redacted"].items() if not count]
    if idle and summary["sessions"]:
        say(f"  Nothing was found to keep back by {safe(', '.join(idle))}: is it spelled as in the traces?")
    waiting = summary["open_elsewhere"]
    if waiting["sessions"]:
        files = ", ".join(safe(file) for file in waiting["files"][:EMPTY_SHOWN])
        say(
            f"  {waiting['sessions']:,} sessions of earlier runs are not settled, and the files they were read from "
            f"are not among the sources: {files}. Give them as --source again"
        )
    if not summary["balanced"]:
        say("  NOT BALANCED: please report this.")
    elif summary["records_read"] or not summary["error"]:  # refused before anything was read: nothing to account for
        say("  Balanced: every record is accounted for.")
    if summary["error"]:
        say(f"  {safe(summary['error'])}")
    _print_left_open(summary, say)
    names = [source["source"] for source in summary["sources"]]
    _print_conflicts(folder / "manifest.jsonl", summary["outcomes"].get("conflict", 0), names, say)
    _print_rejects(folder / "rejects.jsonl", summary["rejects"], names, say)
    say(f"Results: {safe(str(folder))}/ (manifest.parquet, manifest.jsonl, rejects.jsonl, summary.json)")
    if summary["exit_code"] in _ADVICE:
        say(_ADVICE[summary["exit_code"]])
    if summary["exit_code"] == 4 and summary["new_rejects"] > summary["max_rejected"]:
        say(
            f"There are also more rejects than allowed ({summary['new_rejects']:,}, "
            f"with max_rejected {summary['max_rejected']:,}): see rejects.jsonl."
        )


def _print_left_open(summary: dict[str, Any], say: Say) -> None:
    """Of a run that was stopped: how much of the work is left."""
    if summary["exit_code"] not in (75, 130, 143):
        return
    pending = summary["outcomes"].get("pending", 0)
    unread = sum(source["state"] == "reading" for source in summary["sources"])
    files = f"{unread:,} of {len(summary['sources']):,} files not read to the end"
    if summary["continued"]:  # one that goes on reads again what has something open in it, also what it had read
        files += " this time"
    say(f"  Left open: {pending:,} sessions that were read" + (f", and {files}" if unread else ""))


def _print_conflicts(manifest: Path, count: int, sources: list[str], say: Say) -> None:
    """Where the first conflicts stand; the manifest has them all."""
    if not count:
        return
    with manifest.open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines if '"conflict"' in line)
        for row in islice((row for row in rows if row["outcome"] == "conflict"), CONFLICTS_SHOWN):
            place = f"{unique_tail(row['source'], sources)} {row['position']}"
            say(f"  conflict: {safe(place)}: {safe(row['custom_id'])}")
    if count > CONFLICTS_SHOWN:
        say(f"  … and {count - CONFLICTS_SHOWN:,} more conflicts in manifest.jsonl")


def _print_rejects(file: Path, counts: dict[str, Any], sources: list[str], say: Say) -> None:
    """The first rejects, and how many there are of which kind; the file has them all."""
    with file.open(encoding="utf-8") as lines:
        for line in islice(lines, REJECTS_SHOWN):
            reject = json.loads(line)
            place = f"{unique_tail(reject['source'], sources)} {reject['position']}"
            say(f"  reject: {safe(place)}: {safe(reject['error'])}")
    total = sum(counts["by_kind"].values())
    if total > REJECTS_SHOWN:
        say(f"  … and {total - REJECTS_SHOWN:,} more rejects in rejects.jsonl")
        _print_reject_counts(counts, sources, say)


def _print_reject_counts(counts: dict[str, Any], sources: list[str], say: Say) -> None:
    kinds = [f"{count:,} {safe(kind)}" for kind, count in islice(counts["by_kind"].items(), KINDS_SHOWN)]
    more = len(counts["by_kind"]) - len(kinds)
    say(f"  rejects by error_kind: {', '.join(kinds)}" + (f", and {more:,} kinds more" if more else ""))
    if counts["files"]["count"] > 1:
        first = islice(counts["files"]["first"].items(), FILES_SHOWN)
        files = [f"{count:,} in {safe(unique_tail(name, sources))}" for name, count in first]
        more = counts["files"]["count"] - len(files)
        say(f"  rejects by file: {', '.join(files)}" + (f", and {more:,} files more" if more else ""))


def print_plan(result: PlanResult) -> None:
    """What would happen."""
    summary = result.summary
    click.echo(f"Plan for {safe(summary['target'])}; nothing was sent")
    _print_counts(summary, click.echo)
    sends = summary["sends"]
    also = "".join(f", {_SENDS[action]} {sends[action]:,}" for action in _SENDS if sends.get(action))
    click.echo(
        f"  It would create {sends.get('create', 0):,} sessions{also}: {summary['requests']:,} requests, "
        f"about {summary['bytes_to_send']:,} bytes"
    )
    if summary["seconds_at_max_per_second"] is not None:
        click.echo(f"  At max_per_second that takes at least {summary['seconds_at_max_per_second']:,} s")
    for source in summary["sources"]:
        format = source["format"] or ("done before" if source["state"] == "unchanged" else "not recognised")
        click.echo(f"  {safe(source['source'])}: {format}, {source['records_read']:,} records")
    for reject in result.rejects:
        click.echo(f"  reject: {safe(reject['source'])} {safe(reject['position'])}: {safe(reject['error'])}")
    hidden = summary["records_rejected"] - len(result.rejects)
    names = [source["source"] for source in summary["sources"]]
    if hidden > 0:
        click.echo(f"  … and {hidden:,} rejects more")
        _print_reject_counts(summary["rejects"], names, click.echo)
    for sample in result.samples:
        place = f"{unique_tail(sample['source'], names)} {sample['position']}"
        click.echo(f"Sample ({sample['action']}, {safe(place)}):")
        _print_json(sample["body"])
        for number, turn in enumerate(sample.get("turns", ()), 1):
            click.echo(f"with turn {number}:")
            _print_json(turn)


def _print_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(safe(text[:SAMPLE_CHARACTERS], keep_lines=True) + ("\n  …" if len(text) > SAMPLE_CHARACTERS else ""))


def _print_empty(summary: dict[str, Any], say: Say) -> None:
    """Files that were read to their end and gave nothing: perhaps an export that failed."""
    sources = summary["sources"]
    empty = [one["source"] for one in sources if one["state"] in ("read", "done") and not one["records_read"]]
    if empty:
        names = [unique_tail(name, [one["source"] for one in sources]) for name in empty[:EMPTY_SHOWN]]
        more = f" and {len(empty) - EMPTY_SHOWN:,} more" if len(empty) > EMPTY_SHOWN else ""
        say(
            f"  {len(empty):,} {'file holds' if len(empty) == 1 else 'files hold'} no records: "
            f"{safe(', '.join(names))}{more}"
        )


def _print_found(summary: dict[str, Any], say: Say) -> None:
    """What lies in the sources and was not read, or should lie there."""
    for key, what in (
        ("left_out", "not looked at (no export by the name, or no file)"),
        (
            "incomplete",
            "left for a later run: no manifest for the window yet (--import-incomplete takes them as they are)",
        ),
        ("missing", "named by a manifest and NOT there (copy them again)"),
    ):
        count, files = summary[key]["count"], summary[key]["files"][:LEFT_OUT_SHOWN]
        if count:
            more = f" and {count - len(files):,} more" if count > len(files) else ""
            names = ", ".join(unique_tail(file, summary[key]["files"]) for file in files)
            say(f"  {count:,} {'file' if count == 1 else 'files'} {what}: {safe(names)}{more}")


def _print_ids(summary: dict[str, Any], say: Say) -> None:
    """Ids that were asked for and are nowhere, perhaps misspelled; and those of what now stands there twice."""
    for key, what in (
        ("ids_not_met", "of the ids were met nowhere"),
        (
            "also_alone",
            "sessions hold a trace that was imported alone before (it named no conversation yet, or session_per was "
            "trace), and the session of its conversation holds it now, too; delete them there (rollback of their run "
            "does), or leave them, or set session_per back",
        ),
    ):
        count, ids = summary[key]["count"], summary[key]["ids"][:IDS_SHOWN]
        if count:
            more = f" and {count - len(ids):,} more" if count > len(ids) else ""
            say(f"  {count:,} {what}: {safe(', '.join(ids))}{more}")


def _print_counts(summary: dict[str, Any], say: Say) -> None:
    since = " since the run began" if summary["continued"] else ""
    rejected = summary["records_rejected"]
    say(f"  {summary['records_read']:,} records read{since}, {rejected:,} of them could not be imported")
    if summary["sessions"]:
        kinds = {"session": (), "turns": ("turns",)}.get(summary["import"], ("turns", "spans"))
        held = " and ".join(f"{summary[name]:,} {name}" for name in kinds)
        say(f"  {summary['traces']:,} traces{held and f' with {held}'} make {summary['sessions']:,} sessions")
    if summary["records_repaired"]:
        say(
            f"  {summary['records_repaired']:,} records had values replaced or cut "
            "(metadata.repaired and metadata.cut of their sessions tell what)"
        )
    _print_found(summary, say)
    _print_empty(summary, say)
    for reason, count in summary["records_ignored"].items():
        say(f"  {count:,} were ignored: {reason}")
    _print_ids(summary, say)
    for outcome, count in summary["outcomes"].items():
        say(f"  {count:>8,} {outcome:<9} {_MEANING.get(outcome, '')}")
        for kind, part in summary["details"].get(outcome, {}).items():
            if kind in _DETAIL:
                has_broken_off = (outcome, kind) == ("failed", "turns_differ")
                say(f"  {'':8} {part:>9,} {_BROKE_OFF if has_broken_off else _DETAIL[kind]}")
