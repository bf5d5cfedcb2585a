"""The spans of a call, each accepted, rejected, or known already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.emulator.options import Options
from pipeline.emulator.span_rules import CheckedSpan, check_span
from pipeline.emulator.store import Store
from pipeline.emulator.wire import RefusalError


@dataclass(frozen=True, slots=True)
class Rejected:
    index: int
    name: str
    reason: str
    status: int
    """Of a call with this span alone."""


@dataclass(slots=True)
class Checked:
    accepted: list[tuple[CheckedSpan, str]] = field(default_factory=list)
    """With the session of its turn."""
    known: list[str] = field(default_factory=list)
    """Ids of spans that are there already, and answered as if they were new."""
    rejected: list[Rejected] = field(default_factory=list)
    session_id: str | None = None
    """The session of the first span that has one, for the log."""


def check_spans(store: Store, options: Options, spans: list[Any], keep_first: int | None = None) -> Checked:
    """RefusalError: the whole call is refused, and nothing may be stored."""
    checked = Checked()
    in_call = {span["id"]: index for index, span in enumerate(spans) if isinstance(span, dict) and _has_id(span)}
    taken: set[str] = set()
    for index, given in enumerate(spans):
        try:
            span = check_span(given, options)
            if options.span_ids == "own":
                span = span._replace(id=None)
            session_id = _session_of_turn(store, options, span.turn_id)
            checked.session_id = checked.session_id or session_id
            _check_parent(store, options, span, in_call, index)
            if keep_first is not None and len(checked.accepted) >= keep_first:
                raise RefusalError(400, "the span could not be stored.")
        except RefusalError as refusal:
            if refusal.status == 403:
                raise
            checked.rejected.append(Rejected(index, _name(given), refusal.message, refusal.status))
            continue
        if span.id is not None and (span.id in taken or store.row("SELECT 1 FROM span WHERE id = ?", (span.id,))):
            _meet_taken_id(checked, options, span.id, index, span.name)
            continue
        if span.id is not None:
            taken.add(span.id)
        checked.accepted.append((span, session_id))
    return checked


def _session_of_turn(store: Store, options: Options, turn_id: str) -> str:
    if options.foreign_turn_prefix and turn_id.startswith(options.foreign_turn_prefix):
        raise RefusalError(403, "You do not have permission to perform this action.")
    row = store.row("SELECT session_id FROM turn WHERE id = ? AND deleted_at IS NULL", (turn_id,))
    if row is None:
        raise RefusalError(options.unknown_turn_status, f"Trace {turn_id} not found")
    return str(row[0])


def _check_parent(store: Store, options: Options, span: CheckedSpan, in_call: dict[str, int], index: int) -> None:
    if span.parent_id is None or options.unknown_parent == "accept":
        return
    place = in_call.get(span.parent_id)
    if place is not None and (options.unknown_parent == "reject" or place < index):
        return
    if store.row("SELECT 1 FROM span WHERE id = ? AND deleted_at IS NULL", (span.parent_id,)) is None:
        raise RefusalError(400, f"Parent span {span.parent_id} not found")


def _meet_taken_id(checked: Checked, options: Options, span_id: str, index: int, name: str) -> None:
    message = f"A Span with the same id: '{span_id}' already exists."
    if options.taken_span_id == "refuse_all":
        raise RefusalError(400, message)
    if options.taken_span_id == "reject":
        checked.rejected.append(Rejected(index, name, message, 400))
    else:
        checked.known.append(span_id)


def _has_id(span: dict[str, Any]) -> bool:
    return isinstance(span.get("id"), str) and bool(span["id"])


def _name(span: Any) -> str:
    name = span.get("name") if isinstance(span, dict) else None
    return name if isinstance(name, str) else ""
