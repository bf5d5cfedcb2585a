"""Whose session was found: the mark tells, and where there is none, the content."""

from __future__ import annotations

import json
from typing import Any

from pipeline.models import SessionImport
from pipeline.payload import create_body
from pipeline.uploader.attribution import Whose, whose
from pipeline.uploader.client import StoredSession
from tests.unit.factories import make_session, make_trace

OURS = "our-ledger"


def stored(session: SessionImport, ledger_id: str, **changed: Any) -> StoredSession:
    """The session as the API returns it after `ledger_id` has sent it."""
    sent = json.loads(create_body(session, session.custom_id, version_id="v", ledger_id=ledger_id))
    if isinstance(sent["context"], str):
        sent["context"] = {"value": sent["context"]}
    return StoredSession.model_validate({"id": "s1", "testCaseId": None, **sent, **changed})


def without_mark(session: StoredSession) -> StoredSession:
    metadata = {key: value for key, value in (session.metadata or {}).items() if key != "trace_import"}
    return session.model_copy(update={"metadata": metadata})


def test_our_mark_and_our_hash_are_ours() -> None:
    session = make_session()
    assert whose(stored(session, OURS), session, OURS) is Whose.OURS


def test_our_mark_and_another_hash_is_ours_with_something_else() -> None:
    old, new = make_session(), make_session(make_trace(turns=2))
    assert whose(stored(old, OURS), new, OURS) is Whose.OURS_BUT_OTHER


def test_another_ledgers_mark_with_our_hash_is_the_same_content() -> None:
    session = make_session()
    assert whose(stored(session, "theirs"), session, OURS) is Whose.SAME_CONTENT


def test_another_ledgers_mark_counts_where_the_server_wrote_numbers_anew() -> None:
    session = make_session(make_trace(cost=1.0))
    found = stored(session, "theirs")
    assert found.metadata is not None
    rewritten = {**found.metadata, "cost": 1}  # JavaScript knows no 1.0
    assert whose(found.model_copy(update={"metadata": rewritten}), session, OURS) is Whose.SAME_CONTENT


def test_another_ledgers_other_content_is_foreign() -> None:
    old, new = make_session(), make_session(make_trace(turns=2))
    assert whose(stored(old, "theirs"), new, OURS) is Whose.FOREIGN


def test_the_same_content_without_mark_is_told_from_other_content() -> None:
    session = make_session()
    found = without_mark(stored(session, OURS))
    assert whose(found, session, OURS) is Whose.SAME_CONTENT
    assert whose(found.model_copy(update={"status": "FAILED"}), session, OURS) is Whose.FOREIGN


def test_a_context_that_is_a_text_comes_back_in_an_object() -> None:
    session = make_session(mapping={"context": "join(', ', turns[].input)"})
    assert whose(without_mark(stored(session, OURS)), session, OURS) is Whose.SAME_CONTENT


def test_a_production_session_is_never_ours_without_a_mark() -> None:
    session = make_session()
    assert whose(without_mark(stored(session, OURS, isProduction=True)), session, OURS) is Whose.FOREIGN


def test_metadata_that_is_not_there_or_odd_is_foreign() -> None:
    session = make_session()
    assert whose(StoredSession(id="s1"), session, OURS) is Whose.FOREIGN
    assert whose(stored(session, OURS, metadata={"trace_import": "odd"}), session, OURS) is Whose.FOREIGN
