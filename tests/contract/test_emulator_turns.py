"""/inferenceResults: one turn at a time."""

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


def test_a_turn_is_answered_with_all_that_is_stored(api: httpx.Client, session_id: str) -> None:
    more = {"status": "FAILED", "error": "boom", "userId": "u", "conversationSimulatorVersion": "v2", **NUMBERS}
    answer = post_turn(api, session_id, **more)
    assert answer.status_code == 201
    turn = answer.json()
    assert turn["id"].startswith("ir_")
    assert turn == {
        "id": turn["id"],
        "sessionId": session_id,
        "index": 0,
        "input": {"user_message": "question"},
        "actualOutput": "answer",
        **more,
        "creditsUsed": 0,
        "traceId": None,
        "createdAt": turn["createdAt"],
        "deletedAt": None,
    }
    assert api.get(f"/inferenceResults/{turn['id']}").json() == turn
    assert api.get(f"/inferenceResults?sessionIds={session_id}").json() == [turn]


def test_what_is_left_out_or_null_is_null_and_the_status_pending(api: httpx.Client, session_id: str) -> None:
    left_out = post_turn(api, session_id, input=..., actualOutput=...).json()
    null = post_turn(api, session_id, input=None, actualOutput=None, index=None, status=None, **dict.fromkeys(NUMBERS))
    assert (left_out["input"], left_out["actualOutput"], left_out["status"]) == (None, None, "PENDING")
    own = {"id", "index", "createdAt"}
    assert {k: v for k, v in null.json().items() if k not in own} == {k: v for k, v in left_out.items() if k not in own}


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        ("input", {"user_message": "q", "chat": [1]}, {"user_message": "q", "chat": [1]}),
        ("input", {}, {}),
        ("input", "", {"user_message": ""}),
        ("actualOutput", "", ""),
        ("actualOutput", {"assistant_message": "a", "x": 1}, {"assistant_message": "a", "x": 1}),
        ("actualOutput", {"content": []}, {"content": []}),
        ("tokens", 3.0, 3.0),
    ],
)
def test_objects_are_stored_as_sent_and_an_input_text_is_wrapped(
    api: httpx.Client, session_id: str, field: str, sent: Any, stored: Any
) -> None:
    assert post_turn(api, session_id, **{field: sent}).json()[field] == stored


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": 1},
        {"input": ["q"]},
        {"actualOutput": 1},
        {"actualOutput": []},
        {"actualOutput": {"text": "a"}},
        {"actualOutput": {"assistant_message": 1}},
        {"actualOutput": {"content": "a"}},
        {"retrievalContext": ["c"]},
        {"latency": "12"},
        {"latency": True},
        {"latency": -1},
        {"tokens": 1.5},
        {"inputTokens": -1},
        {"cost": -0.1},
        {"costPerInputToken": "1"},
        {"status": "DONE"},
        {"status": "generated"},
        {"error": {}},
        {"userId": 1},
        {"index": -1},
        {"index": "0"},
        {"index": 0.5},
        {"conversationSimulatorVersion": 2},
        {"sessionId": ...},
        {"sessionId": ""},
        {"sessionId": 1},
        {"sessionCustomId": "c", "versionId": "ver_123"},  # beside sessionId
        {"sessionId": ..., "sessionCustomId": "c"},
        {"sessionId": ..., "sessionCustomId": "c", "versionId": None, "productId": ""},
        {"sessionId": ..., "sessionCustomId": 1, "versionId": "ver_123"},
    ],
)
def test_an_invalid_turn_is_a_400_and_nothing_is_stored(
    api: httpx.Client, session_id: str, emulator: RunningEmulator, wrong: dict[str, Any]
) -> None:
    answer = post_turn(api, session_id, **wrong)
    assert (answer.status_code, answer.json().keys()) == (400, {"message"})
    assert emulator.sessions(with_turns=True)[0]["turns"] == []


@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"'])
def test_a_body_that_is_no_object_is_a_400(api: httpx.Client, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/inferenceResults", "/inferenceResults/batch", "/traces"):
        assert api.post(path, content=content, headers=headers).status_code == 400


@pytest.mark.parametrize(
    "anchor", [{"versionId": "ver_123"}, {"productId": "prod_123"}, {"versionId": "ver_123", "productId": "prod_x"}]
)
def test_a_session_is_found_by_its_custom_id(api: httpx.Client, session_id: str, anchor: dict[str, str]) -> None:
    answer = post_turn(api, session_id, sessionId=None, sessionCustomId="c", **anchor)
    assert (answer.status_code, answer.json()["sessionId"]) == (201, session_id)


@pytest.mark.parametrize(
    "name",
    [
        {"sessionCustomId": "other", "versionId": "ver_123"},
        {"sessionCustomId": "c", "versionId": "ver_x"},
        {"sessionCustomId": "c", "productId": "prod_x"},
        {"sessionCustomId": "C", "versionId": "ver_123"},
    ],
)
def test_no_session_of_that_custom_id_is_a_400_and_none_is_created(
    api: httpx.Client, session_id: str, emulator: RunningEmulator, name: dict[str, str]
) -> None:
    answer = post_turn(api, session_id, sessionId=..., **name)
    assert answer.status_code == 400
    assert "No Session with customId" in answer.json()["message"]
    assert len(emulator.sessions()) == 1


def test_within_a_product_the_newest_session_of_that_custom_id_counts(api: httpx.Client, session_id: str) -> None:
    version_id = api.post("/versions", json={"productId": "prod_123"}).json()["id"]
    newer = new_session(api, customId="c", versionId=version_id)
    answer = post_turn(api, session_id, sessionId=..., sessionCustomId="c", productId="prod_123")
    assert answer.json()["sessionId"] == newer


def test_an_unknown_or_deleted_session_takes_no_turns(api: httpx.Client, session_id: str) -> None:
    assert post_turn(api, "session_x").json() == {"message": "Session session_x not found"}
    assert api.delete(f"/sessions/{session_id}").status_code == 204
    assert post_turn(api, session_id).status_code == 404
    by_custom_id = {"sessionId": ..., "sessionCustomId": "c", "versionId": "ver_123"}
    assert post_turn(api, session_id, **by_custom_id).status_code == 400


def test_indexes_count_on_from_the_last(api: httpx.Client, session_id: str) -> None:
    indexes = [post_turn(api, session_id, **more).json()["index"] for more in ({}, {}, {"index": 7}, {}, {"index": 1})]
    assert indexes == [0, 1, 7, 8, 1]


def test_a_turn_sent_twice_is_there_twice(api: httpx.Client, session_id: str) -> None:
    assert new_turn(api, session_id) != new_turn(api, session_id)
    assert len(api.get(f"/inferenceResults?sessionIds={session_id}").json()) == 2


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
