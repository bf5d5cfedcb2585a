"""How a session that was to be sent ended, and what that changes in its row and in the run's row."""

from __future__ import annotations

from array import array
from typing import Any, Literal, NamedTuple

from pipeline.facts import UNKNOWN_FACTS
from pipeline.ledger.admission import CONTENT_REJECTED, SETTLED_STATES, SPANS_UNKNOWN, UPDATE_REJECTED
from pipeline.models import Content, Outcome, SessionImport
from pipeline.prints import PRINT_BYTES, spans_sha256

_STATE_OF = {
    Outcome.CREATED: "created",
    Outcome.EXISTING: "existing",
    Outcome.REJECTED: "rejected",
    Outcome.FAILED: "failed",
    Outcome.UNKNOWN: "unknown",
}
_LEFT_ALONE = frozenset(["turns_differ", "other_payload", UPDATE_REJECTED])
SETTLE_ENTRY = (
    "UPDATE entry SET outcome = ?, session_id = ?, http_status = ?, attempts = attempts + ?, error_kind = ?, "
    "error = ?, first_sent_at = coalesce(first_sent_at, ?), settled_at = ?, latency_ms = ? "
    "WHERE run = ? AND path = ? AND ordinal = ?"
)


class Before(NamedTuple):
    """What the server holds of a session that is to be changed, as far as the ledger knows."""

    payload_sha256: str = ""
    prints: bytes = b""
    """Of its turns (prints.py)."""
    spans_sha256: str | None = None
    """Of the spans of these turns (prints.py)."""
    finish: bytes | None = None
    """The body that ended it."""
    is_changing: bool = False
    """An earlier process may have begun this change, or another one."""
    sent_by: int | None = None
    sent_at: str | None = None
    """The process that may have sent something of it and not seen the answer, and when at the latest."""

    @property
    def turns(self) -> int:
        """How many."""
        return len(self.prints) // PRINT_BYTES

    def is_as_sent(self, place: int, prints: bytes) -> bool:
        """Was the turn in this place sent as these prints say it of all turns?"""
        both = slice(place * PRINT_BYTES, (place + 1) * PRINT_BYTES)
        return self.prints[both] == prints[both]

    @property
    def said(self) -> bytes:
        """Of each turn, the print of what was said."""
        return array("Q", self.prints)[::2].tobytes()


def before_of(session: SessionImport) -> Before:
    """The same, of a session that was just sent whole."""
    content = session.content
    if content is None:
        return Before(session.payload_sha256, b"", spans_sha256(()), None)
    return Before(session.payload_sha256, content.prints, spans_sha256(content.turns), content.finish)


class Send(NamedTuple):
    """A session that is to be sent: its row, its place in the run, and what to do."""

    row: int
    key: tuple[int, int]
    custom_id: str
    session: SessionImport
    action: Literal["create", "update", "complete", "recreate", "replace"]
    version_id: str | None
    """The version that an earlier intent named; None: the run's."""
    session_id: str | None
    state: str | None
    """What the ledger knew of it; None: nothing."""
    is_older: bool = False
    """It was settled by an earlier run."""
    grows_from: str | None = None
    """Hash of the payload that an earlier process may have stored, where this trace contains that one."""
    before: Before = Before()


class Settlement(NamedTuple):
    """How one Send ended. `is_applied`: the server now holds this very payload; `is_in_doubt`: it may hold it."""

    send: Send
    outcome: Outcome
    is_in_doubt: bool
    is_applied: bool = False
    session_id: str | None = None
    version_id: str | None = None
    http_status: int | None = None
    attempts: int = 0
    error_kind: str | None = None
    error: str | None = None
    first_sent_at: str | None = None
    settled_at: str | None = None
    latency_ms: float | None = None
    is_begun: bool = False
    """The ledger knows that turns or spans of it were sent."""
    is_clear: bool = True
    """Nothing that was sent can come to light any more; else the row says who sent it, as before."""
    stored_turns: int = 0
    """So many of its turns the API has said it stored."""
    refused_spans: str | None = None
    """Which spans the API did not take, and why."""
    refused_all_spans: str | None = None
    """Why, where it took none."""
    has_stored_spans: bool = False
    """It took some."""

    @property
    def is_refused(self) -> bool:
        """Did the API refuse it for good: the session, its change, or what it holds?"""
        is_update = self.outcome is Outcome.CHANGED and self.error_kind == UPDATE_REJECTED
        is_content = self.outcome is Outcome.FAILED and self.error_kind == CONTENT_REJECTED
        return is_update or is_content or self.outcome is Outcome.REJECTED


class Traffic(NamedTuple):
    """Requests since the last time they were told."""

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_sent: int = 0


NO_TRAFFIC = Traffic()


class Change(NamedTuple):
    """Which columns of the session's row a settlement changes."""

    state: str | None
    """None: it stays."""
    content: Literal["sent", "unknown", "same"]
    """What the server holds now: what was sent, something that nobody knows, or what it held before."""
    is_new: bool
    """Settled for the first time, not changed."""
    has_version: bool
    is_refused: bool
    is_applied: bool
    is_left_alone: bool
    """Nothing of the change was sent, or it was refused as a whole: it was never begun."""
    has_refused_spans: bool
    is_clear: bool
    is_underway: bool
    """It did not come to its end; how far it came is written down."""


def change_of(done: Settlement) -> Change:
    """From how it ended; the rest of a settlement are values (session_values)."""
    state = _STATE_OF.get(done.outcome)
    if done.outcome is Outcome.CHANGED and done.session_id is not None:
        state = "existing" if done.send.state == "existing" else "created"  # ours, by its mark
    if done.outcome is Outcome.FAILED and done.session_id is not None:
        state = "unknown"  # a part of it is there: the next run looks before it sends
    if done.outcome is Outcome.PENDING and not done.is_in_doubt:
        state = "pending"  # it did not leave, or was refused: nothing of it is in flight
    content: Literal["sent", "unknown", "same"] = "same"
    if done.is_applied or done.outcome in (Outcome.EXISTING, Outcome.REJECTED):
        content = "sent"
    elif done.outcome is Outcome.CHANGED and done.send.state not in SETTLED_STATES:
        content = "unknown"  # found on the server, ours, and with something else in it than what is in the row
    is_new = done.outcome is not Outcome.CHANGED
    is_left_alone = done.outcome is Outcome.CHANGED and done.error_kind in _LEFT_ALONE
    return Change(
        state,
        content,
        is_new,
        done.version_id is not None,
        done.is_refused,
        done.is_applied,
        is_left_alone and done.send.state in SETTLED_STATES,
        done.refused_spans is not None,
        done.is_clear,
        done.outcome in (Outcome.PENDING, Outcome.FAILED, Outcome.UNKNOWN)
        and done.send.session.content is not None
        and (done.is_begun or done.send.action != "replace"),  # else the row tells of the older state
    )


def entry_values(done: Settlement, run: int) -> tuple[Any, ...]:
    """For SETTLE_ENTRY: the row of the run, which becomes one of the manifest."""
    return (
        done.outcome,
        done.session_id,
        done.http_status,
        done.attempts,
        *told(done.send.session, done.error_kind, done.error),
        done.first_sent_at,
        done.settled_at,
        done.latency_ms,
        run,
        *done.send.key,
    )


def told(session: SessionImport, kind: str | None, error: str | None) -> tuple[str | None, str | None]:
    """Kind and error of a row of the manifest: where nothing else is to be told, that the trace is not whole."""
    if session.also_alone:
        kind = kind or "also_alone"
        twice = f"imported alone before, and still there: {', '.join(session.also_alone)}"
        error = f"{error}; {twice}" if error else twice
    return ("partial", session.partial) if kind is None and session.partial is not None else (kind, error)


def settle_session(change: Change) -> str:
    """The statement for all settlements that change the same columns; see session_values."""
    columns = ["http_status = ?", "error_kind = ?", "error = ?"]
    if change.state in SETTLED_STATES:
        columns += ["state = ?", "session_id = ?"]
        columns += ["settled_run = ?"] if change.is_new else []
    elif change.state is not None:  # an update that failed leaves a settled session settled, as it was
        columns.append("state = CASE WHEN state IN ('created', 'existing') THEN state ELSE ? END")
    if change.content != "same":
        columns += ["trace_sha256 = ?", "payload_sha256 = ?", "facts = ?", "revision = ?"]
    if change.has_version:
        columns.append("version_id = ?")
    if change.is_applied:
        columns += ["extent = ?", "turn_prints = ?", "content_sha256 = ?", "spans_sha256 = ?", "finish = ?"]
        columns.append("is_changing = 0")
    if change.is_left_alone:
        columns.append("is_changing = ?")
    if change.is_underway:
        columns.append("turn_prints = CASE WHEN state IN ('created', 'existing') THEN turn_prints ELSE ? END")
    if change.is_clear:
        columns.append("sent_by = NULL")
    return f"UPDATE session SET {', '.join(columns)} WHERE id = ?"


def session_values(done: Settlement, change: Change, run: int) -> list[Any]:
    """In the order in which settle_session names the columns."""
    session = done.send.session
    values: list[Any] = [done.http_status, done.error_kind, done.error]
    if change.state in SETTLED_STATES:
        values += [change.state, done.session_id]
        values += [run] if change.is_new else []
    elif change.state is not None:
        values.append(change.state)
    if change.content == "sent":
        values += [session.trace_sha256, session.payload_sha256, session.facts, session.revision]
    elif change.content == "unknown":
        values += ["", "", UNKNOWN_FACTS, None]
    if change.has_version:
        values.append(done.version_id)
    if change.is_applied:
        content = session.content
        values += _known(content, lacks_spans=change.has_refused_spans) if content is not None else [None] * 5
    if change.is_left_alone:
        values.append(done.send.before.is_changing)
    if change.is_underway:
        values.append(_stored_prints(done))
    values.append(done.send.row)
    return values


def _stored_prints(done: Settlement) -> bytes:
    content, before = done.send.session.content, done.send.before
    assert content is not None
    return content.prints[: PRINT_BYTES * done.stored_turns] if done.stored_turns else before.prints


def _known(content: Content, *, lacks_spans: bool) -> list[Any]:
    spans = SPANS_UNKNOWN if lacks_spans else spans_sha256(content.turns)
    return [content.extent, content.prints, content.sha256, spans, content.finish]
