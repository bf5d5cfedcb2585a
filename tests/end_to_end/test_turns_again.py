"""Conversations that were begun before, by this ledger or by others: brought to their end, and nothing else touched."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from typing import Any

import httpx
import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, end, make_trace, wait_until, write_jsonl
from tests.end_to_end.test_turns import FINISH, QUICK, SPANS, TURN, calls, dialogue, said, talk, talks
from tests.invariants import KEY, check_invariants, read_manifest, read_summary

EXTENT = "full"
AUTH = {"Authorization": f"Bearer {KEY}"}
HANGS = {"delay_ms": 60_000}


def live(emulator: RunningEmulator) -> list[dict[str, Any]]:
    return [session for session in emulator.sessions(with_turns=True) if session["deletedAt"] is None]


def spans_of(session: dict[str, Any]) -> list[dict[str, Any]]:
    turns = [turn for turn in session["turns"] if turn["deletedAt"] is None]
    return [span for turn in turns for span in turn["spans"] if span["deletedAt"] is None]


def killed(importer: Importer, emulator: RunningEmulator, settings: list[str], step: str, number: int = 1) -> None:
    """A run that is killed while the request of this number is stored and not yet answered."""
    emulator.set_faults([{"match": step, "when": {"between": [number, number]}, "do": HANGS}])
    before = len(emulator.log())
    process = importer.start(options=settings)
    wait_until(lambda: any(line["fault"] for line in emulator.log(before)) or process.poll() is not None)
    end(process, signal.SIGKILL if process.poll() is None else None)
    emulator.set_faults([])


def quick(importer: Importer, on_change: str = "auto") -> list[str]:
    file = importer.home / "quick.yaml"
    file.write_text(
        f"source: {{paths: [{importer.home}/*.jsonl], session_per: conversation}}\ntarget: {{version_id: ver_123}}\n"
        f"upload: {{lookup_seconds: 2, timeout_seconds: 1.5, max_at_once: 2, on_change: {on_change}}}\n"
    )
    return [str(file)]


def failing(**fields: Any) -> dict[str, Any]:
    step = talk(0, 0)["observations"][0] | {"level": "ERROR", "statusMessage": "boom", "output": None}
    return talk(0, 0, output=None, observations=[step], **fields)


@pytest.mark.parametrize("step", ["POST /sessions", TURN, "DELETE /sessions/*"])
def test_a_killed_recreation_goes_on_as_one(importer: Importer, emulator: RunningEmulator, step: str) -> None:
    rows = talks(1, 2)
    source = write_jsonl(importer.home / "a.jsonl", rows)
    settings = quick(importer, "recreate")
    assert importer.run(options=settings).code == 0
    rows[0] |= {"output": "another answer"}
    write_jsonl(source, rows)
    killed(importer, emulator, settings, step)
    assert importer.run(options=settings).code == 0
    check_invariants(emulator, importer.last)
    assert [session["customId"] for session in live(emulator)] == ["langfuse:talk-0"]
    assert said(emulator, "langfuse:talk-0")[0][1] == "another answer"


def test_a_recreation_that_is_refused_and_cannot_be_taken_back_fails_alone(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = talks(1, 2)
    source = write_jsonl(importer.home / "a.jsonl", rows)
    importer.run_here(source, **QUICK)
    rows[0] |= {"output": "another answer"}
    write_jsonl(source, rows)
    emulator.set_faults(
        [
            {"match": "POST /sessions", "do": {"status": 422, "body": {"message": "no"}}},
            {"match": "PATCH /sessions/*", "when": {"after": 1}, "do": {"status": 502}},
        ]
    )
    settings = QUICK | {"upload__on_change": "recreate"}
    result = importer.run_here(source, **settings, upload__max_attempts=2)
    assert (result.summary["outcomes"], result.summary["exit_code"]) == ({"failed": 1}, 4)
    emulator.set_faults([])
    result = importer.run_here(source, **settings)
    assert check_invariants(emulator, result.folder)["details"] == {"changed": {"recreated": 1}}


def test_long_ids_that_begin_alike_are_recreated_beside_each_other(
    importer: Importer, emulator: RunningEmulator
) -> None:
    def rows(answer: str) -> list[dict[str, Any]]:
        return [make_trace(number, id=f"{'x' * 160}{number}", output=answer) for number in range(3)]

    source = write_jsonl(importer.home / "a.jsonl", rows("one"))
    importer.run_here(source, **QUICK)
    write_jsonl(source, rows("another"))
    result = importer.run_here(source, **QUICK, upload__on_change="recreate")
    assert check_invariants(emulator, result.folder)["details"] == {"changed": {"recreated": 3}}
    assert len(live(emulator)) == 3


def test_a_change_that_was_killed_and_taken_back_is_undone(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    settings = quick(importer)
    assert importer.run(options=settings).code == 0
    write_jsonl(source, talks(1, 4))
    killed(importer, emulator, settings, TURN)
    write_jsonl(source, talks(1, 2))
    assert importer.run(options=settings).code == 0
    check_invariants(emulator, importer.last)
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 2)
    assert live(emulator)[0]["status"] == "COMPLETED"


def test_what_changes_before_it_was_imported_whole_is_imported_as_it_is_then(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = talks(1, 3)
    source = write_jsonl(importer.home / "a.jsonl", rows)
    settings = quick(importer)
    killed(importer, emulator, settings, TURN, 2)
    rows[0] |= {"output": "another answer"}
    write_jsonl(source, rows)
    assert importer.run(options=settings).code == 0
    check_invariants(emulator, importer.last)
    assert said(emulator, "langfuse:talk-0") == [("question 0 of 0", "another answer"), *dialogue(0, 3)[1:]]
    assert live(emulator)[0]["status"] == "COMPLETED"


def test_a_turn_that_was_deleted_there_comes_back_with_its_spans(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    importer.run_here(source, **QUICK)
    turn = live(emulator)[0]["turns"][1]
    httpx.delete(f"{emulator.url}/inferenceResults/{turn['id']}", headers=AUTH).raise_for_status()
    write_jsonl(source, talks(1, 3))
    result = importer.run_here(source, **QUICK)
    check_invariants(emulator, result.folder)
    assert len(spans_of(live(emulator)[0])) == 6


def test_spans_stay_where_a_later_run_imports_turns_only(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    importer.run_here(source, **QUICK)
    write_jsonl(source, talks(1, 3))
    importer.run_here(source, **(QUICK | {"import": "turns"}))
    assert len(spans_of(live(emulator)[0])) == 4
    check_invariants(emulator, importer.run_here(source, **QUICK).folder)
    assert len(spans_of(live(emulator)[0])) == 6


def test_a_turn_no_longer_says_what_its_trace_no_longer_says(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [failing()])
    settings = QUICK | {"upload__on_change": "update"}
    importer.run_here(source, **settings)
    write_jsonl(source, [talk(0, 0)])
    importer.run_here(source, **settings)
    assert live(emulator)[0]["turns"][0]["error"] is None
    write_jsonl(source, [failing()])
    importer.run_here(source, **settings)
    assert live(emulator)[0]["turns"][0]["actualOutput"] is None


def test_a_session_that_ends_otherwise_is_opened_where_it_must_be(importer: Importer) -> None:
    with running_emulator(options={"second_finish": "refuse"}) as emulator:
        importer.base_url = emulator.url
        source = write_jsonl(importer.home / "a.jsonl", [failing()])
        importer.run_here(source, **QUICK)
        write_jsonl(source, [talk(0, 0)])
        importer.run_here(source, **QUICK, upload__on_change="update")
        assert live(emulator)[0]["status"] == "COMPLETED"


def test_refused_spans_are_sent_again_where_that_is_said(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": SPANS, "do": {"status": 403, "body": {"message": "not for you"}}}])
    source = write_jsonl(importer.home / "a.jsonl", talks(2, 1))
    importer.run_here(source, **QUICK)
    emulator.set_faults([])
    result = importer.run_here(source, **QUICK, upload__retry_rejected=True)
    assert check_invariants(emulator, result.folder)["details"] == {"changed": {"completed": 2}}
    assert [len(spans_of(session)) for session in live(emulator)] == [2, 2]


# --- sessions of others -----------------------------------------------------------------------------------


def another(importer: Importer, emulator: RunningEmulator, rows: list[dict[str, Any]]) -> None:
    other = Importer(importer.home / "other", emulator.url, extent="full")
    other.run_here(write_jsonl(other.home / "a.jsonl", rows), **QUICK)


COMPLETES = QUICK | {"upload__on_existing": "complete"}


def test_what_others_said_twice_is_not_taken_away(importer: Importer, emulator: RunningEmulator) -> None:
    twice = talk(0, 1, input="question 0 of 0", output="answer 0 of 0 is on its way")
    another(importer, emulator, [talk(0, 0), twice, talk(0, 2)])
    result = importer.run_here(write_jsonl(importer.home / "a.jsonl", [talk(0, 0), talk(0, 2)]), **COMPLETES)
    assert result.summary["details"] == {"changed": {"turns_differ": 1}}
    assert len(said(emulator, "langfuse:talk-0")) == 3


def test_spans_of_others_are_not_taken_away(importer: Importer, emulator: RunningEmulator) -> None:
    rows = talks(1, 2)
    another(importer, emulator, rows)
    theirs = {span["id"] for span in spans_of(live(emulator)[0])}
    rows[0]["observations"][0]["output"] = "otherwise"
    importer.run_here(write_jsonl(importer.home / "a.jsonl", rows), **COMPLETES)
    assert theirs <= {span["id"] for span in spans_of(live(emulator)[0])}


def test_a_session_of_others_that_differs_is_not_taken_for_ours(importer: Importer, emulator: RunningEmulator) -> None:
    another(importer, emulator, talks(1, 2))
    source = write_jsonl(importer.home / "a.jsonl", [talk(0, 0, output="x"), talk(0, 1), talk(0, 2)])
    result = importer.run_here(source, **COMPLETES)
    assert result.summary["details"] == {"changed": {"turns_differ": 1}}
    with contextlib.closing(sqlite3.connect(importer.state / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT state FROM session").fetchall() == [("existing",)]


def test_only_what_lacked_something_is_said_to_have_got_it(importer: Importer, emulator: RunningEmulator) -> None:
    """Of four sessions of others one is as it should be, one says else of itself, one lacks a turn, one has others."""
    their_own = [talk(1, 0, user_id="somebody else"), talk(3, 0, output="something else")]
    another(importer, emulator, [talk(0, 0), talk(2, 0), *their_own])
    rows = [talk(0, 0), talk(1, 0), talk(2, 0), talk(2, 1), talk(3, 0)]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    file = importer.home / "c.yaml"
    upload = "upload: {on_existing: complete, on_change: update, lookup_seconds: 2}"
    file.write_text(f"source: {{session_per: conversation, paths: [a.jsonl]}}\n{upload}")
    told = importer.run(options=[str(file)]).out
    manifest = read_manifest(importer.last)
    assert {row["custom_id"][-6:]: (row["outcome"], row["error_kind"]) for row in manifest} == {
        "talk-0": ("existing", None),
        "talk-1": ("existing", "other_payload"),
        "talk-2": ("existing", "completed"),
        "talk-3": ("changed", "turns_differ"),
    }
    assert "upload.on_change does not reach" in next(row["error"] for row in manifest if row["outcome"] == "changed")
    assert "1 of them got what they lacked" in told
    assert "1 of them hold other turns on the server than the trace, and were NOT changed" in told
    assert "and reaches no others" in told
    write_jsonl(source, [*rows, talk(4, 0)])
    assert "got what they lacked" not in importer.run(options=[str(file)]).out
    assert read_summary(importer.last)["outcomes"] == {"skipped": 3, "changed": 1, "created": 1}


def test_what_is_hidden_is_not_completed(importer: Importer, emulator: RunningEmulator) -> None:
    another(importer, emulator, talks(1, 2))
    httpx.delete(f"{emulator.url}/sessions/{live(emulator)[0]['id']}", headers=AUTH).raise_for_status()
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    importer.run_here(source, **QUICK)
    write_jsonl(source, [*talks(1, 2), make_trace(5)])
    result = importer.run_here(source, **COMPLETES)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"skipped": 1, "created": 1}


# --- an API that never gives way --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [{"status": 409, "body": {"message": "in conflict"}}, {"status": 201, "body": "null"}]
)
@pytest.mark.parametrize("step", [TURN, SPANS, FINISH])
def test_an_answer_that_is_always_the_same_ends_the_attempts(
    importer: Importer, emulator: RunningEmulator, step: str, answer: dict[str, Any]
) -> None:
    emulator.set_faults([{"match": step, "do": answer}])
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    result = importer.run_here(source, **(QUICK | {"upload__lookup_seconds": 0.2, "upload__max_attempts": 3}))
    assert (result.summary["outcomes"], result.summary["exit_code"]) == ({"unknown": 1}, 4)
    assert calls(emulator)[step] == 3


def test_a_session_that_cannot_be_opened_ends_the_attempts(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_product("prod_123", closedSessionInferenceCreationPolicy="REJECT")
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    importer.run_here(source, **QUICK)
    session = httpx.get(f"{emulator.url}/sessions/{live(emulator)[0]['id']}", headers=AUTH).json()
    emulator.set_faults([{"match": "PATCH /sessions/*", "do": {"status": 200, "body": session}}])
    write_jsonl(source, talks(1, 3))
    result = importer.run_here(source, **QUICK, upload__max_attempts=3)
    assert result.summary["details"] == {"failed": {"content_rejected": 1}}
