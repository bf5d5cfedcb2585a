"""GET, PATCH, finish and DELETE of one session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from emulator_client import client_of, post_session

from pipeline.emulator import RunningEmulator, running_emulator

Create = Callable[..., httpx.Response]


@pytest.fixture
def session(create: Create) -> dict[str, Any]:
    created: dict[str, Any] = create(customId="a", context="c", metadata={"k": 1}).json()
    return created


def test_a_session_is_got_by_its_id(api: httpx.Client, session: dict[str, Any]) -> None:
    assert api.get(f"/sessions/{session['id']}").json() == session


def test_an_update_changes_what_it_names(api: httpx.Client, session: dict[str, Any]) -> None:
    answer = api.patch(f"/sessions/{session['id']}", json={"context": {"x": 1}, "metadata": {"other": 2}})
    assert answer.status_code == 200
    assert answer.json() == {**session, "context": {"x": 1}, "metadata": {"other": 2}}
    assert api.get(f"/sessions/{session['id']}").json() == answer.json()


def test_an_explicit_null_clears(api: httpx.Client, session: dict[str, Any]) -> None:
    cleared = {"customId": None, "context": None, "metadata": None}
    assert api.patch(f"/sessions/{session['id']}", json=cleared).json() == {**session, **cleared}
    assert api.patch(f"/sessions/{session['id']}", json={"status": None}).status_code == 400


def test_a_text_context_is_wrapped_in_an_update_too(api: httpx.Client, session: dict[str, Any]) -> None:
    assert api.patch(f"/sessions/{session['id']}", json={"context": "n"}).json()["context"] == {"value": "n"}


@pytest.mark.parametrize(
    "change", [{"status": "DONE"}, {"metadata": []}, {"context": 1}, {"customId": 1}, {"error": {}}]
)
def test_an_invalid_update_changes_nothing(api: httpx.Client, session: dict[str, Any], change: dict[str, Any]) -> None:
    assert api.patch(f"/sessions/{session['id']}", json={"stoppingReason": "x", **change}).status_code == 400
    assert api.get(f"/sessions/{session['id']}").json() == session


def test_an_update_cannot_take_another_custom_id(api: httpx.Client, create: Create, session: dict[str, Any]) -> None:
    other = create(customId="b").json()
    answer = api.patch(f"/sessions/{other['id']}", json={"customId": "a"})
    assert answer.status_code == 400
    assert "with the same customId: 'a'" in answer.json()["message"]
    assert api.patch(f"/sessions/{other['id']}", json={"customId": "b"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "reason", "error"),
    [
        ({"stoppingReason": "GOAL_ACHIEVED"}, "COMPLETED", "GOAL_ACHIEVED", None),
        ({"error": "boom"}, "FAILED", None, "boom"),
        ({"stoppingReason": "STOP", "error": "boom"}, "FAILED", "STOP", "boom"),
        ({"stoppingReason": "", "error": "boom"}, "FAILED", None, "boom"),
    ],
)
def test_a_finish_ends_the_session(
    api: httpx.Client, session: dict[str, Any], body: dict[str, Any], status: str, reason: Any, error: Any
) -> None:
    answer = api.patch(f"/sessions/{session['id']}/finish", json=body)
    assert answer.status_code == 200
    assert answer.json() == {**session, "status": status, "stoppingReason": reason, "error": error}


@pytest.mark.parametrize("body", [{}, {"stoppingReason": ""}, {"stoppingReason": "  "}, {"error": None}])
def test_a_finish_without_reason_is_a_400(api: httpx.Client, session: dict[str, Any], body: dict[str, Any]) -> None:
    assert api.patch(f"/sessions/{session['id']}/finish", json=body).status_code == 400


def test_finish_is_a_patch(api: httpx.Client, session: dict[str, Any]) -> None:
    answer = api.post(f"/sessions/{session['id']}/finish", json={"stoppingReason": "x"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_a_deleted_session_is_gone_but_holds_its_custom_id(
    api: httpx.Client, create: Create, session: dict[str, Any], emulator: RunningEmulator
) -> None:
    path = f"/sessions/{session['id']}"
    deletion = api.delete(path)
    assert (deletion.status_code, deletion.content) == (204, b"")
    assert [api.get(path).status_code, api.delete(path).status_code] == [404, 404]
    assert api.patch(path, json={"error": "x"}).status_code == 404
    assert api.patch(f"{path}/finish", json={"error": "x"}).status_code == 404
    assert api.get("/sessions?customIds=a").json() == []
    assert create(customId="a").status_code == 400
    assert [one["deletedAt"] is not None for one in emulator.sessions()] == [True]


def test_a_batch_is_deleted_whole_or_not_at_all(api: httpx.Client, create: Create) -> None:
    ids = [create(customId=custom_id).json()["id"] for custom_id in "abc"]
    assert api.request("DELETE", "/sessions/batch", json={"ids": [ids[0], "session_x"]}).status_code == 404
    assert len(api.get("/sessions").json()) == 3
    assert api.request("DELETE", "/sessions/batch", json={"ids": ids[:2]}).status_code == 204
    assert [one["customId"] for one in api.get("/sessions").json()] == ["c"]
    assert api.request("DELETE", "/sessions/batch", json={"ids": []}).status_code == 400


def test_an_unknown_session_is_a_404_with_a_message(api: httpx.Client) -> None:
    answer = api.get("/sessions/session_x")
    assert (answer.status_code, answer.json()) == (404, {"message": "Session session_x not found"})


def test_ends_and_merges_are_options() -> None:
    options = {
        "metadata_patch": "merge",
        "finish_with_both": "refuse",
        "second_finish": "refuse",
        "batch_delete_status": 200,
    }
    with running_emulator(options=options) as emulator, client_of(emulator) as api:
        session_id = post_session(api, metadata={"a": 1, "b": 1}).json()["id"]
        merged = api.patch(f"/sessions/{session_id}", json={"metadata": {"b": 2}}).json()["metadata"]
        assert merged == {"a": 1, "b": 2}
        finish = f"/sessions/{session_id}/finish"
        assert api.patch(finish, json={"stoppingReason": "x", "error": "y"}).status_code == 400
        assert api.patch(finish, json={"stoppingReason": "x"}).status_code == 200
        assert api.patch(finish, json={"stoppingReason": "x"}).status_code == 400
        assert api.request("DELETE", "/sessions/batch", json={"ids": [session_id]}).status_code == 200
