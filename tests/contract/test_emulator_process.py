"""The emulator as a process: what survives, the log, how it starts and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from emulator_client import client_of, post_session

from pipeline.emulator import RunningEmulator, running_emulator

Create = Callable[..., httpx.Response]
COMMAND = [sys.executable, "-m", "pipeline.emulator"]


def test_the_log_holds_every_request_in_order(emulator: RunningEmulator, create: Create, api: httpx.Client) -> None:
    session_id = create(customId="a").json()["id"]
    create(customId="a")
    api.get("/sessions?customIds=a")
    api.patch(f"/sessions/{session_id}", json={"error": "x"})
    api.get("/nope")
    shown = [
        (entry["n"], entry["method"], entry["path"], entry["query"], entry["custom_id"], entry["status"])
        for entry in emulator.log()
    ]
    assert shown == [
        (1, "POST", "/sessions", "", "a", 201),
        (2, "POST", "/sessions", "", "a", 400),
        (3, "GET", "/sessions", "customIds=a", None, 200),
        (4, "PATCH", f"/sessions/{session_id}", "", None, 200),
        (5, "GET", "/nope", "", None, 404),
    ]
    assert [entry["stored"] for entry in emulator.log()] == [session_id, None, None, None, None]
    assert [entry["session_id"] for entry in emulator.log()] == [session_id, None, None, session_id, None]
    assert [entry["n"] for entry in emulator.log(after=3)] == [4, 5]
    times = [entry["time"] for entry in emulator.log()]
    assert times == sorted(times)
    assert abs(times[0] - time.time()) < 60


def test_a_reset_empties_store_and_log(emulator: RunningEmulator, create: Create, api: httpx.Client) -> None:
    create(customId="a")
    emulator.reset()
    assert (emulator.sessions(), emulator.log()) == ([], [])
    assert create(customId="a").status_code == 201
    assert emulator.log()[0]["n"] == 1


def test_control_routes_need_no_key(emulator: RunningEmulator) -> None:
    assert httpx.get(f"{emulator.url}/__emulator__/log", trust_env=False).json() == []
    assert httpx.get(f"{emulator.url}/__emulator__/nope", trust_env=False).status_code == 404
    assert httpx.get(f"{emulator.url}/__emulator__/log?after=x", trust_env=False).status_code == 400


def test_a_client_that_leaves_mid_request_stores_nothing(emulator: RunningEmulator) -> None:
    host, port = emulator.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer gsk_x\r\n"
            b'content-type: application/json\r\ncontent-length: 100\r\n\r\n{"versionId": "ver_123"}'
        )
    deadline = time.monotonic() + 5
    while not (log := emulator.log()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [entry["status"] for entry in log] == [None]
    assert emulator.sessions() == []


def test_without_data_a_restart_forgets() -> None:
    with running_emulator() as emulator, client_of(emulator) as api:
        post_session(api)
        emulator.restart()
        assert emulator.sessions() == []


def test_with_data_a_restart_keeps_sessions_versions_and_log(tmp_path: Path) -> None:
    with running_emulator(data=tmp_path / "state.sqlite") as emulator:
        with client_of(emulator) as api:
            version_id = api.post("/versions", json={"productId": "prod_123"}).json()["id"]
            session = post_session(api, customId="a", versionId=version_id).json()
        url, log = emulator.url, emulator.log()
        emulator.stop()
        emulator.start()
        with client_of(emulator) as api:
            assert api.get(f"/sessions/{session['id']}").json() == session
            assert post_session(api, customId="a", versionId=version_id).status_code == 400
        assert emulator.url == url
        assert emulator.log()[:-2] == log
        assert [entry["n"] for entry in emulator.log()] == [1, 2, 3, 4]


def test_after_a_kill_every_answered_session_is_there(tmp_path: Path) -> None:
    answered: list[str] = []

    def post_until_killed(thread: int, emulator: RunningEmulator) -> None:
        with client_of(emulator) as api:
            for number in range(100_000):
                try:
                    post_session(api, customId=f"{thread}:{number}").raise_for_status()
                except httpx.TransportError:
                    return
                answered.append(f"{thread}:{number}")

    with running_emulator(data=tmp_path / "state.sqlite") as emulator:
        threads = [threading.Thread(target=post_until_killed, args=(one, emulator)) for one in range(4)]
        for thread in threads:
            thread.start()
        while len(answered) < 100:
            time.sleep(0.01)
        emulator.kill()
        for thread in threads:
            thread.join()
        emulator.start()
        sessions = {session["id"]: session["customId"] for session in emulator.sessions()}
        logged = {entry["stored"]: entry["custom_id"] for entry in emulator.log() if entry["stored"]}
    assert set(answered) <= set(sessions.values())
    assert len(set(sessions.values())) == len(sessions) <= len(answered) + len(threads)
    assert logged == sessions


def test_a_data_file_serves_one_emulator_at_a_time(tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path / "state.sqlite")]
    with running_emulator(data=tmp_path / "state.sqlite"):
        run = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 1
    assert "does another emulator use this file?" in run.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_url_is_the_first_line_and_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/minimum-sdk-version", trust_env=False).status_code == 200
        process.send_signal(number)
        output = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, ("", ""))


def test_it_ends_at_once_although_requests_hang(emulator: RunningEmulator) -> None:
    with running_emulator(faults=[{"match": "GET /versions", "do": "hang"}]) as hanging:
        with client_of(hanging, timeout=0.1) as api, pytest.raises(httpx.ReadTimeout):
            api.get("/versions")
        start = time.monotonic()
        hanging.stop()
        assert time.monotonic() - start < 2


def test_it_does_not_outlive_a_killed_parent() -> None:
    code = (
        "import time\nfrom pipeline.emulator import running_emulator\n"
        "with running_emulator() as e:\n    print(e.pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--option", "nope=1"], "'nope' is no option"),
        (["--option", "nul"], "write it as name=value"),
        (["--option", "nul=maybe"], "one of reject, accept"),
        (["--option", "max_body_bytes=x"], "it is a number"),
        (["--option", "deleted_hold_custom_id=1"], "true or false"),
        (["--faults", "/nowhere.yaml"], "does not exist"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(arguments: list[str], complaint: str) -> None:
    run = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 2
    assert complaint in " ".join(run.stderr.split())


def test_a_taken_port_is_said(emulator: RunningEmulator) -> None:
    port = emulator.url.rsplit(":", 1)[1]
    run = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in run.stderr
