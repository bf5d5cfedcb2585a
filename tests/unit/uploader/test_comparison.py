"""Is on the server what the ledger says? One session after the other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.ledger.settled import Settled
from pipeline.models import SessionImport, Status
from pipeline.payload import create_body
from pipeline.uploader.client import StoredSession
from pipeline.uploader.comparison import Difference, compare
from tests.unit.factories import make_session, make_trace

OURS = "our-ledger"


def settled(session: SessionImport, **changed: Any) -> Settled:
    row = Settled(1, session.custom_id, "created", "s1", "v", session.payload_sha256, None)
    return row._replace(**changed)


def stored(session: SessionImport, ledger_id: str = OURS, **changed: Any) -> StoredSession:
    sent = json.loads(create_body(session, session.custom_id, version_id="v", ledger_id=ledger_id))
    if isinstance(sent["context"], str):
        sent["context"] = {"value": sent["context"]}
    return StoredSession.model_validate({"id": "s1", "testCaseId": None, **sent, **changed})


def kind_of(row: Settled, *found: StoredSession, contents: bool = True) -> Difference | None:
    finding = compare(row, found, OURS, contents=contents)
    return finding.kind if finding is not None else None


def test_what_was_sent_is_as_the_ledger_says() -> None:
    session = make_session()
    assert kind_of(settled(session), stored(session)) is None


def test_nothing_there_is_missing() -> None:
    assert kind_of(settled(make_session())) is Difference.MISSING


def test_what_the_server_never_showed_is_as_the_ledger_says_while_it_does_not() -> None:
    hidden = settled(make_session(), state="existing", session_id=None, error_kind="hidden_or_deleted")
    assert kind_of(hidden) is None


def test_two_of_one_custom_id_are_doubled_and_named() -> None:
    session = make_session()
    finding = compare(settled(session), [stored(session), stored(session, id="s2")], OURS, contents=True)
    assert finding is not None
    assert finding.kind is Difference.DOUBLED
    assert "s1, s2" in finding.detail


@pytest.mark.parametrize("mark", [None, {"ledger": "theirs"}, "ours"])
def test_what_we_created_and_carries_no_mark_of_ours_is_foreign(mark: Any) -> None:
    session = make_session()
    metadata = {**(stored(session).metadata or {}), "trace_import": mark}
    assert kind_of(settled(session), stored(session, metadata=metadata)) is Difference.FOREIGN


def test_what_was_found_there_may_carry_any_mark() -> None:
    session = make_session()
    assert kind_of(settled(session, state="existing"), stored(session, "theirs")) is None


def test_what_was_found_there_with_something_else_in_it_is_not_looked_into() -> None:
    mine, theirs = make_session(), make_session(make_trace(turns=2))
    found = settled(mine, state="existing", error_kind="other_payload")
    assert kind_of(found, stored(theirs, "theirs")) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"context": {"turns": []}},
        {"status": "FAILED"},
        {"isProduction": True},
        {"testCaseId": "tc_1"},
        {"id": "s2"},
        {"customId": "another"},
    ],
    ids=str,
)
def test_what_is_not_as_it_was_sent_is_different(changed: dict[str, Any]) -> None:
    session = make_session()
    assert kind_of(settled(session), stored(session, **changed)) is Difference.DIFFERENT


def test_contents_outside_the_sample_are_not_looked_into() -> None:
    session = make_session()
    assert kind_of(settled(session), stored(session, context={}), contents=False) is None


def test_a_content_that_the_ledger_does_not_know_is_not_looked_into() -> None:
    session = make_session()
    assert kind_of(settled(session, payload_sha256=""), stored(session, context={})) is None


def test_a_session_that_galtea_closed_meanwhile_is_no_other_one() -> None:
    session = make_session(make_trace(status=Status.PENDING))
    assert kind_of(settled(session), stored(session, status="COMPLETED")) is None
