"""/inferenceResults: one turn at a time."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from emulator_client import new_session, new_turn, post_turn

from pipeline.emulator import RunningEmulator

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
