"""Each kind of fault, as it looks on the socket, in the store and in the log."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from emulator_client import client_of, post_session

from pipeline.emulator import RunningEmulator, running_emulator

Create = Callable[..., httpx.Response]
POST = "POST /sessions"


def connect(emulator: RunningEmulator, timeout_seconds: float = 5.0) -> socket.socket:
    target = urlsplit(emulator.url)
    return socket.create_connection((target.hostname or "", target.port or 0), timeout_seconds)


def send_post(connection: socket.socket, custom_id: str = "a") -> None:
    body = json.dumps({"versionId": "ver_123", "customId": custom_id}).encode()
    head = (
        "POST /sessions HTTP/1.1\r\nhost: emulator\r\nauthorization: Bearer gsk_x\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


def stored(emulator: RunningEmulator) -> list[str]:
    return [session["customId"] for session in emulator.sessions()]


def last(emulator: RunningEmulator) -> dict[str, Any]:
    return emulator.log()[-1]


def test_a_status_is_answered_and_nothing_stored(emulator: RunningEmulator, create: Create) -> None:
    do = {"status": 503, "headers": {"Retry-After": "7"}, "body": {"message": "later"}}
    emulator.set_faults([{"match": POST, "do": do}])
    answer = create(customId="a")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (503, "7", {"message": "later"})
    assert stored(emulator) == []
    assert {**last(emulator), "time": 0} == {
        "n": 1,
        "time": 0,
        "method": "POST",
        "path": "/sessions",
        "query": "",
        "bytes": 59,
        "custom_id": "a",
        "status": 503,
        "fault": "status 503",
        "session_id": None,
        "stored": None,
        "turn_ids": [],
        "spans": 0,
        "rejected_spans": 0,
    }


def test_a_status_may_come_after_the_commit(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_faults([{"name": "late 500", "match": POST, "do": {"status": 500, "after_commit": True}}])
    answer = create(customId="a")
    assert (answer.status_code, answer.json()) == (500, {"message": "Something went wrong"})
    assert stored(emulator) == ["a"]
    assert last(emulator)["stored"] == emulator.sessions()[0]["id"]
    assert last(emulator)["fault"] == "late 500"


def test_a_body_that_looks_like_html_is_html(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_faults([{"match": POST, "do": {"status": 403, "body": "<html>blocked</html>"}}])
    answer = create()
    assert (answer.status_code, answer.text) == (403, "<html>blocked</html>")
    assert answer.headers["content-type"].startswith("text/html")


def test_a_201_without_id_is_a_status_with_a_body(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_faults([{"match": POST, "do": {"status": 201, "after_commit": True, "body": {}}}])
    assert create(customId="a").json() == {}
    assert stored(emulator) == ["a"]


@pytest.mark.parametrize(("do", "kept"), [("reset_before", []), ("reset_after_commit", ["a"])])
def test_a_reset_is_a_real_rst_before_or_after_the_commit(emulator: RunningEmulator, do: str, kept: list[str]) -> None:
    emulator.set_faults([{"match": POST, "do": do}])
    with connect(emulator) as connection:
        send_post(connection)
        with pytest.raises(ConnectionResetError):
            read_to_end(connection)
    assert stored(emulator) == kept
    assert (last(emulator)["status"], last(emulator)["fault"]) == (None, do)
    assert (last(emulator)["stored"] is not None) == bool(kept)


@pytest.mark.parametrize(
    ("do", "kept"), [("hang", []), ({"hang": True, "after_commit": True}, ["a"])], ids=["before", "after"]
)
def test_a_hang_sends_nothing_and_keeps_the_connection(emulator: RunningEmulator, do: Any, kept: list[str]) -> None:
    emulator.set_faults([{"match": POST, "do": do}])
    with connect(emulator, timeout_seconds=0.2) as connection:
        send_post(connection)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert last(emulator)["status"] is None
    assert stored(emulator) == kept


def test_truncate_promises_more_than_it_sends(emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "do": {"truncate": True}}])
    with connect(emulator) as connection:
        send_post(connection)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert head.startswith(b"HTTP/1.1 201")
    assert 0 < len(body) < promised
    assert stored(emulator) == ["a"]


def test_wrong_length_promises_less_than_it_sends(emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "do": {"wrong_length": True}}])
    with connect(emulator) as connection:
        send_post(connection)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert head.startswith(b"HTTP/1.1 201 Created")
    assert len(json.dumps(json.loads(body))) > promised > 0
    assert stored(emulator) == ["a"]


def test_garbage_is_a_201_with_invalid_json(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_faults([{"match": POST, "do": "garbage"}])
    answer = create(customId="a")
    assert answer.status_code == 201
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert stored(emulator) == ["a"]


def test_drip_sends_byte_by_byte(emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "do": {"status": 201, "body": "12345678", "drip": 30}}])
    chunks: list[bytes] = []
    with connect(emulator) as connection:
        send_post(connection)
        while not (chunks and chunks[-1].endswith(b"8")):
            chunks.append(connection.recv(65_536))
    assert len(chunks) >= 6
    assert b"".join(chunks).endswith(b"12345678")


def test_close_after_closes_a_kept_connection_unannounced(emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "do": "close_after"}])
    with connect(emulator) as connection:
        send_post(connection)
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 201")
    assert b"connection: close" not in received.lower()


def test_a_delayed_answer_is_committed_before_the_delay(emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "do": {"delay_ms": 400}}])
    with client_of(emulator, timeout=0.1) as impatient, pytest.raises(httpx.ReadTimeout):
        post_session(impatient, customId="a")
    assert stored(emulator) == ["a"]


def test_a_late_commit_comes_although_the_client_has_gone(emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "do": {"commit_after_ms": 300}}])
    with client_of(emulator, timeout=0.1) as impatient, pytest.raises(httpx.ReadTimeout):
        post_session(impatient, customId="a")
    assert (stored(emulator), last(emulator)["status"]) == ([], None)
    time.sleep(0.4)
    assert stored(emulator) == ["a"]
    assert [(entry["n"], entry["status"]) for entry in emulator.log()] == [(1, 201)]


def test_what_was_to_be_stored_later_is_not_after_a_reset(emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "do": {"commit_after_ms": 300}}])
    with client_of(emulator, timeout=0.1) as impatient, pytest.raises(httpx.ReadTimeout):
        post_session(impatient, customId="a")
    emulator.reset()
    time.sleep(0.4)
    assert (stored(emulator), list(emulator.log())) == ([], [])


def test_a_commit_may_become_visible_only_later(emulator: RunningEmulator, create: Create, api: httpx.Client) -> None:
    emulator.set_faults([{"match": POST, "do": {"visible_after_ms": 300}}])
    session_id = create(customId="a").json()["id"]
    assert api.get("/sessions?customIds=a").json() == []
    assert api.get(f"/sessions?ids={session_id}").status_code == 404
    assert api.get(f"/sessions/{session_id}").status_code == 404
    assert create(customId="a").status_code == 400
    assert stored(emulator) == ["a"]
    time.sleep(0.4)
    assert api.get("/sessions?customIds=a").json()[0]["id"] == session_id


@pytest.mark.parametrize(
    ("when", "struck"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"first": 3}, [1, 2, 3]),
        ({"every": 3}, [3, 6]),
        ({"after": 6}, [7, 8]),
        ({"between": [2, 4]}, [2, 3, 4]),
        ({"every": 2, "after": 3}, [4, 6, 8]),
        ({"custom_id": "c3"}, [3]),
        ({"custom_id": "c*", "first": 2}, [1, 2]),
        ({"probability": 1}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"probability": 0}, []),
        ({"from_second": 60}, []),
        ({"for_seconds": 60, "first": 1}, [1]),
    ],
)
def test_conditions_choose_the_requests_that_go_wrong(
    emulator: RunningEmulator, create: Create, when: dict[str, Any], struck: list[int]
) -> None:
    emulator.set_faults([{"match": POST, "when": when, "do": {"status": 503}}])
    statuses = {number: create(customId=f"c{number}").status_code for number in range(1, 9)}
    assert [number for number, status in statuses.items() if status == 503] == struck


def test_the_first_rule_that_holds_decides(emulator: RunningEmulator, create: Create, api: httpx.Client) -> None:
    emulator.set_faults(
        [
            {"match": POST, "when": {"first": 1}, "do": {"status": 500}},
            {"match": "* /sessions*", "when": {"first": 3}, "do": {"status": 502}},
        ]
    )
    paths = [create().status_code, create().status_code, api.get("/sessions/x").status_code]
    assert [*paths, api.get("/sessions").status_code] == [500, 502, 502, 200]
    assert api.get("/versions/ver_123").status_code == 200


def test_chance_is_seeded(emulator: RunningEmulator, create: Create) -> None:
    def draws() -> list[int]:
        emulator.set_faults([{"match": POST, "when": {"probability": 0.5}, "do": {"status": 503}}])
        return [create().status_code for _ in range(20)]

    first = draws()
    assert set(first) == {201, 503}
    assert draws() == first


def test_a_reset_begins_the_script_anew(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_faults([{"match": POST, "when": {"first": 1}, "do": {"status": 503}}])
    before = [create().status_code, create().status_code]
    emulator.reset()
    assert [*before, create().status_code] == [503, 201, 503]


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"match": POST, "wehn": {}, "do": "hang"}, "unknown key 'wehn'"),
        ({"match": POST, "when": {"frist": 1}, "do": "hang"}, "unknown key 'frist'"),
        ({"match": POST, "do": {"explode": True}}, "unknown key 'explode'"),
        ({"match": POST, "do": "explode"}, "unknown key 'explode'"),
        ({"match": POST}, "do is missing"),
        ({"match": "sessions", "do": "hang"}, "match is like"),
        ({"match": POST, "when": {"first": "3"}, "do": "hang"}, "first cannot be '3'"),
        ({"match": POST, "when": {"between": [1]}, "do": "hang"}, "between cannot be [1]"),
        ({"match": POST, "do": {"status": "503"}}, "status cannot be '503'"),
        ({"match": POST, "do": {"hang": 1}}, "hang cannot be 1"),
        ({"match": POST, "do": {"hang": True, "reset_before": True}}, "contradict"),
        ({"match": POST, "do": {"body": "x", "garbage": True}}, "need a status"),
    ],
)
def test_a_wrong_script_names_its_entry(emulator: RunningEmulator, entry: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match="entry 2") as caught:
        emulator.set_faults([{"match": POST, "do": "hang"}, entry])
    assert complaint in str(caught.value)


def test_a_script_comes_from_a_file(tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text('- {match: "POST /sessions", when: {first: 1}, do: {status: 418}}\n')
    with running_emulator(faults=script) as emulator, client_of(emulator) as api:
        assert [post_session(api).status_code for _ in range(2)] == [418, 201]
