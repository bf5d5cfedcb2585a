"""Whose session is it? The mark tells (reliability.md, Identity). Pure functions."""

from __future__ import annotations

from enum import Enum, auto

from pipeline.models import SessionImport
from pipeline.payload import stored_sha256s
from pipeline.uploader.client import StoredSession


class Whose(Enum):
    """What a session that was found on the server is to us."""

    OURS = auto()  # this ledger made it, with this very payload
    OURS_BEFORE = auto()  # this ledger made it, of less of the same trace
    OURS_BUT_OTHER = auto()  # this ledger made it, with another payload
    SAME_CONTENT = auto()  # somebody else made it, with this very payload
    FOREIGN = auto()  # somebody else made it, with another payload


def whose(found: StoredSession, session: SessionImport, ledger_id: str, grows_from: str | None = None) -> Whose:
    """Compare the mark, and where there is none of ours, the content. `grows_from`: see Send."""
    metadata = found.metadata or {}
    mark = metadata.get("trace_import")
    mark = mark if isinstance(mark, dict) else {}
    is_ours, is_same = mark.get("ledger") == ledger_id, mark.get("sha256") == session.payload_sha256
    if is_ours:
        if is_same:
            return Whose.OURS
        return (
            Whose.OURS_BEFORE if grows_from is not None and mark.get("sha256") == grows_from else Whose.OURS_BUT_OTHER
        )
    if found.isProduction is not False or found.testCaseId is not None:
        return Whose.FOREIGN
    # The mark first: a server that writes 1.0 as 1 has changed the text, and with it the hash of the content.
    if is_same or session.payload_sha256 in stored_sha256s(found.status or "", found.context, metadata):
        return Whose.SAME_CONTENT
    return Whose.FOREIGN
