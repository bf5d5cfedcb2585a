"""POST /inferenceResults/batch: messages become turns."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from emulator_client import client_of, messages, new_session, post_batch, post_turn

from pipeline.emulator import RunningEmulator, running_emulator

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def contents(turns: list[dict[str, Any]]) -> list[tuple[int, str | None, str | None]]:
    return [(turn["index"], (turn["input"] or {}).get("user_message"), turn["actualOutput"]) for turn in turns]


def stored(emulator: RunningEmulator) -> list[tuple[int, str | None, str | None]]:
    return contents(emulator.sessions(with_turns=True)[0]["turns"])


def test_each_question_with_its_answer_is_a_turn(api: httpx.Client, session_id: str, emulator: RunningEmulator) -> None:
    answer = post_batch(api, session_id, messages("q0", "a0", "q1", "a1"), conversationSimulatorVersion=None)
    assert answer.status_code == 201
    assert contents(answer.json()) == [(0, "q0", "a0"), (1, "q1", "a1")]
    assert [(turn["sessionId"], turn["status"]) for turn in answer.json()] == [(session_id, "GENERATED")] * 2
    assert api.get(f"/inferenceResults?sessionIds={session_id}&sort=createdAt,asc").json() == answer.json()
    assert stored(emulator) == contents(answer.json())


def test_a_batch_appends(api: httpx.Client, session_id: str) -> None:
    post_turn(api, session_id)
    assert contents(post_batch(api, session_id, messages("q", "a")).json()) == [(1, "q", "a")]
    assert contents(post_batch(api, session_id, messages("q", "a")).json()) == [(2, "q", "a")]


def test_a_batch_finds_its_session_by_custom_id(api: httpx.Client, session_id: str) -> None:
    body = {"sessionCustomId": "c", "versionId": "ver_123", "conversationTurns": messages("q", "a")}
    assert api.post("/inferenceResults/batch", json=body).json()[0]["sessionId"] == session_id
    body["sessionCustomId"] = "other"
    assert api.post("/inferenceResults/batch", json=body).status_code == 400


def test_the_retrieval_context_of_an_answer_is_a_span(api: httpx.Client, session_id: str) -> None:
    (turn,) = post_batch(api, session_id, [USER, {**ASSISTANT, "retrieval_context": "found"}]).json()
    (span,) = api.get(f"/traces?inferenceResultIds={turn['id']}").json()
    assert (span["type"], span["outputData"]) == ("RETRIEVER", "found")


@pytest.mark.parametrize(
    "turns",
    [
        None,
        [],
        {},
        ["q"],
        [{"content": "q"}, ASSISTANT],
        [{"role": "system", "content": "q"}, USER, ASSISTANT],
        [{"role": "USER", "content": "q"}, ASSISTANT],
        [{"role": ["user"], "content": "q"}, ASSISTANT],
        [{"role": "user"}, ASSISTANT],
        [{"role": "user", "content": None}, ASSISTANT],
        [{"role": "user", "content": {"text": "q"}}, ASSISTANT],
        [USER, {**ASSISTANT, "retrieval_context": 1}],
        [USER],
        [ASSISTANT],
        [USER, ASSISTANT, USER],
        [USER, USER, ASSISTANT],
        [USER, ASSISTANT, ASSISTANT],
        [USER, ASSISTANT] * 51,
    ],
)
def test_an_invalid_batch_is_a_400_and_nothing_is_stored(
    api: httpx.Client, session_id: str, emulator: RunningEmulator, turns: Any
) -> None:
    answer = post_batch(api, session_id, turns)
    assert (answer.status_code, answer.json().keys()) == (400, {"message"})
    assert stored(emulator) == []


def test_a_batch_may_have_a_hundred_messages(api: httpx.Client, session_id: str) -> None:
    assert len(post_batch(api, session_id, [USER, ASSISTANT] * 50).json()) == 50


@pytest.mark.parametrize("more", [{"sessionId": None}, {"sessionCustomId": "c"}, {"conversationSimulatorVersion": 1}])
def test_a_batch_needs_exactly_one_session(api: httpx.Client, session_id: str, more: dict[str, Any]) -> None:
    assert post_batch(api, session_id, messages("q", "a"), **more).status_code == 400


def test_an_unknown_session_gets_no_batch(api: httpx.Client) -> None:
    assert post_batch(api, "session_x", messages("q", "a")).status_code == 404


IRREGULAR = [{**ASSISTANT, "content": "a0"}, USER, ASSISTANT, {**USER, "content": "q2"}]


@pytest.mark.parametrize(
    ("options", "turns", "status", "expected"),
    [
        ({"lone_messages": "pair"}, IRREGULAR, 201, [(0, None, "a0"), (1, "q", "a"), (2, "q2", None)]),
        ({"lone_messages": "drop"}, IRREGULAR, 201, [(0, "q", "a")]),
        ({"lone_messages": "drop"}, [USER], 201, []),
        ({"invalid_message": "store_before"}, [USER, ASSISTANT, USER], 400, [(0, "q", "a")]),
        ({"invalid_message": "store_before"}, [USER, ASSISTANT, {"role": "x"}], 400, [(0, "q", "a")]),
        ({"max_batch_turns": 2}, [USER, ASSISTANT] * 2, 400, []),
        ({"max_batch_turns": 2, "batch_turns_counted": "pairs"}, [USER, ASSISTANT], 201, [(0, "q", "a")]),
        ({"max_batch_turns": 1, "batch_turns_counted": "pairs"}, [USER, ASSISTANT] * 2, 400, []),
        ({"empty_messages": "refuse"}, [{**USER, "content": ""}, ASSISTANT], 400, []),
        ({"turn_batch_status": 200}, [USER, ASSISTANT], 200, [(0, "q", "a")]),
        ({"unknown_fields": "refuse"}, [{**USER, "name": "x"}, ASSISTANT], 400, []),
    ],
)
def test_the_unknown_behaviours_of_batches_are_options(
    options: dict[str, object], turns: Any, status: int, expected: list[Any]
) -> None:
    with running_emulator(options=options) as emulator, client_of(emulator) as api:
        answer = post_batch(api, new_session(api), turns)
        assert answer.status_code == status
        assert stored(emulator) == expected
        assert len(emulator.log()[-1]["turn_ids"]) == len(expected)
