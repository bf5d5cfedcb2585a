"""POST /sessions: the reference page, rule by rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from emulator_client import client_of, post_session

from pipeline.emulator import RunningEmulator, running_emulator

Create = Callable[..., httpx.Response]


def test_an_imported_session_comes_back_whole(create: Create) -> None:
    answer = create(customId="langfuse:1", context={"turns": []}, metadata={"a": [1, "é"]}, status="COMPLETED")
    session = answer.json()
    assert answer.status_code == 201
    assert re.fullmatch(r"session_[0-9a-z]{24}", session.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", session.pop("createdAt"))
    assert session == {
        "customId": "langfuse:1",
        "versionId": "ver_123",
        "userId": "user_123",
        "testCaseId": None,
        "context": {"turns": []},
        "stoppingReason": None,
        "error": None,
        "status": "COMPLETED",
        "isProduction": False,
        "metadata": {"a": [1, "é"]},
        "runId": None,
        "recordingUri": None,
        "isSeed": False,
        "deletedAt": None,
    }


def test_a_text_context_is_stored_as_a_value(create: Create) -> None:
    assert create(context="hello").json()["context"] == {"value": "hello"}


@pytest.mark.parametrize(
    ("test_case", "is_production", "expected"),
    [
        (..., ..., True),
        (..., None, True),
        (None, None, True),
        (..., True, True),
        (..., False, False),
        ("tc_1", ..., False),
        ("tc_1", None, False),
        ("tc_1", False, False),
    ],
)
def test_is_production_defaults_to_having_no_test_case(
    create: Create, test_case: Any, is_production: Any, expected: bool
) -> None:
    session = create(testCaseId=test_case, isProduction=is_production).json()
    assert session["isProduction"] is expected
    assert session["userId"] == (None if expected else "user_123")


def test_a_test_case_in_production_is_the_forbidden_combination(create: Create, emulator: RunningEmulator) -> None:
    assert create(testCaseId="tc_1", isProduction=True).status_code == 400
    assert emulator.sessions() == []


@pytest.mark.parametrize("context", ["text", {"a": 1}])
def test_a_context_with_a_test_case_is_refused(create: Create, context: Any) -> None:
    assert create(testCaseId="tc_1", context=context).status_code == 400


def test_a_null_context_with_a_test_case_is_no_context(create: Create) -> None:
    assert create(testCaseId="tc_1", context=None).status_code == 201


def test_null_is_the_same_as_left_out(create: Create) -> None:
    answer = create(
        customId=None, productId=None, testCaseId=None, context=None, metadata=None, status=None, runId=None
    )
    assert answer.status_code == 201
    assert answer.json()["status"] == "PENDING"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("versionId", 1),
        ("customId", 1),
        ("customId", ["a"]),
        ("customId", ""),
        ("customId", "x" * 256),
        ("testCaseId", False),
        ("isProduction", "false"),
        ("isProduction", 0),
        ("context", 1),
        ("context", ["a"]),
        ("context", True),
        ("metadata", "text"),
        ("metadata", [1]),
        ("status", "completed"),
        ("status", "DONE"),
        ("status", 1),
        ("runId", 1),
    ],
)
def test_types_are_checked_strictly(create: Create, emulator: RunningEmulator, field: str, value: Any) -> None:
    answer = create(**{field: value})
    assert answer.status_code == 400
    assert answer.json().keys() == {"message"}
    assert emulator.sessions() == []


@pytest.mark.parametrize("nothing", [..., None, ""])
def test_a_session_needs_a_version_or_a_product(create: Create, nothing: Any) -> None:
    answer = create(versionId=nothing, productId=nothing)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "Either versionId or productId must be provided.",
    )


def test_the_version_wins_over_the_product(create: Create) -> None:
    assert create(versionId="ver_123", productId="prod_unknown").json()["versionId"] == "ver_123"


def test_a_product_means_its_latest_version(api: httpx.Client, create: Create) -> None:
    latest = api.post("/versions", json={"productId": "prod_123", "name": "newer"}).json()
    assert latest["number"] == 2
    assert create(versionId=..., productId="prod_123").json()["versionId"] == latest["id"]


def test_a_product_without_version_gets_a_first_one(api: httpx.Client, create: Create) -> None:
    product = api.post("/products", json={"name": "New", "description": "d"}).json()
    session = create(versionId=..., productId=product["id"]).json()
    version = api.get(f"/versions/{session['versionId']}").json()
    assert (version["productId"], version["number"], version["name"]) == (product["id"], 1, "v1")


@pytest.mark.parametrize("anchor", [{"versionId": "ver_no"}, {"versionId": ..., "productId": "prod_no"}])
def test_an_unknown_anchor_is_a_404_with_a_message(create: Create, anchor: dict[str, Any]) -> None:
    answer = create(**anchor)
    assert answer.status_code == 404
    assert "not found" in answer.json()["message"]


def test_a_run_is_refused_in_production_and_unknown_elsewhere(create: Create) -> None:
    assert create(runId="run_1", isProduction=True).status_code == 400
    assert create(runId="run_1", isProduction=False).status_code == 404


def test_a_custom_id_is_unique_per_version(create: Create, api: httpx.Client, emulator: RunningEmulator) -> None:
    other = api.post("/versions", json={"productId": "prod_123"}).json()["id"]
    assert create(customId="a").status_code == 201
    assert create(customId="a", versionId=other).status_code == 201
    again = create(customId="a", context="other")
    assert again.status_code == 400
    assert again.json() == {
        "message": "A Session with the same customId: 'a' already exists for version with ID: 'ver_123'."
    }
    assert len(emulator.sessions()) == 2


def test_custom_ids_differ_in_case_and_hold_any_text(create: Create, api: httpx.Client) -> None:
    for custom_id in ("a", "A", "a&b=c%20d", "zwölf 🙂", "x" * 255, " a"):
        assert create(customId=custom_id).status_code == 201
        found = api.get("/sessions", params={"customIds": [custom_id]}).json()
        assert [session["customId"] for session in found] == [custom_id]


def test_sessions_without_custom_id_do_not_collide(create: Create) -> None:
    assert [create().status_code, create().status_code] == [201, 201]


def test_of_racing_posts_with_one_custom_id_one_wins(emulator: RunningEmulator) -> None:
    with client_of(emulator) as client, ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: post_session(client, customId="race").status_code, range(24)))
    assert sorted(statuses) == [201] + [400] * 23


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"versionId": "ver_123", "metadata": {"a": NaN}}',
        b'{"versionId": "ver_123", "context": "\\ud800"}',
        b'{"versionId": "ver_123", "context": "\xff"}',
        b'{"versionId": "ver_123", "context": "\\u0000"}',
        b'{"versionId": "ver_123", "metadata": {"a\\u0000": 1}}',
        b'{"versionId": "ver_123", "metadata": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
    ],
)
def test_what_json_or_postgres_cannot_hold_is_a_400(api: httpx.Client, text: bytes) -> None:
    answer = api.post("/sessions", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["message"]


def test_a_backslash_before_u0000_is_plain_text(api: httpx.Client) -> None:
    text = b'{"versionId": "ver_123", "context": "\\\\u0000"}'
    answer = api.post("/sessions", content=text, headers={"content-type": "application/json"})
    assert answer.json()["context"] == {"value": "\\u0000"}


def test_big_integers_lose_digits_as_in_javascript(create: Create) -> None:
    sent = {"a": 2**53, "b": 12345678901234567890, "c": [-(2**60) - 1], "d": "12345678901234567890"}
    assert create(metadata=sent).json()["metadata"] == {
        "a": 2**53,
        "b": 12345678901234567000,
        "c": [-1152921504606847000],
        "d": "12345678901234567890",
    }


def test_a_body_not_declared_as_json_is_not_read(api: httpx.Client) -> None:
    answer = api.post("/sessions", content=b'{"versionId": "ver_123"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 400


def test_a_compressed_body_is_refused(api: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert api.post("/sessions", content=b"\x1f\x8b", headers=headers).status_code == 415


def test_unknown_fields_are_ignored(create: Create) -> None:
    answer = create(colour="blue", id="session_mine", createdAt="1999-01-01T00:00:00.000Z")
    assert answer.status_code == 201
    assert answer.json()["id"] != "session_mine"
    assert not answer.json()["createdAt"].startswith("1999")


def test_what_the_contract_leaves_unknown_is_an_option() -> None:
    options = {
        "unknown_version_status": 400,
        "unknown_fields": "refuse",
        "default_status": "COMPLETED",
        "custom_ids_case_sensitive": False,
        "deleted_hold_custom_id": False,
        "empty_custom_id": "omit",
        "max_custom_id_length": 3,
        "nul": "accept",
        "big_integers": "keep",
        "max_body_bytes": 1000,
        "too_large_status": 400,
    }
    with running_emulator(options=options) as emulator, client_of(emulator) as api:
        assert post_session(api, versionId="ver_no").status_code == 400
        assert post_session(api, colour="blue").status_code == 400
        assert post_session(api).json()["status"] == "COMPLETED"
        assert post_session(api, customId="").json()["customId"] is None
        assert post_session(api, customId="abcd").status_code == 400
        assert post_session(api, context="a\0b").json()["context"] == {"value": "a\0b"}
        assert post_session(api, metadata={"n": 2**60 + 1}).json()["metadata"] == {"n": 2**60 + 1}
        assert post_session(api, context="x" * 2000).status_code == 400
        first = post_session(api, customId="abc").json()
        assert post_session(api, customId="ABC").status_code == 400
        assert api.get("/sessions?customIds=ABC").json() == [first]
        api.delete(f"/sessions/{first['id']}")
        assert post_session(api, customId="ABC").status_code == 201
