"""Sessions close, also by themselves; what a turn does to a closed one."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from emulator_client import client_of, messages, new_session, new_turn, post_batch, post_session, post_spans, post_turn

from pipeline.emulator import RunningEmulator, running_emulator

POLICY = "closedSessionInferenceCreationPolicy"
HALF_AN_HOUR = 30 * 60


@pytest.fixture
def closed_id(api: httpx.Client) -> str:
    session_id = new_session(api, customId="closed")
    answer = api.patch(f"/sessions/{session_id}/finish", json={"stoppingReason": "DONE"})
    assert answer.json()["status"] == "COMPLETED"
    return session_id


def status(api: httpx.Client, session_id: str) -> str:
    return str(api.get(f"/sessions/{session_id}").json()["status"])


def turns_of(emulator: RunningEmulator) -> list[dict[str, Any]]:
    return [turn for session in emulator.sessions(with_turns=True) for turn in session["turns"]]


def test_by_default_a_turn_reopens_a_closed_session(
    api: httpx.Client, closed_id: str, emulator: RunningEmulator
) -> None:
    assert post_turn(api, closed_id).status_code == 201
    session = api.get(f"/sessions/{closed_id}").json()
    assert (session["status"], session["stoppingReason"], session["error"]) == ("PENDING", None, None)
    assert len(turns_of(emulator)) == 1
    failed = new_session(api, status="FAILED")
    assert post_batch(api, failed, messages("q", "a")).status_code == 201
    assert status(api, failed) == "PENDING"


def test_a_closed_session_may_reject_turns(api: httpx.Client, closed_id: str, emulator: RunningEmulator) -> None:
    emulator.set_product("prod_123", **{POLICY: "REJECT"})
    by_custom_id = {"sessionId": ..., "sessionCustomId": "closed", "versionId": "ver_123"}
    for answer in (
        post_turn(api, closed_id),
        post_turn(api, closed_id, **by_custom_id),
        post_batch(api, closed_id, messages("q", "a")),
    ):
        assert (answer.status_code, answer.json().keys()) == (400, {"message"})
    assert (status(api, closed_id), turns_of(emulator)) == ("COMPLETED", [])


def test_a_closed_session_may_ignore_turns_which_looks_like_success(
    api: httpx.Client, closed_id: str, emulator: RunningEmulator
) -> None:
    emulator.set_product("prod_123", **{POLICY: "IGNORE"})
    one, batch = post_turn(api, closed_id), post_batch(api, closed_id, messages("q", "a"))
    assert (one.status_code, batch.status_code, len(batch.json())) == (201, 201, 1)
    assert api.get(f"/inferenceResults/{one.json()['id']}").status_code == 404
    assert api.get(f"/inferenceResults?sessionIds={closed_id}").json() == []
    assert (status(api, closed_id), turns_of(emulator)) == ("COMPLETED", [])
    assert [entry["turn_ids"] for entry in emulator.log() if entry["status"] == 201][-2:] == [[], []]


@pytest.mark.parametrize("policy", ["REJECT", "IGNORE"])
def test_an_open_session_takes_turns_whatever_the_policy(
    api: httpx.Client, session_id: str, emulator: RunningEmulator, policy: str
) -> None:
    emulator.set_product("prod_123", **{POLICY: policy})
    assert post_turn(api, session_id).status_code == 201
    assert len(turns_of(emulator)) == 1


def test_each_product_has_its_own_policy(api: httpx.Client, emulator: RunningEmulator) -> None:
    emulator.set_product("prod_123", **{POLICY: "REJECT"})
    strict = {"name": "Kind", "description": "d", POLICY: "REOPEN_AND_REEVALUATE"}
    product = api.post("/products", json=strict).json()
    assert product[POLICY] == "REOPEN_AND_REEVALUATE"
    assert post_turn(api, new_session(api, versionId=..., productId=product["id"], status="FAILED")).status_code == 201
    assert post_turn(api, new_session(api, status="FAILED")).status_code == 400


@pytest.mark.parametrize("wrong", [{POLICY: "LATER"}, {"autoCloseScope": "SOME"}, {"autoCloseInactivityMinutes": 0}])
def test_a_product_has_only_known_settings(
    api: httpx.Client, emulator: RunningEmulator, wrong: dict[str, object]
) -> None:
    assert api.post("/products", json={"name": "P", "description": "d", **wrong}).status_code == 400
    with pytest.raises(ValueError, match=next(iter(wrong))):
        emulator.set_product("prod_123", **wrong)


def test_spans_and_updates_do_not_reopen(api: httpx.Client, session_id: str, turn_id: str) -> None:
    api.patch(f"/sessions/{session_id}/finish", json={"error": "x"})
    assert post_spans(api, {"inferenceResultId": turn_id, "name": "s"}).status_code == 201
    assert api.patch(f"/inferenceResults/{turn_id}", json={"error": "late"}).status_code == 200
    assert status(api, session_id) == "FAILED"


def test_an_error_alone_leaves_a_session_open(api: httpx.Client, session_id: str) -> None:
    assert api.patch(f"/sessions/{session_id}", json={"error": "x"}).json()["status"] == "PENDING"


def test_an_idle_session_closes_after_half_an_hour(
    api: httpx.Client, session_id: str, emulator: RunningEmulator
) -> None:
    emulator.forward(HALF_AN_HOUR - 60)
    assert status(api, session_id) == "PENDING"
    emulator.forward(60)
    assert status(api, session_id) == "COMPLETED"
    assert api.get("/sessions?statuses=PENDING").json() == []


def test_a_deleted_session_stays_as_it_was(api: httpx.Client, session_id: str, emulator: RunningEmulator) -> None:
    api.delete(f"/sessions/{session_id}")
    emulator.forward(HALF_AN_HOUR)
    assert [session["status"] for session in emulator.sessions()] == ["PENDING"]


def test_what_happens_to_a_session_begins_its_idle_time_anew(api: httpx.Client, emulator: RunningEmulator) -> None:
    session_id = new_session(api)
    turn_id = new_turn(api, session_id)
    for act in (
        lambda: post_turn(api, session_id),
        lambda: post_batch(api, session_id, messages("q", "a")),
        lambda: post_spans(api, {"inferenceResultId": turn_id, "name": "s"}),
        lambda: api.patch(f"/inferenceResults/{turn_id}", json={"error": "x"}),
        lambda: api.patch(f"/sessions/{session_id}", json={"metadata": {}}),
    ):
        emulator.forward(HALF_AN_HOUR - 60)
        assert act().is_success
        assert status(api, session_id) == "PENDING"
    emulator.forward(HALF_AN_HOUR - 60)
    assert status(api, session_id) == "PENDING"
    emulator.forward(60)
    assert status(api, session_id) == "COMPLETED"


def test_the_scope_says_which_sessions_close_by_themselves(api: httpx.Client, emulator: RunningEmulator) -> None:
    for scope, expected in (
        ("NONE", ("PENDING", "PENDING")),
        ("DEVELOPMENT", ("COMPLETED", "PENDING")),
        ("PRODUCTION", ("PENDING", "COMPLETED")),
        ("ALL", ("COMPLETED", "COMPLETED")),
    ):
        emulator.set_product("prod_123", autoCloseScope=scope, autoCloseInactivityMinutes=2)
        ids = [new_session(api, isProduction=is_production) for is_production in (False, True)]
        emulator.forward(120)
        assert tuple(status(api, session_id) for session_id in ids) == expected, scope


def test_a_session_that_closed_meets_the_policy(api: httpx.Client, session_id: str, emulator: RunningEmulator) -> None:
    emulator.set_product("prod_123", **{POLICY: "REJECT"})
    emulator.forward(HALF_AN_HOUR)
    assert post_turn(api, session_id).status_code == 400


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_reset_turns_the_clock_back_for_good(tmp_path: Path, is_restarted: bool) -> None:
    with running_emulator(data=tmp_path / "state.sqlite") as emulator:
        emulator.forward(10 * HALF_AN_HOUR)
        emulator.reset()
        if is_restarted:
            emulator.restart()
        with client_of(emulator) as api:
            created_at = post_session(api).json()["createdAt"]
            assert abs(datetime.fromisoformat(created_at).timestamp() - time.time()) < HALF_AN_HOUR
            emulator.forward(HALF_AN_HOUR)
            assert api.get("/sessions").json()[0]["status"] == "COMPLETED"


def test_the_clock_does_not_go_back(emulator: RunningEmulator) -> None:
    with pytest.raises(ValueError, match="not negative"):
        emulator.forward(-1)


def test_policy_and_closing_are_options_of_products_without_their_own() -> None:
    options = {
        "closed_session_policy": "IGNORE",
        "ignored_turn_answer": "empty",
        "auto_close_minutes": 1,
        "auto_close_scope": "DEVELOPMENT",
        "auto_close_status": "FAILED",
    }
    with running_emulator(options=options) as emulator, client_of(emulator) as api:
        assert api.get("/products/prod_123").json()[POLICY] == "IGNORE"
        session_id, production = new_session(api), new_session(api, isProduction=True)
        emulator.forward(60)
        assert (status(api, session_id), status(api, production)) == ("FAILED", "PENDING")
        answers = post_turn(api, session_id), post_batch(api, session_id, messages("q", "a"))
        assert [answer.json() for answer in answers] == [None, []]
        assert turns_of(emulator) == []


def test_a_reopened_session_may_keep_its_end() -> None:
    with running_emulator(options={"reopened_keeps_end": True}) as emulator, client_of(emulator) as api:
        session_id = new_session(api)
        api.patch(f"/sessions/{session_id}/finish", json={"stoppingReason": "DONE"})
        post_turn(api, session_id)
        session = api.get(f"/sessions/{session_id}").json()
        assert (session["status"], session["stoppingReason"]) == ("PENDING", "DONE")


@pytest.mark.parametrize(("are_writable", "statuses"), [(True, [201, 200, 200]), (False, [404, 404, 404])])
def test_a_session_that_reads_do_not_show_yet_may_be_writable(are_writable: bool, statuses: list[int]) -> None:
    faults = [{"match": "POST /sessions", "do": {"visible_after_ms": 60_000}}]
    options = {"hidden_sessions_are_writable": are_writable}
    with running_emulator(faults=faults, options=options) as emulator, client_of(emulator) as api:
        session_id = new_session(api)
        path = f"/sessions/{session_id}"
        assert api.get(path).status_code == 404
        answers = [
            post_turn(api, session_id),
            api.patch(path, json={"metadata": {}}),
            api.patch(f"{path}/finish", json={"error": "x"}),
        ]
        assert [answer.status_code for answer in answers] == statuses
        emulator.forward(60)
        assert api.get(path).status_code == 200
