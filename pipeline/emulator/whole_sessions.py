"""The turns and spans of sessions, with the deleted and the not yet visible: the ground truth, not an answer."""

from __future__ import annotations

from typing import Any

from pipeline.emulator import spans, turns
from pipeline.emulator.store import Store

OF_SESSIONS = "session_id IN (SELECT id FROM session WHERE seq BETWEEN ? AND ?)"


def turns_by_session(store: Store, first: int, last: int) -> dict[str, list[dict[str, Any]]]:
    """Turns in order of index, each with its spans in order of creation; `first` and `last` are numbers of sessions."""
    spans_of: dict[str, list[dict[str, Any]]] = {}
    for row in store.rows(f"SELECT {spans.COLUMNS} FROM span WHERE {OF_SESSIONS} ORDER BY seq", (first, last)):
        span = spans.shown(row)
        spans_of.setdefault(span["inferenceResultId"], []).append(span)
    turns_of: dict[str, list[dict[str, Any]]] = {}
    ordered = f"SELECT {turns.COLUMNS} FROM turn WHERE {OF_SESSIONS} ORDER BY position, seq"
    for row in store.rows(ordered, (first, last)):
        turn = turns.shown(row)
        turns_of.setdefault(turn["sessionId"], []).append({**turn, "spans": spans_of.get(turn["id"], [])})
    return turns_of
