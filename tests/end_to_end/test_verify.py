"""`trace-import verify`: what the ledger says against what the server holds."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Ended, Importer, end, make_trace, many, wait_until, write_jsonl
from tests.end_to_end.test_turns import QUICK, call, chat, talk, talks
from tests.invariants import PAYLOAD, check_invariants, posts, read_summary


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


def session_of(emulator: RunningEmulator, number: int) -> dict[str, Any]:
    name = f"langfuse:trace-{number}"
    return next(one for one in emulator.sessions() if one["customId"] == name and one["deletedAt"] is None)


def ended(emulator: RunningEmulator) -> int:
    """How many sessions have got all that they should."""
    return sum(session["status"] == "COMPLETED" for session in emulator.sessions())


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
    process = importer.start(many(importer, 900), options=["--max-per-second", "100"])
    wait_until(lambda: ended(emulator) > 60)
    report = verify_json(importer)
    assert report["sessions"] > 20
    assert report["not_settled"] > 100
    assert end(process).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 900}


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
    process = importer.start(options=[str(config), "--max-per-second", "100"])
    wait_until(lambda: ended(emulator) > 40)
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


def imported_talks(importer: Importer, emulator: RunningEmulator, count: int, turns: int = 3) -> list[dict[str, Any]]:
    """Conversations `talk-0` and on, each turn with two spans; as they stand on the server."""
    importer.run_here(write_jsonl(importer.home / "a.jsonl", talks(count, turns)), **QUICK)
    stored = {session["customId"]: session for session in emulator.sessions(with_turns=True)}
    return [stored[f"langfuse:talk-{number}"] for number in range(count)]


def told(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["custom_id"].removeprefix("langfuse:"): (one["kind"], one["detail"]) for one in report["findings"]}


def test_each_difference_of_turns_is_named_with_its_place(importer: Importer, emulator: RunningEmulator) -> None:
    sessions = imported_talks(importer, emulator, 24)

    def turn(number: int, place: int) -> str:
        return f"/inferenceResults/{sessions[number]['turns'][place]['id']}"

    def add(number: int, **fields: Any) -> None:
        """It opens by that, and is closed again."""
        body = {"sessionId": sessions[number]["id"], "status": "GENERATED", **fields}
        call(emulator, "POST", "/inferenceResults", body)
        call(emulator, "PATCH", f"/sessions/{sessions[number]['id']}/finish", {"stoppingReason": "IMPORTED"})

    call(emulator, "DELETE", turn(1, 1))
    for place in range(3):
        call(emulator, "DELETE", turn(2, place))
    add(3, input="question 2 of 3", actualOutput="answer 2 of 3 is on its way")
    add(4, input="Are you there?", actualOutput="No.")
    call(emulator, "PATCH", turn(5, 1), {"actualOutput": "another answer"})
    call(emulator, "PATCH", turn(6, 2), {"latency": 5})
    call(emulator, "DELETE", turn(7, 0))
    call(emulator, "PATCH", turn(7, 2), {"input": "another question"})
    add(7, input="Are you there?", actualOutput="No.")
    report = verify_json(importer, code=4)
    assert told(report) == {
        "talk-1": ("turns_differ", "turn 2 is missing"),
        "talk-2": ("turns_differ", "each of turns 1 to 3 is missing"),
        "talk-3": ("turns_differ", "turn 3 is there once more"),
        "talk-4": ("turns_differ", "after turn 3 comes one that is not ours"),
        "talk-5": ("turns_differ", "turn 2 says something else"),
        "talk-6": ("turns_differ", "turn 3 has another status or other figures"),
        "talk-7": (
            "turns_differ",
            "turn 1 is missing; turn 3 says something else; after turn 3 comes one that is not ours",
        ),
    }
    assert report["differences"] == {"turns_differ": 7}
    assert (report["as_the_ledger_says"], report["contents_compared"], report["turns"]) == (17, 24, 51)
    done = verify(importer)
    assert "turns_differ: langfuse:talk-1: turn 2 is missing" in done.out
    counted = verify_json(importer, "--sample", "0", code=4)
    assert {*told(counted)} == {"talk-1", "talk-2", "talk-3", "talk-4"}


def test_sessions_of_others_are_said_to_be_only_looked_up(importer: Importer, emulator: RunningEmulator) -> None:
    sessions = imported_talks(importer, emulator, 2)
    call(emulator, "DELETE", f"/inferenceResults/{sessions[1]['turns'][1]['id']}")
    other = Importer(importer.home / "other", emulator.url, extent="full")
    other.run_here(write_jsonl(other.home / "a.jsonl", talks(2, 3)), **QUICK)
    report = verify_json(other)
    assert (report["as_the_ledger_says"], report["others"]) == (2, 2)
    assert "2 of them the server had before: their turns and spans were not looked at" in verify(other).out
    third = Importer(importer.home / "third", emulator.url, extent="full")
    third.run_here(write_jsonl(third.home / "a.jsonl", talks(2, 3)), **QUICK, upload__on_existing="complete")
    assert told(verify_json(third, code=4)) == {
        "talk-1": ("turns_differ", "the run that was to complete it found other turns, and sent nothing")
    }


def test_how_a_session_ended_is_told_for_what_it_is(importer: Importer, emulator: RunningEmulator) -> None:
    sessions = imported_talks(importer, emulator, 5)
    open_again = {"status": "PENDING", "stoppingReason": None}
    for number in (1, 2):
        call(emulator, "PATCH", f"/sessions/{sessions[number]['id']}", open_again)
    emulator.forward(3600)
    for number in (3, 1):
        call(emulator, "PATCH", f"/sessions/{sessions[number]['id']}", open_again)
    call(emulator, "PATCH", f"/sessions/{sessions[4]['id']}/finish", {"error": "out of memory"})
    report = verify_json(importer, code=4)
    opened = "the import had ended it, and it is open: somebody has opened it again"
    assert told(report) == {
        "talk-1": ("ends_otherwise", opened),
        "talk-2": ("ends_otherwise", "Galtea has closed it by itself: it does not say how it ended"),
        "talk-3": ("ends_otherwise", opened),
        "talk-4": (
            "ends_otherwise",
            "it is FAILED with error 'out of memory', and the import had ended it as COMPLETED",
        ),
    }


def test_one_that_was_left_open_may_close_by_itself(importer: Importer, emulator: RunningEmulator) -> None:
    half = talk(1, 0, output=None)
    half["observations"] = [half["observations"][0] | {"endTime": None, "output": None}]
    importer.run_here(write_jsonl(importer.home / "a.jsonl", [half]), **QUICK)
    assert verify_json(importer)["as_the_ledger_says"] == 1
    emulator.forward(3600)
    assert verify_json(importer)["as_the_ledger_says"] == 1
    session = emulator.sessions()[0]
    assert session["status"] == "COMPLETED"
    call(emulator, "PATCH", f"/sessions/{session['id']}/finish", {"stoppingReason": "BORED"})
    assert "somebody has ended it" in told(verify_json(importer, code=4))["talk-1"][1]


def test_spans_are_counted_where_contents_are_compared(importer: Importer, emulator: RunningEmulator) -> None:
    sessions = imported_talks(importer, emulator, 4)
    call(emulator, "DELETE", f"/traces/{sessions[2]['turns'][1]['spans'][1]['id']}")
    theirs = {"inferenceResultId": sessions[1]["turns"][0]["id"], "name": "somebody else's"}
    call(emulator, "POST", "/traces", theirs)
    assert told(verify_json(importer, code=4)) == {
        "talk-2": ("spans_differ", "5 imported spans are there, and there were 6")
    }
    assert verify_json(importer, "--sample", "0")["differences"] == {}


def test_long_conversations_are_read_page_by_page(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [chat(number, turns) for number, turns in ((1, 1_100), (2, 1_100), (3, 30))]
    importer.run_here(write_jsonl(importer.home / "a.jsonl", rows), **QUICK)
    assert verify_json(importer)["turns"] == 2_230
    stored = {session["customId"]: session for session in emulator.sessions(with_turns=True)}
    for place in (7, 700, 701):
        call(emulator, "DELETE", f"/inferenceResults/{stored['chat:chat-2']['turns'][place]['id']}")
    report = verify_json(importer, code=4)
    assert [(one["custom_id"], one["detail"]) for one in report["findings"]] == [
        ("chat:chat-2", "each of turns 8 to 702 is another, or missing: 692 are in their place")
    ]


def test_of_a_session_of_others_only_what_was_added_is_compared(importer: Importer, emulator: RunningEmulator) -> None:
    other = Importer(importer.home / "other", emulator.url)
    other.run_here(write_jsonl(other.home / "a.jsonl", talks(3, 1)), **QUICK)
    source = write_jsonl(importer.home / "a.jsonl", talks(3, 3))
    importer.run_here(source, **QUICK)
    assert verify_json(importer)["turns"] == 0
    importer.run_here(source, **QUICK, upload__on_existing="complete")
    assert verify_json(importer)["turns"] == 9
    by_id = {session["customId"]: session for session in emulator.sessions(with_turns=True)}
    body = {"sessionId": by_id["langfuse:talk-1"]["id"], "input": "And then?", "actualOutput": "Then it came."}
    call(emulator, "POST", "/inferenceResults", body)
    call(emulator, "DELETE", f"/inferenceResults/{by_id['langfuse:talk-2']['turns'][2]['id']}")
    assert told(verify_json(importer, code=4)) == {"talk-2": ("turns_differ", "turn 3 is missing")}


def test_turns_that_show_late_are_waited_for_and_trouble_is_borne(
    importer: Importer, emulator: RunningEmulator
) -> None:
    write_jsonl(importer.home / "a.jsonl", talks(30, 2))
    importer.run_here(importer.home / "a.jsonl", **QUICK)
    emulator.set_faults(
        [
            {"match": "GET /inferenceResults", "when": {"first": 1}, "do": {"status": 200, "body": []}},
            {"match": "GET /inferenceResults", "when": {"every": 3}, "do": "reset_before"},
            {"match": "GET /traces", "when": {"every": 2}, "do": {"status": 502}},
        ]
    )
    assert verify_json(importer)["turns"] == 60
    refused = {"status": 400, "body": {"message": "no"}}
    emulator.set_faults([{"match": "GET /inferenceResults", "do": refused}])
    assert verify_json(importer, code=75)["unanswered"] == 30


def test_a_ledger_from_before_turns_is_compared_and_left_as_it_is(importer: Importer) -> None:
    importer.run_here(many(importer, 3), **{"import": "session"})
    connection = sqlite3.connect(importer.state / "ledger.sqlite")
    for column in ("sent_by", "is_changing", "finish", "spans_sha256", "content_sha256", "turn_prints", "extent"):
        connection.execute(f"ALTER TABLE session RENAME COLUMN {column} TO no_{column}")
    connection.execute("DROP TABLE process")
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    assert verify_json(importer)["as_the_ledger_says"] == 3
    assert importer.run_here(importer.home / "a.jsonl", **{"import": "full"}).summary["exit_code"] == 0
    assert verify_json(importer, "--all")["turns"] == 3


def test_one_that_was_left_alone_is_told_for_what_it_is(importer: Importer, emulator: RunningEmulator) -> None:
    sessions = imported_talks(importer, emulator, 2)
    body = {"sessionId": sessions[1]["id"], "input": "Are you there?", "actualOutput": "No."}
    call(emulator, "POST", "/inferenceResults", body)
    call(emulator, "PATCH", f"/sessions/{sessions[1]['id']}/finish", {"stoppingReason": "IMPORTED"})
    importer.run_here(write_jsonl(importer.home / "a.jsonl", talks(2, 4)), **QUICK)
    report = verify_json(importer, code=4)
    assert told(report) == {"talk-1": ("turns_differ", "after turn 3 comes one that is not ours")}
    assert report["changing"] == 0


def test_one_whose_change_broke_off_is_not_compared_until_it_is_made(
    importer: Importer, emulator: RunningEmulator
) -> None:
    imported_talks(importer, emulator, 2)
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 5) + talks(2, 3)[1::2])
    refused = {"status": 422, "body": {"message": "no such language"}}
    emulator.set_faults([{"match": "POST /inferenceResults", "when": {"after": 1}, "do": refused}])
    assert importer.run_here(source, **QUICK).summary["outcomes"] == {"failed": 1, "skipped": 1}
    emulator.set_faults([])
    report = verify_json(importer)
    assert (report["changing"], report["turns"]) == (1, 3)
    importer.run_here(source, **QUICK)
    report = verify_json(importer)
    assert (report["changing"], report["turns"]) == (0, 8)
