"""/inferenceResults: turns are listed, changed and deleted; what is unknown about them is an option."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from emulator_client import client_of, new_session, new_turn, post_spans, post_turn

from pipeline.emulator import RunningEmulator, running_emulator

NUMBERS = {
    "latency": 12.5,
    "inputTokens": 3,
    "outputTokens": 4,
    "cacheReadInputTokens": 1,
    "tokens": 8,
    "costPerInputToken": 0.001,
    "costPerOutputToken": 0.002,
    "costPerCacheReadInputToken": 0.0001,
    "cost": 0.02,
}


def test_turns_are_listed_by_filters_sorted_and_paged(api: httpx.Client, session_id: str) -> None:
    other = new_session(api)
    first, second, third = (new_turn(api, one) for one in (session_id, session_id, other))
    created_at = api.get(f"/inferenceResults/{first}").json()["createdAt"]

    def listed(query: str) -> list[str]:
        answer = api.get(f"/inferenceResults?sort=createdAt,asc&{query}")
        assert answer.status_code == 200, answer.text
        return [turn["id"] for turn in answer.json()]

    assert listed("") == [first, second, third]
    assert listed(f"sessionIds[]={session_id}") == [first, second]
    assert listed(f"sessionIds={session_id}&sessionIds={other}&limit=2&offset=1") == [second, third]
    assert listed(f"ids={third}&ids={first}") == [first, third]
    assert listed("sessionIds=session_x") == []
    assert listed("evaluationIds=eval_x") == []
    assert listed(f"fromCreatedAt={created_at}") == [first, second, third]
    assert listed("toCreatedAt=2020-01-01T00:00:00Z") == []
    newest = api.get("/inferenceResults?sort[]=createdAt&sort[]=desc").json()
    assert [turn["id"] for turn in newest] == [third, second, first]


def test_ids_of_missing_turns_are_a_404_that_calls_them_traces(api: httpx.Client, turn_id: str) -> None:
    one = api.get(f"/inferenceResults?ids={turn_id}&ids=ir_x")
    assert (one.status_code, one.json()) == (404, {"message": "Trace ir_x not found"})
    assert api.get("/inferenceResults?ids=ir_x&ids=ir_y").json() == {"message": "Traces not found: ir_x, ir_y"}
    assert api.get(f"/inferenceResults?ids={turn_id}&sessionIds=session_x").status_code == 404
    assert api.get("/inferenceResults/ir_x").json() == {"message": "Trace ir_x not found"}


def test_an_update_changes_what_it_names(api: httpx.Client, turn_id: str) -> None:
    before = api.get(f"/inferenceResults/{turn_id}").json()
    change = {"input": "other", "actualOutput": None, "status": "GENERATED", "error": "late", "index": 4, **NUMBERS}
    answer = api.patch(f"/inferenceResults/{turn_id}", json=change)
    assert answer.status_code == 200
    assert answer.json() == {**before, **change, "input": {"user_message": "other"}}
    assert api.get(f"/inferenceResults/{turn_id}").json() == answer.json()


@pytest.mark.parametrize(
    "change", [{"status": None}, {"status": "DONE"}, {"index": None}, {"latency": -1}, {"input": 1}, {"tokens": "1"}]
)
def test_an_invalid_update_changes_nothing(api: httpx.Client, turn_id: str, change: dict[str, Any]) -> None:
    before = api.get(f"/inferenceResults/{turn_id}").json()
    assert api.patch(f"/inferenceResults/{turn_id}", json={"error": "x", **change}).status_code == 400
    assert api.get(f"/inferenceResults/{turn_id}").json() == before


def test_an_update_does_not_move_a_turn(api: httpx.Client, turn_id: str) -> None:
    before = api.get(f"/inferenceResults/{turn_id}").json()
    place = {"sessionId": new_session(api), "createdAt": "2020-01-01T00:00:00Z", "deletedAt": "2020-01-01T00:00:00Z"}
    assert api.patch(f"/inferenceResults/{turn_id}", json={**place, "creditsUsed": 9}).json() == before


def test_a_deleted_turn_is_gone_with_its_spans(api: httpx.Client, turn_id: str) -> None:
    span_id = post_spans(api, {"inferenceResultId": turn_id, "name": "s"}).json()["spans"][0]["id"]
    deletion = api.delete(f"/inferenceResults/{turn_id}")
    assert (deletion.status_code, deletion.content) == (204, b"")
    for path in (f"/inferenceResults/{turn_id}", f"/traces/{span_id}"):
        assert [api.get(path).status_code, api.delete(path).status_code] == [404, 404]
    assert api.patch(f"/inferenceResults/{turn_id}", json={}).status_code == 404
    assert api.get("/inferenceResults").json() == []


def test_a_deleted_session_takes_its_turns_and_spans_along(
    api: httpx.Client, session_id: str, turn_id: str, emulator: RunningEmulator
) -> None:
    post_spans(api, {"inferenceResultId": turn_id, "name": "s"})
    assert api.delete(f"/sessions/{session_id}").status_code == 204
    assert api.get(f"/inferenceResults?sessionIds={session_id}").json() == []
    assert api.get(f"/traces?sessionIds={session_id}").json() == []
    (turn,) = emulator.sessions(with_turns=True)[0]["turns"]
    assert turn["deletedAt"] is not None
    assert [span["deletedAt"] is not None for span in turn["spans"]] == [True]


def test_a_retrieval_context_is_a_span_of_its_own(api: httpx.Client, session_id: str) -> None:
    turn = post_turn(api, session_id, retrievalContext="the context").json()
    assert "retrievalContext" not in turn

    def contexts() -> list[Any]:
        spans = api.get(f"/traces?inferenceResultIds={turn['id']}").json()
        return [(span["type"], span["outputData"]) for span in spans]

    assert contexts() == [("RETRIEVER", "the context")]
    api.patch(f"/inferenceResults/{turn['id']}", json={"retrievalContext": "another"})
    assert contexts() == [("RETRIEVER", "another")]
    api.patch(f"/inferenceResults/{turn['id']}", json={"retrievalContext": None})
    assert contexts() == []


def test_the_unknown_behaviours_of_turns_are_options() -> None:
    options = {
        "unknown_session_status": 400,
        "turn_created_status": 200,
        "default_turn_status": "GENERATED",
        "output_objects": "any",
        "fractional_latency": "round",
        "negative_turn_numbers": "accept",
        "taken_turn_index": "refuse",
        "turn_patch_of_place": "accept",
        "unknown_fields": "refuse",
        "deleted_sessions_keep_turns": True,
    }
    with running_emulator(options=options) as emulator, client_of(emulator) as api:
        session_id = new_session(api)
        assert post_turn(api, "session_x").status_code == 400
        answer = post_turn(api, session_id, actualOutput={"any": 1}, latency=1.6, cost=-1)
        assert (answer.status_code, answer.json()["latency"], answer.json()["cost"]) == (200, 2, -1)
        assert answer.json()["status"] == "GENERATED"
        assert post_turn(api, session_id, index=0).status_code == 400
        assert post_turn(api, session_id, index=1).status_code == 200
        assert post_turn(api, session_id, colour="red").status_code == 400
        path, other = f"/inferenceResults/{answer.json()['id']}", new_session(api)
        assert api.patch(path, json={"index": 1}).status_code == 400
        place = {"sessionId": other, "createdAt": "2020-01-01T00:00:00.000Z"}
        moved = api.patch(path, json=place).json()
        assert {name: moved[name] for name in place} == place
        assert api.patch(path, json={"createdAt": "yesterday"}).status_code == 400
        assert api.patch(path, json={"sessionId": "session_x"}).status_code == 400
        assert api.delete(f"/sessions/{other}").status_code == 204
        assert api.get(path).json() == moved
        assert api.patch(path, json={"deletedAt": "2020-01-01T00:00:00Z"}).status_code == 200
        assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    ("options", "change", "status"),
    [
        ({"fractional_latency": "refuse"}, {"latency": 1.5}, 400),
        ({"fractional_latency": "refuse"}, {"latency": 2.0}, 200),
        ({"turn_patch_of_place": "refuse"}, {"createdAt": "2020-01-01T00:00:00Z"}, 400),
    ],
)
def test_updates_may_be_refused(options: dict[str, object], change: dict[str, Any], status: int) -> None:
    with running_emulator(options=options) as emulator, client_of(emulator) as api:
        turn_id = new_turn(api, new_session(api))
        assert api.patch(f"/inferenceResults/{turn_id}", json=change).status_code == status


def test_equal_times_may_come_in_any_order() -> None:
    with running_emulator(options={"equal_times_order": "unspecified"}) as emulator, client_of(emulator) as api:
        session_id = new_session(api)
        turns = [{"role": role, "content": "x"} for _ in range(20) for role in ("user", "assistant")]
        api.post("/inferenceResults/batch", json={"sessionId": session_id, "conversationTurns": turns})
        listed = api.get("/inferenceResults?sort=createdAt,asc").json()
        assert [turn["index"] for turn in listed] != list(range(20))
        assert sorted(turn["index"] for turn in listed) == list(range(20))
