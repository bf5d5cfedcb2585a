"""The promises of a run, checked against the emulator's own log: no session lost, none doubled, all accounted for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.emulator import RunningEmulator
from pipeline.manifest import COLUMNS

KEY = "gsk_a_secret_that_must_not_leak"


def read_summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def read_rejects(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]


def check_invariants(emulator: RunningEmulator, folder: Path) -> dict[str, Any]:
    """I1 to I5, I8 to I10 of reliability.md; returns the summary."""
    summary = read_summary(folder)
    rows = read_manifest(folder)
    rejects = read_rejects(folder)
    frame = pd.read_parquet(folder / "manifest.parquet")
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(rows) == summary["sessions"]

    # I1: every record is charged once, and the totals balance
    early = [line for line in rejects if line["stage"] != "upload"]
    assert summary["balanced"] is True
    assert summary["records_rejected"] == len(early)
    assert summary["records_read"] == (
        sum(row["records"] for row in rows) + len(early) + sum(summary["records_ignored"].values())
    )
    assert dict(Counter(row["outcome"] for row in rows)) == summary["outcomes"]
    places = Counter((row["source"], row["position"]) for row in rows)
    places.update((line["source"], line["position"]) for line in early)
    assert max(places.values(), default=1) == 1

    # I2: never two sessions for one custom id
    stored = [session for session in emulator.sessions() if session.get("deletedAt") is None]
    by_id = Counter((session["versionId"], session["customId"]) for session in stored)
    assert max(by_id.values(), default=1) == 1
    on_server = {session["customId"]: session for session in stored}

    # I3, I4: what the manifest says is there is there, what it says was refused is not
    for row in rows:
        session = on_server.get(row["custom_id"])
        if row["outcome"] in ("created", "skipped") or (row["outcome"] == "existing" and row["session_id"]):
            assert session is not None, row
            assert session["id"] == row["session_id"], row
            assert session["isProduction"] is False
            assert session["testCaseId"] is None
        if row["outcome"] == "created":
            assert session is not None
            assert session["metadata"]["trace_import"]["sha256"] == row["payload_sha256"], row
        if row["outcome"] == "rejected":
            assert session is None, row

    # I5: never exit 0 with work undone
    if summary["exit_code"] == 0:
        assert not {"failed", "unknown", "pending", "conflict"} & set(summary["outcomes"])

    # I9: the key is nowhere
    for file in folder.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file

    # I10: no torn file
    assert not list(folder.glob(".*.part"))
    return summary


def posts(emulator: RunningEmulator) -> list[dict[str, Any]]:
    return [line for line in emulator.log() if line["method"] == "POST" and line["path"] == "/sessions"]
