"""Does the server hold what the ledger says? Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.ledger.settled import Settled
from pipeline.payload import stored_sha256s
from pipeline.uploader.client import StoredSession


class Difference(StrEnum):
    """How a session on the server differs from what the ledger says of it."""

    MISSING = "missing"  # not there: deleted, or hidden
    DOUBLED = "doubled"  # the same custom id twice for this version
    FOREIGN = "foreign"  # the ledger says that it created it, and the mark is another one's, or gone
    DIFFERENT = "different"  # it holds something else
    UNANSWERED = "unanswered"  # the API would not say


class Finding(NamedTuple):
    """One of them."""

    kind: Difference
    session: Settled
    detail: str


def compare(session: Settled, found: Sequence[StoredSession], ledger_id: str, *, contents: bool) -> Finding | None:
    """What differs, the worst first; None where all is as the ledger says. `contents`: look into it, too."""

    def finding(kind: Difference, detail: str) -> Finding:
        return Finding(kind, session, detail)

    if not found:
        if session.session_id is None:
            return None  # so the ledger says: refused as existing, and never shown
        return finding(Difference.MISSING, "the API does not show it: it was deleted, or is hidden")
    if len(found) > 1:
        ids = ", ".join(item.id for item in found)
        return finding(Difference.DOUBLED, f"{len(found)} sessions have this custom id: {ids}")
    stored = found[0]
    mark = mark_of(stored)
    if session.state == "created" and mark.get("ledger") != ledger_id:
        whose = "carries no mark" if not mark else "carries the mark of another ledger"
        return finding(Difference.FOREIGN, f"this ledger created it, and it {whose}")
    if session.session_id is not None and stored.id != session.session_id:
        return finding(Difference.DIFFERENT, f"it is another session, {stored.id}")
    if stored.customId != session.custom_id:
        return finding(Difference.DIFFERENT, f"its custom id is now {stored.customId!r}")
    if session.state == "created" and (stored.isProduction is not False or stored.testCaseId is not None):
        return finding(Difference.DIFFERENT, "it is no longer an imported session (isProduction, testCaseId)")
    if contents and has_known_content(session) and not _holds(session, stored, mark):
        return finding(Difference.DIFFERENT, "its content is not what the ledger says")
    return None


def has_known_content(session: Settled) -> bool:
    """Does the ledger say what it holds? Not of what it merely found there, and could not attribute."""
    return bool(session.payload_sha256) and session.error_kind != "other_payload"


def mark_of(stored: StoredSession) -> dict[str, Any]:
    """The mark that a session carries (payload.py), or an empty one."""
    mark = (stored.metadata or {}).get("trace_import")
    return mark if isinstance(mark, dict) else {}


def _holds(session: Settled, stored: StoredSession, mark: dict[str, Any]) -> bool:
    if session.state == "existing" and mark.get("sha256") == session.payload_sha256:
        return True  # so it was attributed (attribution.py)
    # Galtea closes sessions that are PENDING by itself after a while (api-contract 2.5): that is no other content.
    return any(
        session.payload_sha256 in stored_sha256s(status, stored.context, stored.metadata or {})
        for status in {stored.status or "", "PENDING"}
    )
