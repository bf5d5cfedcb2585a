"""Keys, unknown routes, sizes: the error bodies as documented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from emulator_client import client_of

from pipeline.emulator import RunningEmulator, running_emulator

READER = {"authorization": "Bearer gsk_reader"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningEmulator]:
    options = {"read_only_key": "gsk_reader", "max_body_bytes": 2000, "compress_responses": True}
    with running_emulator(api_key="gsk_right", options=options) as emulator:
        yield emulator


@pytest.fixture
def plain(guarded: RunningEmulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer gsk_wrong", "Basic gsk_right", "gsk_right"])
def test_a_wrong_key_is_a_401_with_error_and_message(plain: httpx.Client, header: str | None) -> None:
    answer = plain.get("/auth/user", headers={} if header is None else {"authorization": header})
    assert answer.status_code == 401
    assert answer.json().keys() == {"error", "message"}


def test_the_right_key_and_a_readers_key_may_read(plain: httpx.Client) -> None:
    for key in ("gsk_right", "gsk_reader"):
        assert plain.get("/auth/user", headers={"authorization": f"bearer {key}"}).status_code == 200


def test_a_readers_key_may_not_write(plain: httpx.Client) -> None:
    answer = plain.post("/sessions", headers=READER, json={"versionId": "ver_123"})
    assert answer.status_code == 403
    assert answer.json().keys() == {"message"}


def test_the_key_is_not_on_the_process_list(guarded: RunningEmulator) -> None:
    assert b"gsk_right" not in Path(f"/proc/{guarded.pid}/cmdline").read_bytes()


@pytest.mark.parametrize(("key", "status"), [("gsk_x", 200), ("gsk-x", 200), ("sk_x", 401), ("gsk", 401)])
def test_without_a_configured_key_the_shape_decides(emulator: RunningEmulator, key: str, status: int) -> None:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=emulator.url, headers=headers, trust_env=False) as client:
        assert client.get("/organizations").status_code == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("GET", "/"),
        ("POST", "//sessions"),
        ("GET", "/sessions//"),
        ("GET", "/sessions/"),
        ("PUT", "/sessions/session_x"),
        ("POST", "/sessions/batch"),
        ("PATCH", "/sessions"),
        ("GET", "/sessions/session_x/turns"),
        ("GET", "/v1/sessions"),
    ],
)
def test_what_is_no_route_gets_express_html(emulator: RunningEmulator, method: str, path: str) -> None:
    with client_of(emulator) as client:
        answer = client.request(method, f"{emulator.url}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert f"Cannot {method} {path}" in answer.text


def test_an_entity_that_is_missing_gets_json(api: httpx.Client) -> None:
    for path in ("/sessions/x", "/versions/x", "/products/x", "/sessions/a%2Fb"):
        answer = api.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["message"])


def test_a_body_over_the_limit_is_a_413(plain: httpx.Client) -> None:
    headers = {"authorization": "Bearer gsk_right"}
    whole = plain.post("/sessions", headers=headers, json={"versionId": "ver_123", "context": "x" * 3000})
    chunks = (b'{"context":"' + b"x" * 1500, b"x" * 1500 + b'"}')
    chunked = plain.post("/sessions", headers={**headers, "content-type": "application/json"}, content=iter(chunks))
    assert [whole.status_code, chunked.status_code] == [413, 413]
    assert plain.get("/auth/user", headers=headers).status_code == 200


def test_answers_may_be_compressed(plain: httpx.Client) -> None:
    headers = {"authorization": "Bearer gsk_right"}
    answer = plain.post("/sessions", headers=headers, json={"versionId": "ver_123", "context": "x" * 1500})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["context"] == {"value": "x" * 1500}


def test_the_minimum_sdk_version_needs_no_key(plain: httpx.Client) -> None:
    assert plain.get("/minimum-sdk-version").json().keys() == {
        "minimumSdkVersionSupported",
        "latestSdkVersionPublished",
    }
