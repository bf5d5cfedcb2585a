"""Turns and spans under faults: what is stored, what the log tells, what a kill leaves."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from emulator_client import client_of, messages, new_session, new_turn, post_batch, post_session, post_spans, post_turn

from pipeline.emulator import RunningEmulator, running_emulator

TURN, BATCH, SPANS = "POST /inferenceResults", "POST /inferenceResults/batch", "POST /traces/batch"
SIX = messages("q0", "a0", "q1", "a1", "q2", "a2")


def turns_of(emulator: RunningEmulator) -> list[dict[str, Any]]:
    return [turn for session in emulator.sessions(with_turns=True) for turn in session["turns"]]


def last(emulator: RunningEmulator) -> dict[str, Any]:
    return emulator.log()[-1]


@pytest.mark.parametrize(("match", "stored"), [(TURN, 1), (BATCH, 3)])
@pytest.mark.parametrize(
    ("do", "is_stored"),
    [
        ("reset_before", False),
        ("reset_after_commit", True),
        ({"status": 503}, False),
        ({"status": 502, "after_commit": True}, True),
        ("garbage", True),
        ("truncate", True),
        ("hang", False),
        ({"drip": 60_000}, True),
        ({"delay_ms": 60_000}, True),
    ],
    ids=str,
)
def test_a_fault_strikes_before_or_after_the_turns_are_stored(
    emulator: RunningEmulator, session_id: str, match: str, stored: int, do: Any, is_stored: bool
) -> None:
    emulator.set_faults([{"match": match, "do": do}])
    with client_of(emulator, timeout=0.3) as api:
        try:
            answer = post_turn(api, session_id) if match == TURN else post_batch(api, session_id, SIX)
            is_understood = answer.is_success and answer.content[:1] in b"[{" and do != "garbage"
        except httpx.TransportError:
            is_understood = False
    assert not is_understood
    turn_ids = [turn["id"] for turn in turns_of(emulator)]
    assert len(turn_ids) == (stored if is_stored else 0)
    assert (last(emulator)["turn_ids"], last(emulator)["fault"] is not None) == (turn_ids, True)
    assert last(emulator)["session_id"] == (session_id if is_stored else None)


def test_conditions_count_the_requests_of_their_route(emulator: RunningEmulator, api: httpx.Client) -> None:
    emulator.set_faults(
        [
            {"match": TURN, "when": {"every": 3}, "do": {"status": 503}},
            {"match": BATCH, "when": {"first": 1}, "do": {"status": 500}},
            {"match": "* /traces*", "when": {"after": 1}, "do": {"status": 502}},
        ]
    )
    session_id = new_session(api)
    assert [post_turn(api, session_id).status_code for _ in range(4)] == [201, 201, 503, 201]
    assert [post_batch(api, session_id, SIX).status_code for _ in range(2)] == [500, 201]
    assert [api.get(path).status_code for path in ("/traces", "/traces", "/traces/x")] == [200, 502, 502]


def test_a_fault_may_choose_the_custom_id_that_turns_name(emulator: RunningEmulator, session_id: str) -> None:
    emulator.set_faults([{"match": TURN, "when": {"custom_id": "c"}, "do": {"status": 503}}])
    with client_of(emulator) as api:
        named = {"sessionId": ..., "sessionCustomId": "c", "versionId": "ver_123"}
        assert [post_turn(api, session_id, **more).status_code for more in ({}, named)] == [201, 503]
    assert last(emulator)["custom_id"] == "c"


@pytest.mark.parametrize(
    ("more", "status"), [({}, 201), ({"status": 500, "after_commit": True}, 500)], ids=["silent", "broken off"]
)
def test_a_batch_of_turns_may_be_stored_in_part(
    emulator: RunningEmulator, api: httpx.Client, session_id: str, more: dict[str, Any], status: int
) -> None:
    emulator.set_faults([{"match": BATCH, "when": {"first": 1}, "do": {"keep_first": 2, **more}}])
    assert post_batch(api, session_id, SIX).status_code == status
    assert [turn["actualOutput"] for turn in turns_of(emulator)] == ["a0", "a1"]
    assert last(emulator)["turn_ids"] == [turn["id"] for turn in turns_of(emulator)]
    assert len(post_batch(api, session_id, SIX).json()) == 3


def test_a_batch_of_spans_may_be_stored_in_part(emulator: RunningEmulator, api: httpx.Client, turn_id: str) -> None:
    emulator.set_faults([{"match": SPANS, "do": {"keep_first": 1}}])
    answer = post_spans(api, *({"inferenceResultId": turn_id, "name": name} for name in "abc"))
    assert answer.status_code == 201
    assert [error["index"] for error in answer.json()["partialSuccess"]["errors"]] == [1, 2]
    assert [span["name"] for span in turns_of(emulator)[0]["spans"]] == ["a"]
    assert (last(emulator)["spans"], last(emulator)["rejected_spans"]) == (1, 2)


@pytest.mark.parametrize("value", [-1, 1.5, True, "2"])
def test_keep_first_is_a_count(emulator: RunningEmulator, value: Any) -> None:
    with pytest.raises(ValueError, match="keep_first cannot be"):
        emulator.set_faults([{"match": BATCH, "do": {"keep_first": value}}])


def test_turns_and_spans_may_become_visible_only_later(
    emulator: RunningEmulator, api: httpx.Client, session_id: str
) -> None:
    emulator.set_faults(
        [
            {"match": TURN, "do": {"visible_after_ms": 60_000}},
            {"match": "POST /traces", "do": {"visible_after_ms": 120_000}},
        ]
    )
    turn_id = new_turn(api, session_id, retrievalContext="r")
    span_id = api.post("/traces", json={"inferenceResultId": turn_id, "name": "s"}).json()["id"]

    def found() -> list[Any]:
        paths = (f"/inferenceResults/{turn_id}", f"/inferenceResults?ids={turn_id}", f"/traces/{span_id}")
        lists = (f"/inferenceResults?sessionIds={session_id}", f"/traces?sessionIds={session_id}")
        return [*(api.get(path).status_code for path in paths), *(len(api.get(path).json()) for path in lists)]

    assert found() == [404, 404, 404, 0, 0]
    assert len(turns_of(emulator)[0]["spans"]) == 2
    emulator.forward(60)
    assert found() == [200, 200, 404, 1, 1]
    emulator.forward(60)
    assert found() == [200, 200, 200, 1, 2]


def test_the_log_tells_sessions_turns_and_counts(emulator: RunningEmulator, api: httpx.Client) -> None:
    session_id = new_session(api, customId="c")
    one = post_turn(api, session_id).json()["id"]
    batch = [turn["id"] for turn in post_batch(api, session_id, SIX).json()]
    post_spans(api, {"inferenceResultId": one, "name": "s"}, {"inferenceResultId": one, "name": ""})
    post_spans(api, {"inferenceResultId": one, "name": ""})
    api.patch(f"/inferenceResults/{one}", json={"error": "x"})
    api.delete(f"/inferenceResults/{one}")
    post_turn(api, "session_x")
    names = ("stored", "session_id", "turn_ids", "spans", "rejected_spans")
    assert [tuple(entry[name] for name in names) for entry in emulator.log()] == [
        (session_id, session_id, [], 0, 0),
        (None, session_id, [one], 0, 0),
        (None, session_id, batch, 0, 0),
        (None, session_id, [], 1, 1),
        (None, None, [], 0, 1),
        (None, session_id, [], 0, 0),
        (None, session_id, [], 0, 0),
        (None, None, [], 0, 0),
    ]


def test_the_ground_truth_shows_turns_and_spans_where_asked_for(emulator: RunningEmulator, api: httpx.Client) -> None:
    first, second = new_session(api), new_session(api)
    turn_id = new_turn(api, second)
    post_spans(api, {"inferenceResultId": turn_id, "name": "s"})
    assert all("turns" not in session for session in emulator.sessions())
    shown = {session["id"]: session["turns"] for session in emulator.sessions(with_turns=True)}
    assert shown[first] == []
    assert [(turn["id"], [span["name"] for span in turn["spans"]]) for turn in shown[second]] == [(turn_id, ["s"])]


def test_a_reset_empties_turns_and_spans(emulator: RunningEmulator, api: httpx.Client, turn_id: str) -> None:
    api.post("/traces", json={"inferenceResultId": turn_id, "name": "s"})
    emulator.reset()
    assert (api.get("/inferenceResults").json(), api.get("/traces").json()) == ([], [])


def test_with_data_a_kill_keeps_turns_spans_and_the_clock(tmp_path: Path) -> None:
    with running_emulator(data=tmp_path / "state.sqlite") as emulator:
        with client_of(emulator) as api:
            session_id = new_session(api)
            turn_id = post_batch(api, session_id, SIX).json()[0]["id"]
            post_spans(api, {"inferenceResultId": turn_id, "name": "s"})
            emulator.forward(29 * 60)
            post_turn(api, session_id)
        before, log = emulator.sessions(with_turns=True), emulator.log()
        emulator.restart()
        assert (emulator.sessions(with_turns=True), emulator.log()) == (before, log)
        assert (len(before[0]["turns"]), len(before[0]["turns"][0]["spans"])) == (4, 1)
        with client_of(emulator) as api:
            assert api.get(f"/sessions/{session_id}").json()["status"] == "PENDING"
            emulator.forward(30 * 60)
            assert api.get(f"/sessions/{session_id}").json()["status"] == "COMPLETED"


def test_a_data_file_of_an_older_emulator_is_brought_up_to_date(tmp_path: Path) -> None:
    data = tmp_path / "state.sqlite"
    with running_emulator(data=data) as emulator, client_of(emulator) as api:
        session_id = post_session(api, customId="old").json()["id"]
    database = sqlite3.connect(data)
    try:
        database.execute("DROP INDEX open_session")
        database.execute("ALTER TABLE session DROP COLUMN active_at")
        for column in ("turn_ids", "spans", "rejected_spans"):
            database.execute(f"ALTER TABLE log DROP COLUMN {column}")
        for table in ("turn", "span", "clock"):
            database.execute(f"DROP TABLE {table}")
        database.commit()
    finally:
        database.close()
    with running_emulator(data=data) as emulator, client_of(emulator) as api:
        assert api.get(f"/sessions/{session_id}").json()["customId"] == "old"
        assert [entry["custom_id"] for entry in emulator.log()] == ["old", None]
        assert post_turn(api, session_id).status_code == 201
        emulator.forward(30 * 60)
        assert api.get(f"/sessions/{session_id}").json()["status"] == "COMPLETED"
