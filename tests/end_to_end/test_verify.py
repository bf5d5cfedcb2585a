"""`trace-import verify`: what the ledger says against what the server holds."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Ended, Importer, end, make_trace, many, wait_until, write_jsonl
from tests.invariants import KEY, PAYLOAD, check_invariants, posts, read_summary


def write_config(importer: Importer, **upload: Any) -> Path:
    """For answers that come at once there is no lag to wait for."""
    file = importer.home / "import.yaml"
    settings = json.dumps({"lookup_seconds": 1} | upload)
    file.write_text(f"source: {{paths: [a.jsonl], allow_empty: true}}\nstate_dir: state\nupload: {settings}\n")
    return file


def verify(importer: Importer, *options: str) -> Ended:
    return importer.run(options=[str(write_config(importer)), *options], verb="verify")


def verify_json(importer: Importer, *options: str, code: int = 0) -> Any:
    done = verify(importer, "--json", *options)
    assert done.code == code, done.err
    report = json.loads(done.out)
    assert PAYLOAD not in done.out + done.err
    return report


def call(emulator: RunningEmulator, method: str, path: str, body: Any = None) -> None:
    """Somebody else at the same API."""
    request = urllib.request.Request(
        f"{emulator.url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def session_of(emulator: RunningEmulator, number: int) -> dict[str, Any]:
    name = f"langfuse:trace-{number}"
    return next(one for one in emulator.sessions() if one["customId"] == name and one["deletedAt"] is None)


def test_after_a_run_through_faults_all_is_as_the_ledger_says(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults(
        [
            {"match": "* /sessions", "when": {"every": 7}, "do": "reset_after_commit"},
            {"match": "* /sessions", "when": {"every": 5}, "do": {"status": 503}},
            {"match": "* /sessions", "when": {"every": 11}, "do": "garbage"},
        ]
    )
    assert importer.run(many(importer, 80)).code == 0
    before = len(posts(emulator))
    report = verify_json(importer)
    assert (report["sessions"], report["as_the_ledger_says"], report["contents_compared"]) == (80, 80, 80)
    assert (report["differences"], report["findings"], report["run_id"]) == (
        {},
        [],
        read_summary(importer.last)["run_id"],
    )
    assert len(posts(emulator)) == before
    assert json.loads((importer.last / "verify.json").read_text()) == report
    check_invariants(emulator, importer.last)


def test_each_difference_is_named(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 40)).code == 0
    ids = {number: session_of(emulator, number)["id"] for number in range(6)}
    call(emulator, "DELETE", f"/sessions/{ids[1]}")
    call(emulator, "PATCH", f"/sessions/{ids[2]}", {"context": {"turns": []}})
    call(emulator, "PATCH", f"/sessions/{ids[3]}", {"metadata": {"trace_import": {"ledger": "another"}}})
    call(emulator, "PATCH", f"/sessions/{ids[4]}", {"customId": "renamed by hand"})
    report = verify_json(importer, code=4)
    assert {(one["kind"], one["custom_id"], one["session_id"]) for one in report["findings"]} == {
        ("missing", "langfuse:trace-1", ids[1]),
        ("different", "langfuse:trace-2", ids[2]),
        ("foreign", "langfuse:trace-3", ids[3]),
        ("different", "langfuse:trace-4", ids[4]),
    }
    assert report["differences"] == {"missing": 1, "foreign": 1, "different": 2}
    assert (report["as_the_ledger_says"], report["contents_compared"]) == (36, 38)
    done = verify(importer)
    assert done.code == 4
    assert "missing: langfuse:trace-1" in done.out
    assert "its custom id is now 'renamed by hand'" in done.out
    assert "--reopen-missing" in done.out


def test_a_server_that_shows_two_sessions_for_one_id_is_caught(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 1, output="Soon.")).code == 0
    session = session_of(emulator, 0)
    twice = [session, {**session, "id": "session_other"}]
    emulator.set_faults([{"match": "GET /sessions", "do": {"status": 200, "body": twice}}])
    report = verify_json(importer, code=4)
    assert [(one["kind"], one["custom_id"]) for one in report["findings"]] == [("doubled", "langfuse:trace-0")]
    assert "session_other" in report["findings"][0]["detail"]


def test_which_contents_a_sample_looks_into_is_always_the_same(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 30)).code == 0
    for number in range(30):
        call(emulator, "PATCH", f"/sessions/{session_of(emulator, number)['id']}", {"context": {"turns": []}})
    first, second = (verify_json(importer, "--sample", "7", code=4) for _ in range(2))
    assert first["contents_compared"] == 7
    assert len(first["findings"]) == 7
    assert first["findings"] == second["findings"]
    assert verify_json(importer, "--sample", "0")["sessions"] == 30


def test_a_run_is_compared_or_everything(importer: Importer, emulator: RunningEmulator) -> None:
    for name, numbers in (("a", range(3)), ("b", range(3, 8))):
        source = write_jsonl(importer.home / f"{name}.jsonl", [make_trace(number) for number in numbers])
        assert importer.run(source).code == 0
    first = read_summary(importer.runs[0])["run_id"]
    assert verify_json(importer)["sessions"] == 5
    assert verify_json(importer, "--run", first)["sessions"] == 3
    assert verify_json(importer, "--all")["sessions"] == 8
    assert json.loads((importer.state / "verify.json").read_text())["sessions"] == 8
    unknown = verify(importer, "--run", "another")
    assert unknown.code == 2
    assert first in unknown.err
    assert verify(importer, "--version-id", "ver_other").code == 2
    assert "it knows" in verify(importer, "--version-id", "ver_other").err


def test_an_api_that_fails_or_limits_is_borne(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 120)).code == 0
    emulator.set_limit(20, 5)
    emulator.set_faults(
        [
            {"match": "GET /sessions", "when": {"every": 3}, "do": "reset_before"},
            {"match": "GET /sessions", "when": {"every": 4}, "do": {"status": 500}},
            {"match": "GET /sessions", "when": {"every": 5}, "do": "truncate"},
        ]
    )
    assert verify_json(importer)["as_the_ledger_says"] == 120


def test_what_cannot_be_asked_for_is_no_difference(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 3)).code == 0
    emulator.set_faults(
        [{"match": "GET /sessions", "when": {"after": 1}, "do": {"status": 400, "body": {"message": "no"}}}]
    )
    report = verify_json(importer, code=75)
    assert (report["unanswered"], report["differences"]) == (3, {})
    emulator.set_faults([{"match": "GET /sessions", "when": {"after": 1}, "do": {"status": 401}}])
    assert verify(importer).code == 5


def test_a_write_that_shows_late_is_waited_for(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": "POST /sessions", "do": {"visible_after_ms": 4_000}}])
    assert importer.run(many(importer, 3)).code == 0
    config = write_config(importer, lookup_seconds=30)
    done = importer.run(options=[str(config)], verb="verify")
    assert done.code == 0, done.out


def test_a_run_that_works_is_verified_and_not_disturbed(importer: Importer, emulator: RunningEmulator) -> None:
    process = importer.start(many(importer, 300), options=["--max-per-second", "60"])
    wait_until(lambda: len(posts(emulator)) > 60)
    report = verify_json(importer)
    assert report["sessions"] > 20
    assert report["not_settled"] > 100
    assert end(process).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 300}


def test_without_a_ledger_or_a_key_it_says_so(importer: Importer) -> None:
    assert "there is no ledger" in verify(importer).err
    assert not importer.state.exists()
    importer.environment = {"GALTEA_API_KEY": ""}
    done = importer.execute(importer.command("verify"))
    assert done.code == 2
    assert "GALTEA_API_KEY" in done.err


@pytest.mark.parametrize("free_again", [True, False], ids=["ids are free again", "deleted sessions hold their ids"])
def test_what_was_deleted_by_hand_is_opened_and_sent_again(importer: Importer, free_again: bool) -> None:
    with running_emulator(options={"deleted_hold_custom_id": not free_again}) as emulator:
        importer.base_url = emulator.url
        config = write_config(importer)
        many(importer, 20)
        assert importer.run(options=[str(config)]).code == 0
        for number in range(4):
            call(emulator, "DELETE", f"/sessions/{session_of(emulator, number)['id']}")
        report = verify_json(importer, "--reopen-missing", code=4)
        assert (report["reopened"], report["differences"], report["not_settled"]) == (4, {"missing": 4}, 0)
        again = importer.run(options=[str(config)])
        assert again.code == 0, again.out
        summary = check_invariants(emulator, importer.last)
        if free_again:
            assert summary["outcomes"] == {"created": 4, "skipped": 16}
        else:
            assert summary["details"]["existing"] == {"hidden_or_deleted": 4}
        after = verify_json(importer)
        assert after["hidden"] == (0 if free_again else 4)


def test_opening_is_for_who_holds_the_ledger(importer: Importer, emulator: RunningEmulator) -> None:
    process = importer.start(many(importer, 200), options=["--max-per-second", "50"])
    wait_until(lambda: len(posts(emulator)) > 20)
    done = verify(importer, "--reopen-missing")
    assert done.code == 75
    assert "in use by" in done.err
    assert end(process).code == 0


def test_a_run_that_was_stopped_sends_what_was_opened_when_it_goes_on(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """It has charged these records already, as created."""
    config = write_config(importer)
    many(importer, 200)
    process = importer.start(options=[str(config), "--max-per-second", "60"])
    wait_until(lambda: len(posts(emulator)) > 40)
    assert end(process, signal.SIGTERM).code == 143
    session = session_of(emulator, 0)
    call(emulator, "PATCH", f"/sessions/{session['id']}", {"customId": "out of the way"})
    call(emulator, "DELETE", f"/sessions/{session['id']}")
    assert verify_json(importer, "--reopen-missing", code=4)["reopened"] == 1
    assert importer.run(options=[str(config)]).code == 0
    summary = check_invariants(emulator, importer.last)
    assert (summary["continued"], summary["outcomes"]) == (True, {"created": 200})
    assert session_of(emulator, 0)["id"] != session["id"]
    assert verify_json(importer)["as_the_ledger_says"] == 200


def test_what_verify_wrote_is_no_source(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 2)).code == 0
    assert verify(importer).code == 0
    shutil.copytree(importer.last, importer.home / "in" / "an old run")
    source = write_jsonl(importer.home / "in" / "b.jsonl", [make_trace(7)])
    assert importer.run(importer.home / "in").code == 0
    assert [one["source"] for one in read_summary(importer.last)["sources"]] == [str(source)]
