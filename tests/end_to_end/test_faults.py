"""What the network and the API do wrong, on a real socket; each ends with the one function that checks the promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, many
from tests.invariants import check_invariants, posts, read_manifest, read_summary

POST = "POST /sessions"


@pytest.mark.parametrize(
    "do",
    [
        pytest.param({"status": 500}, id="500 before the commit"),
        pytest.param({"status": 500, "after_commit": True}, id="500 after the commit"),
        pytest.param({"status": 503}, id="503 without Retry-After"),
        pytest.param({"reset_before": True}, id="reset before the commit"),
        pytest.param({"reset_after_commit": True}, id="reset after the commit"),
        pytest.param({"truncate": True}, id="half an answer"),
        pytest.param({"garbage": True}, id="an answer that is not JSON"),
        pytest.param({"status": 429, "headers": {"Retry-After": "1"}}, id="429 with Retry-After"),
        pytest.param({"status": 429}, id="429 without Retry-After"),
        pytest.param({"status": 429, "headers": {"Retry-After": "soon"}}, id="429 with garbage"),
        pytest.param({"status": 429, "headers": {"Retry-After": "-5"}}, id="429 with a negative wait"),
        pytest.param(
            {"status": 403, "headers": {"content-type": "text/html"}, "body": "<html>no</html>"}, id="an HTML 403"
        ),
    ],
)
def test_nothing_is_lost_or_doubled(importer: Importer, emulator: RunningEmulator, do: dict[str, Any]) -> None:
    every = 20 if do.get("status") == 429 else 7
    emulator.set_faults([{"match": POST, "when": {"every": every}, "do": do}])
    done = importer.run(many(importer, 60), options=["--max-at-once", "8"])
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 60}


def test_a_commit_that_shows_late_is_waited_for(importer: Importer, emulator: RunningEmulator) -> None:
    rule = {"reset_after_commit": True, "visible_after_ms": 1500}
    emulator.set_faults([{"match": POST, "when": {"every": 5}, "do": rule}])
    done = importer.run(many(importer, 20))
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 20}


def test_401_stops_at_once_and_rejects_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    body = {"error": "Unauthorized", "message": "Invalid API key"}
    emulator.set_faults([{"match": POST, "when": {"after": 10}, "do": {"status": 401, "body": body}}])
    done = importer.run(many(importer, 200), options=["--max-at-once", "4"])
    assert done.code == 5
    summary = check_invariants(emulator, importer.last)
    assert set(summary["outcomes"]) == {"created", "pending"}
    assert len(posts(emulator)) < 30
    emulator.set_faults([])
    assert importer.run(importer.home / "a.jsonl").code == 0
    check_invariants(emulator, importer.last)
    assert len(emulator.sessions()) == 200


def test_a_wrong_key_is_found_before_the_first_post(tmp_path: Path) -> None:
    with running_emulator(api_key="gsk_the_right_one") as emulator:
        importer = Importer(tmp_path, emulator.url)
        done = importer.run(many(importer, 3))
        assert done.code == 5
        assert "GALTEA_API_KEY" in done.out + done.err
        assert posts(emulator) == []


def test_an_unknown_version_is_found_before_the_first_post(importer: Importer, emulator: RunningEmulator) -> None:
    done = importer.run(many(importer, 3), options=["--version-id", "ver_unknown"])
    assert done.code == 5
    assert "ver_unknown" in done.out + done.err
    assert posts(emulator) == []


def test_one_refused_record_is_a_reject_and_the_run_goes_on(importer: Importer, emulator: RunningEmulator) -> None:
    body = {"message": "context is too odd"}
    rule = {"match": POST, "when": {"custom_id": "langfuse:trace-3"}, "do": {"status": 400, "body": body}}
    emulator.set_faults([rule])
    done = importer.run(many(importer, 20))
    assert done.code == 3
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 19, "rejected": 1}
    row = next(row for row in read_manifest(importer.last) if row["outcome"] == "rejected")
    assert (row["http_status"], row["error"]) == (400, "context is too odd")


def test_the_same_refusal_for_everything_stops_the_run_and_rejects_nothing(
    importer: Importer, emulator: RunningEmulator
) -> None:
    emulator.set_faults([{"match": POST, "do": {"status": 400, "body": {"message": "You have no credits left"}}}])
    done = importer.run(many(importer, 300))
    assert done.code == 5
    assert "no credits left" in done.out + done.err
    summary = check_invariants(emulator, importer.last)
    assert set(summary["outcomes"]) == {"pending"}
    assert len(posts(emulator)) <= 50 + 64
    emulator.set_faults([])
    assert importer.run(importer.home / "a.jsonl").code == 0
    assert len(emulator.sessions()) == 300


def test_a_target_that_goes_on_refusing_is_asked_no_more_often_each_time(
    importer: Importer, emulator: RunningEmulator
) -> None:
    emulator.set_faults([{"match": POST, "do": {"status": 400, "body": {"message": "You have no credits left"}}}])
    source = many(importer, 900)
    asked = 0
    for _ in range(4):
        assert importer.run(source).code == 5
        assert len(posts(emulator)) - asked <= 50 + 64
        asked = len(posts(emulator))
        assert open_work(importer) == {"pending"}
    emulator.set_faults([])
    assert importer.run(source).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 900}


def test_what_did_not_leave_before_a_stop_is_not_in_flight(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 900)
    for _ in range(3):
        assert importer.run(source, options=["--max-per-second", "30", "--for", "2s"]).code == 75
        check_invariants(emulator, importer.last)
        assert open_work(importer) == {"pending"}


def open_work(importer: Importer) -> set[str]:
    status = json.loads(importer.execute([*importer.command("status")[:6], "--json"]).out)
    return set(status["targets"][0]["open"])


def test_a_session_of_somebody_else_is_adopted_and_named(importer: Importer, emulator: RunningEmulator) -> None:
    body = {"versionId": "ver_123", "customId": "langfuse:trace-1", "isProduction": False, "context": "mine"}
    httpx.post(f"{emulator.url}/sessions", json=body, headers={"Authorization": "Bearer gsk_x"}).raise_for_status()
    done = importer.run(many(importer, 3))
    assert done.code == 0
    check_invariants(emulator, importer.last)
    row = next(row for row in read_manifest(importer.last) if row["custom_id"] == "langfuse:trace-1")
    assert (row["outcome"], row["error_kind"]) == ("existing", "other_payload")


def test_a_lost_ledger_finds_its_sessions_again(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 120)
    importer.run(source)
    other = Importer(importer.home / "elsewhere", emulator.url)
    done = other.run(source)
    assert done.code == 0
    assert check_invariants(emulator, other.last)["outcomes"] == {"existing": 120}
    assert len(emulator.sessions()) == 120


def test_an_outage_is_waited_out(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "when": {"from_second": 2, "for_seconds": 4}, "do": {"status": 503}}])
    done = importer.run(many(importer, 200), options=["--max-at-once", "16", "--max-per-second", "60"])
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 200}


def test_nothing_listens_and_the_run_says_so(importer: Importer, emulator: RunningEmulator) -> None:
    config = importer.home / "c.yaml"
    config.write_text(
        "source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123, base_url: 'http://127.0.0.1:9'}\n"
        "upload: {give_up_after_seconds: 2}\n"
    )
    many(importer, 3)
    done = importer.run(options=[str(config)])
    assert done.code == 75
    assert "does not answer" in done.out + done.err
    assert read_summary(importer.last)["exit_code"] == 75


def test_a_server_that_stores_something_else_stops_the_run(importer: Importer, emulator: RunningEmulator) -> None:
    body = {"id": "session_1", "customId": "another", "versionId": "ver_123", "isProduction": False}
    emulator.set_faults([{"match": POST, "do": {"status": 201, "body": body}}])
    done = importer.run(many(importer, 3))
    assert done.code == 5
    assert "another session" in done.out + done.err


def test_the_given_rate_is_never_exceeded(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 60), options=["--max-per-second", "40"]).code == 0
    times = [line["time"] for line in posts(emulator)]
    check_invariants(emulator, importer.last)
    for window in (10, 20, 40):
        fastest = min(later - earlier for earlier, later in zip(times, times[window:], strict=False))
        assert fastest >= (window - 2) / 40, (window, fastest)


def test_a_limit_of_the_api_is_lived_with(tmp_path: Path) -> None:
    with running_emulator(max_per_second=50, burst=10) as emulator:
        importer = Importer(tmp_path, emulator.url)
        done = importer.run(many(importer, 150))
        assert done.code == 0, done.out + done.err
        assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 150}
