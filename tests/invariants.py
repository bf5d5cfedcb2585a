"""The promises of a run, checked against the emulator's own log: no session lost, none doubled, all accounted for."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.emulator import RunningEmulator
from pipeline.manifest import COLUMNS
from pipeline.payload import stored_sha256s

KEY = "gsk_a_secret_that_must_not_leak"
PAYLOAD = "is on its way"
"""What every trace of the tests says: it belongs on the server and into the rejects, and nowhere else."""
OPEN = {"failed", "unknown", "pending", "conflict"}


class Rate(NamedTuple):
    """What the server may see at most: in any window of W seconds, `per_second` × W + `burst` requests."""

    per_second: float
    burst: float


def read_summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def read_rejects(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]


def posts(emulator: RunningEmulator) -> list[dict[str, Any]]:
    return [line for line in emulator.log() if line["method"] == "POST" and line["path"] == "/sessions"]


def check_invariants(
    emulator: RunningEmulator, folder: Path, *, rate: Rate | None = None, is_only_writer: bool = True
) -> dict[str, Any]:
    """I1 to I6 and I8 to I10 of reliability.md, for the run whose results are in `folder`; returns the summary.

    I6 needs the `rate` that was to be kept; I8 is not to be seen from outside where another ledger sends the same
    custom ids (`is_only_writer=False`). I7 (memory) is measured by the benchmarks.
    """
    summary = read_summary(folder)
    rows = read_manifest(folder)
    rejects = read_rejects(folder)
    _check_files(folder, rows)
    _check_accounts(summary, rows, rejects)
    stored = emulator.sessions(with_turns=True)
    check_nothing_is_doubled(stored)
    _check_against_the_server(rows, stored)
    if summary["import"] != "session":
        _check_turns(rows, stored, has_spans=summary["import"] == "full")
    _check_exit_code(summary)
    log = emulator.log()
    if rate is not None:
        check_rate([line["time"] for line in log], rate)
    if is_only_writer:
        _check_nothing_settled_is_sent_again(summary, rows, log)
    return summary


def check_nothing_is_doubled(stored: Iterable[dict[str, Any]]) -> None:
    """I2, of all sessions, hidden ones among them; a deleted one may have a successor where its id is free again."""
    by_id = defaultdict(list)
    for session in stored:
        if session["customId"] is not None:
            by_id[session["versionId"], session["customId"]].append(session)
    for key, sessions in by_id.items():
        ordered = sorted(sessions, key=lambda session: str(session["createdAt"]))
        for earlier, later in pairwise(ordered):
            assert earlier["deletedAt"] is not None, key
            assert earlier["deletedAt"] <= later["createdAt"], key


def check_rate(times: Iterable[float], rate: Rate) -> None:
    """I6: a bucket of `burst` that fills at the rate never runs over."""
    level, before = 0.0, None
    for time in sorted(times):
        level = max(0.0, level - (time - before) * rate.per_second) if before is not None else 0.0
        level += 1
        before = time
        assert level <= rate.burst, f"{level:.1f} at once where {rate} was allowed"


def check_nobody_can_read_the_key(folder: Path) -> None:
    """I9, of every file below."""
    for file in folder.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file


def _check_files(folder: Path, rows: list[dict[str, Any]]) -> None:
    """I10: whole or not at all; I9: neither key nor payload where they do not belong, and nobody else may read."""
    assert not list(folder.glob(".*.part"))
    frame = pd.read_parquet(folder / "manifest.parquet")
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["custom_id"]) == [row["custom_id"] for row in rows]
    assert list(frame["outcome"]) == [row["outcome"] for row in rows]
    is_ours = folder.parent.name == "runs"
    check_nobody_can_read_the_key(folder.parent.parent if is_ours else folder)
    for name in ("manifest.jsonl", "summary.json"):
        assert PAYLOAD not in (folder / name).read_text(), name
    for name in ("manifest.parquet", "manifest.jsonl", "rejects.jsonl", "summary.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name
    if is_ours:
        for private in (folder, folder.parent, folder.parent.parent):
            assert private.stat().st_mode & 0o777 == 0o700, private
        for file in folder.parent.parent.glob("ledger.sqlite*"):
            assert file.stat().st_mode & 0o777 == 0o600, file


def _check_accounts(summary: dict[str, Any], rows: list[dict[str, Any]], rejects: list[dict[str, Any]]) -> None:
    """I1: every record is charged once, and the totals balance."""
    early = [line for line in rejects if line["stage"] != "upload"]
    assert summary["balanced"] is True
    assert summary["sessions"] == len(rows)
    assert summary["records_rejected"] == len(early)
    assert summary["records_read"] == (
        sum(row["records"] for row in rows) + len(early) + sum(summary["records_ignored"].values())
    )
    assert dict(Counter(row["outcome"] for row in rows)) == summary["outcomes"]
    places = Counter((row["source"], row["position"]) for row in rows)
    places.update((line["source"], line["position"]) for line in early)
    assert max(places.values(), default=1) == 1


def _check_against_the_server(rows: list[dict[str, Any]], stored: list[dict[str, Any]]) -> None:
    """I3, I4: what the manifest says is there is there, with that content; what was refused, or failed, is not."""
    by_id = {session["id"]: session for session in stored}
    custom_ids = {session["customId"] for session in stored}
    for row in rows:
        outcome, kind = row["outcome"], row["error_kind"]
        session = by_id.get(row["session_id"])
        if outcome in ("created", "changed") or (outcome in ("skipped", "existing") and row["session_id"]):
            assert session is not None, row
            assert session["customId"] == row["custom_id"], row
            if kind != "other_payload":  # what others made may be anything
                assert session["isProduction"] is False, row
                assert session["testCaseId"] is None, row
        if session is not None and (outcome == "created" or (outcome == "changed" and kind == "updated")):
            assert session["metadata"]["trace_import"]["sha256"] == row["payload_sha256"], row
        if session is not None and outcome in ("created", "existing") and kind is None:
            assert row["payload_sha256"] in _sha256s(session), row
        if outcome == "existing" and row["session_id"] is None:
            assert kind == "hidden_or_deleted", row
            assert row["custom_id"] in custom_ids, row
        if outcome == "rejected" or (outcome == "failed" and row["session_id"] is None):
            assert row["custom_id"] not in custom_ids, row


def _check_turns(rows: list[dict[str, Any]], stored: list[dict[str, Any]], *, has_spans: bool) -> None:
    """I2, I3 of turns and spans: what is settled is whole, and what is not holds nothing twice."""
    by_custom_id = {session["customId"]: session for session in stored if session["deletedAt"] is None}
    for row in rows:
        session = by_custom_id.get(row["custom_id"])
        kind = row["error_kind"]
        is_left_alone = kind in ("reported", "turns_differ", "mapping_changed", "other_payload", "update_rejected")
        is_left_alone |= kind in ("parts_missing", "conflict") or row["outcome"] in ("duplicate", "conflict")
        if session is None or is_left_alone:
            continue
        check_no_turn_is_doubled(session)
        turns = [turn for turn in session["turns"] if turn["deletedAt"] is None]
        spans = [span for turn in turns for span in turn["spans"] if _is_imported(span)]
        is_settled = row["outcome"] in ("created", "changed", "skipped") or kind == "completed"
        if is_settled:
            assert len(turns) == row["turns"], row
            assert len(spans) == (row["spans"] if has_spans else 0) or kind == "spans_rejected", row
        if row["outcome"] == "created":
            assert session["stoppingReason"] or session["error"] or session["status"] == "PENDING", row


def check_no_turn_is_doubled(session: dict[str, Any]) -> None:
    """No two in a row that say the same (the tests' dialogues never repeat themselves), no span id twice."""
    turns = [turn for turn in session["turns"] if turn["deletedAt"] is None]
    said = [json.dumps([turn["input"], turn["actualOutput"]], sort_keys=True) for turn in turns]
    assert len(set(said)) == len(said), session["customId"]
    ids = [span["metadata"]["span_id"] for turn in turns for span in turn["spans"] if _is_imported(span)]
    assert len(set(ids)) == len(ids), session["customId"]


def _is_imported(span: dict[str, Any]) -> bool:
    return span["deletedAt"] is None and "span_id" in (span["metadata"] or {})


def _sha256s(session: dict[str, Any]) -> frozenset[str]:
    return stored_sha256s(session["status"], session["context"], session["metadata"])


def _check_exit_code(summary: dict[str, Any]) -> None:
    """I5: never exit 0 with work undone, and never "finished" with something left to send."""
    left = OPEN & set(summary["outcomes"])
    if summary["exit_code"] in (0, 3):
        assert not left
    if "pending" in left:
        assert summary["exit_code"] in (5, 75, 130, 143)
    has_lost = any("parts_missing" in kinds for kinds in summary["details"].values())
    assert summary["exit_code"] != 4 or left or has_lost


def _check_nothing_settled_is_sent_again(
    summary: dict[str, Any], rows: list[dict[str, Any]], log: list[dict[str, Any]]
) -> None:
    """I8: no POST for a session after it was settled, by this run or (skipped) by an earlier one."""
    last_post = {line["custom_id"]: line["time"] for line in log if line["method"] == "POST"}
    for row in rows:
        since = summary["started_at"] if row["outcome"] == "skipped" else row["settled_at"]
        if row["outcome"] in ("created", "existing", "skipped") and row["custom_id"] in last_post:
            assert last_post[row["custom_id"]] <= datetime.fromisoformat(since).timestamp(), row
