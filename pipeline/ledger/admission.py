"""The rules over the nights: what is done about a session, given what the ledger knows of it. Pure functions."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.facts import contains
from pipeline.models import Outcome, SessionImport

SETTLED_STATES = frozenset(["created", "existing"])
IN_DOUBT_STATES = frozenset(["sent", "unknown"])
"""It may be on the server, as it was when it was sent."""
PARTS_MISSING = "parts_missing"
"""The error kind of a session whose earlier parts this ledger knows, and nobody finds any more."""
UPDATE_REJECTED = "update_rejected"
"""The error kind of a changed session whose change the API refused for good: the session stands as it was."""

CONTENT_REJECTED = "content_rejected"
"""The error kind of a session of which the API refused a turn, or its end, for good: a part of it is there."""
SPANS_REJECTED = "spans_rejected"
"""The error kind of a session that is there with all its turns, and of which the API refused spans."""
SPANS_UNKNOWN = ""
"""In the place of a hash of a session's spans: not all of them are known to be there."""


class Known(NamedTuple):
    """A row of the ledger's session table; the order of the fields is that of the query that reads it."""

    id: int
    state: str
    session_id: str | None
    version_id: str | None
    trace_sha256: str
    payload_sha256: str
    facts: bytes
    revision: str | None
    http_status: int | None
    error_kind: str | None
    error: str | None
    settled_run: int | None
    """The run that found or made it; later changes leave that as it is."""
    seen_run: int
    seen_path: int
    seen_ordinal: int
    seen_revision: str | None
    seen_sha256: str
    """Of the trace that was seen last, whether or not it was sent."""
    extent: str | None
    turn_prints: bytes | None
    content_sha256: str | None
    spans_sha256: str | None
    finish: bytes | None
    is_changing: int
    """A change of it was begun, and nobody knows how far it came."""
    sent_by: int | None
    """The process that may have sent something of it and not seen the answer."""


class Policy(NamedTuple):
    """What the configuration says about changes and rejects."""

    on_change: Literal["auto", "update", "report", "recreate"]
    retry_rejected: bool
    completes_existing: bool = False
    """Add to sessions of others what they lack?"""


class Decision(NamedTuple):
    """`action`: create (POST), update (PATCH), complete (add turns and spans), recreate (another in its place), replace
    (create or update, once the earlier one is settled), none, ignore."""

    action: Literal["create", "update", "complete", "recreate", "replace", "none", "ignore"]
    outcome: Outcome = Outcome.PENDING
    error_kind: str | None = None
    error: str | None = None
    displaces: bool = False
    """The earlier record of this input no longer counts: it was superseded."""


CREATE = Decision("create")


def decide(
    session: SessionImport,
    known: Known | None,
    key: tuple[int, int],
    run: int,
    policy: Policy,
    *,
    is_seen_one_sent: bool = False,
) -> Decision:
    """What to do with a session whose first record stands at `key` = (path, ordinal).

    `is_seen_one_sent`: this run has sent what it saw of this session last, or is to send it. Not whether it is settled
    meanwhile: that is a matter of timing, which must decide nothing.
    """
    is_settled = known is not None and known.state in SETTLED_STATES
    if session.missing is not None and not (is_settled and known and session.trace_sha256 == known.trace_sha256):
        return _parts_missing(session, is_settled=is_settled)
    if session.is_young and not _waited_already(session, known, run):
        return Decision("none", Outcome.HELD, "young", "more of this trace may come; a later run sends it")
    if known is None:
        return CREATE
    is_settled = known.state in SETTLED_STATES
    if known.seen_run == run:
        if (known.seen_path, known.seen_ordinal) != key:
            decision = _again_in_this_input(session, known)
            if decision.action == "replace" and is_settled and not is_seen_one_sent:
                return _settled_before(session, known, policy)._replace(displaces=True)
            return decision
        if is_seen_one_sent if is_settled else known.trace_sha256 != known.seen_sha256:
            if is_settled and policy.on_change == "recreate":
                return _settled_before(session, known, policy)  # begun or not: the old one may have lost its name
            return Decision("replace")  # so an earlier process of this run decided
    if is_settled:
        return _settled_before(session, known, policy)
    if known.state == "rejected" and not policy.retry_rejected and known.payload_sha256 == session.payload_sha256:
        return Decision("none", Outcome.REJECTED, known.error_kind, known.error)
    return CREATE


def _parts_missing(session: SessionImport, *, is_settled: bool) -> Decision:
    return Decision(
        "none",
        Outcome.CHANGED if is_settled else Outcome.FAILED,
        PARTS_MISSING,
        f"{session.missing}; what is there now is not the whole, so nothing was sent. Put the file back, or set "
        "assembly.missing_parts: accept to send what is left",
    )


def _waited_already(session: SessionImport, known: Known | None, run: int) -> bool:
    """Is it as it was in an earlier run? Then nothing more came, and it waits no longer."""
    if known is None or session.trace_sha256 not in (known.seen_sha256, known.trace_sha256):
        return False
    return known.seen_run != run or known.state in SETTLED_STATES


def _again_in_this_input(session: SessionImport, known: Known) -> Decision:
    if session.trace_sha256 == known.seen_sha256:
        return Decision("none", Outcome.DUPLICATE)
    if session.revision and known.seen_revision and session.revision != known.seen_revision:
        if session.revision < known.seen_revision:
            return Decision("ignore", error_kind="superseded")
        return Decision("replace", displaces=True)
    return Decision(
        "none",
        Outcome.CONFLICT,
        "conflict",
        "another trace in this input has the same custom id and comes first; this one was not imported. "
        "Mend the export, make mapping.custom_id tell them apart, or set upload.on_conflict: keep_first",
    )


_EXTENTS = (None, "turns", "full")


def _settled_before(session: SessionImport, known: Known, policy: Policy) -> Decision:
    content = session.content
    wanted, there = (_EXTENTS.index(extent) for extent in (content.extent if content else None, known.extent))
    is_ours = known.state == "created"
    may_add = is_ours or (policy.completes_existing and known.session_id is not None)
    lacks_spans = wanted == there == _EXTENTS.index("full") and known.spans_sha256 == SPANS_UNKNOWN
    if session.trace_sha256 == known.trace_sha256:
        if may_add and (wanted > there or (policy.retry_rejected and lacks_spans)):
            return Decision("complete")
        if is_ours and known.is_changing:
            return Decision("update")  # back to what it was before
        is_same = session.payload_sha256 == known.payload_sha256 and (
            content is None or not is_ours or content.sha256 == known.content_sha256
        )
        if wanted < there or is_same:
            # other_payload stays so; what an earlier run sent, this one does not
            stays = not is_ours and known.error_kind != "completed"
            return Decision("none", Outcome.SKIPPED, known.error_kind if stays else None)
        if policy.on_change == "update" and is_ours:
            return Decision("update")
        if policy.on_change == "recreate" and is_ours:
            return Decision("recreate")
        return Decision(
            "none",
            Outcome.SKIPPED,
            "mapping_changed",
            "the same trace would be mapped differently today; the session was left as it is. "
            "upload.on_change: update sends it again",
        )
    if session.revision and known.revision and session.revision < known.revision:
        return Decision("ignore", error_kind="superseded")
    if is_ours:
        if policy.on_change == "update" or (policy.on_change != "report" and contains(session.facts, known.facts)):
            return Decision("update")
        if policy.on_change == "recreate":
            return Decision("recreate")
    elif content is not None and may_add:
        return Decision("complete")
    kind, why = "reported", "it does not merely add to the one imported before"
    if known.state == "existing":
        kind, why = "other_payload", "the session on the server is not this ledger's"
    return Decision(
        "none", Outcome.CHANGED, kind, f"another trace than before under this custom id; {why}, so nothing was sent"
    )
