"""Whole conversations: turns in order, their spans, the end; once each, whatever goes wrong, night after night."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, end, make_trace, wait_until, write_jsonl
from tests.end_to_end.test_network_faults import LATER, TROUBLE, dated
from tests.end_to_end.test_process_faults import KILLED_AT
from tests.end_to_end.test_scattered import observation
from tests.invariants import KEY, check_invariants, check_no_turn_is_doubled, read_manifest, read_rejects, read_summary

EXTENT = "full"
TURN = "POST /inferenceResults"
BATCH = "POST /inferenceResults/batch"
SPANS = "POST /traces/batch"
FINISH = "PATCH /sessions/*/finish"
QUICK = {
    "import": "full",
    "source__session_per": "conversation",
    "upload__lookup_seconds": 4,
    "upload__timeout_seconds": 1,
    "upload__max_at_once": 16,
}


def talk(number: int, turn: int, **fields: Any) -> dict[str, Any]:
    """One request of a dialogue, with what it took, and two steps inside."""
    at = f"2026-08-22 08:{turn:02}"
    steps = [
        {
            "id": f"o-{number}-{turn}-{step}",
            "type": "AGENT" if step == 0 else "GENERATION",
            "name": f"step {step}",
            "startTime": f"{at}:0{step}.000000",
            "endTime": f"{at}:09.000000",
            "parentObservationId": None if step == 0 else f"o-{number}-{turn}-0",
            "input": f"in {step}",
            "output": {"done": step},
        }
        for step in range(2)
    ]
    return (
        make_trace(
            number,
            id=f"t-{number}-{turn}",
            timestamp=f"{at}:00.000000",
            session_id=f"talk-{number}",
            input=f"question {turn} of {number}",
            output=f"answer {turn} of {number} is on its way",
            latency=1.5,
            observations=steps,
        )
        | fields
    )


def chat(number: int, turns: int) -> dict[str, Any]:
    """A dialogue as messages only, which go in batches."""
    messages = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"question {turn} of {number}"})
        messages.append({"role": "assistant", "content": f"answer {turn} of {number} is on its way"})
    return {"id": f"chat-{number}", "messages": messages}


def talks(count: int, turns: int) -> list[dict[str, Any]]:
    return [talk(number, turn) for turn in range(turns) for number in range(count)]


def said(emulator: RunningEmulator, custom_id: str) -> list[tuple[str, str]]:
    session = next(
        one for one in emulator.sessions(with_turns=True) if one["customId"] == custom_id and one["deletedAt"] is None
    )
    turns = [turn for turn in session["turns"] if turn["deletedAt"] is None]
    return [(turn["input"]["user_message"], turn["actualOutput"]) for turn in turns]


def dialogue(number: int, turns: int) -> list[tuple[str, str]]:
    return [(f"question {turn} of {number}", f"answer {turn} of {number} is on its way") for turn in range(turns)]


def calls(emulator: RunningEmulator) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in emulator.log():
        path = "/".join(part if "_" not in part else "*" for part in line["path"].split("?")[0].split("/"))
        found[f"{line['method']} {path}"] += 1
    return found


@pytest.fixture
def emulator(shared_emulator: RunningEmulator) -> RunningEmulator:
    """As new: one process for all tests here."""
    shared_emulator.set_faults([])
    shared_emulator.set_latency(0)
    shared_emulator.reset()
    return shared_emulator


def test_a_conversation_is_imported_whole(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(3, 3))
    result = importer.run_here(source, **QUICK)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 3}
    session = emulator.sessions(with_turns=True)[0]
    assert said(emulator, session["customId"]) == dialogue(0, 3)
    assert (session["status"], session["stoppingReason"]) == ("COMPLETED", "IMPORTED")
    assert [turn["index"] for turn in session["turns"]] == [0, 1, 2]
    assert session["turns"][0]["latency"] == 9000
    root, child = session["turns"][1]["spans"]
    assert (root["type"], child["type"]) == ("AGENT", "GENERATION")
    assert child["parentTraceId"] == root["id"]
    assert (child["inputData"], child["outputData"], child["latencyMs"]) == ("in 1", {"done": 1}, 8000)
    assert child["startTime"] == "2026-08-22T08:01:01.000Z"
    # Per session: itself, a turn each, all spans at once, the end; and one question for all of them.
    assert calls(emulator) == {
        "GET /versions/*": 1,
        "GET /products/*": 1,
        "GET /sessions": 1,
        "POST /sessions": 3,
        TURN: 9,
        SPANS: 3,
        "GET /inferenceResults": 1,
        "PATCH /sessions/*/finish": 3,
    }


@pytest.mark.parametrize("extent", ["session", "turns", "full"])
def test_as_much_is_imported_as_was_asked_for(importer: Importer, emulator: RunningEmulator, extent: str) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    result = importer.run_here(source, **(QUICK | {"import": extent}))
    check_invariants(emulator, result.folder)
    session = emulator.sessions(with_turns=True)[0]
    assert len(session["turns"]) == (0 if extent == "session" else 2)
    assert sum(len(turn["spans"]) for turn in session["turns"]) == (4 if extent == "full" else 0)
    assert (session["context"] is None) == (extent != "session")


def test_what_was_imported_without_turns_is_completed(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(5, 2))
    importer.run_here(source, **(QUICK | {"import": "session"}))
    ids = {session["id"] for session in emulator.sessions()}
    for extent in ("turns", "full"):
        result = importer.run_here(source, **(QUICK | {"import": extent}))
        summary = check_invariants(emulator, result.folder)
        assert (summary["outcomes"], summary["details"]) == ({"changed": 5}, {"changed": {"completed": 5}})
    assert {session["id"] for session in emulator.sessions()} == ids
    assert said(emulator, "langfuse:talk-4") == dialogue(4, 2)
    before = len(emulator.log())
    assert importer.run_here(source, **QUICK).summary["exit_code"] == 0
    assert not [line for line in emulator.log()[before:] if line["method"] != "GET"]
    importer.run_here(source, **(QUICK | {"import": "session"}))  # which holds more already
    assert not [line for line in emulator.log()[before:] if line["method"] != "GET"]


def test_messages_go_in_batches_cut_between_pairs(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [chat(1, 120), chat(2, 1)])
    result = importer.run_here(source, **QUICK)
    check_invariants(emulator, result.folder)
    assert said(emulator, "chat:chat-1") == dialogue(1, 120)
    assert said(emulator, "chat:chat-2") == dialogue(2, 1)
    assert (calls(emulator)[BATCH], calls(emulator)[TURN]) == (3, 1)


SHORT = ("reset after the commit", "500, committed", "409, committed", "201 without id, not stored", "a list", "hang")
MATRIX = [
    (route, trouble)
    for route in (TURN, SPANS, FINISH, BATCH)
    for trouble in TROUBLE
    if route == TURN or trouble in SHORT or "FAULT_SEEDS" in os.environ
]
"""All of it takes minutes: without FAULT_SEEDS, each way of going wrong for turns, and the worst ones for the rest."""


@pytest.mark.parametrize(("route", "trouble"), MATRIX)
def test_no_turn_is_lost_or_doubled(importer: Importer, emulator: RunningEmulator, route: str, trouble: str) -> None:
    emulator.set_faults([{"match": route, "when": {"between": [2, 4]}, "do": TROUBLE[trouble]}])
    rows = [chat(number, 60) for number in range(4)] if route == BATCH else talks(4, 3)
    result = importer.run_here(write_jsonl(importer.home / "a.jsonl", rows), **QUICK)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 4}
    prefix, turns = ("chat:chat-", 60) if route == BATCH else ("langfuse:talk-", 3)
    for number in range(4):
        assert said(emulator, f"{prefix}{number}") == dialogue(number, turns)


@pytest.mark.parametrize("answer", LATER)
def test_who_is_told_to_wait_with_a_turn_sends_it_once(
    importer: Importer, emulator: RunningEmulator, answer: str
) -> None:
    rules = [{"match": route, "when": {"between": [2, 3]}, "do": dated(LATER[answer])} for route in (TURN, SPANS)]
    emulator.set_faults(rules)
    source = write_jsonl(importer.home / "a.jsonl", talks(3, 2))
    result = importer.run_here(source, **QUICK, upload__max_pause_seconds=2)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 3}


@pytest.mark.parametrize("route", ["GET /inferenceResults", "GET /traces", "GET /sessions/*"])
def test_questions_about_turns_that_fail_are_asked_again(
    importer: Importer, emulator: RunningEmulator, route: str
) -> None:
    emulator.set_faults(
        [
            {"match": route, "when": {"first": 5}, "do": {"status": 502}},
            *(
                {"match": one, "when": {"every": 3}, "do": {"reset_after_commit": True}}
                for one in (TURN, SPANS, FINISH)
            ),
        ]
    )
    result = importer.run_here(write_jsonl(importer.home / "a.jsonl", talks(4, 2)), **QUICK)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 4}


def test_a_turn_that_shows_late_is_waited_for(importer: Importer, emulator: RunningEmulator) -> None:
    late = {"reset_after_commit": True, "visible_after_ms": 2500}
    emulator.set_faults([{"match": route, "when": {"every": 3}, "do": late} for route in (TURN, SPANS)])
    result = importer.run_here(write_jsonl(importer.home / "a.jsonl", talks(4, 2)), **QUICK)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 4}


def test_a_turn_that_shows_later_than_those_after_it_is_waited_for(
    importer: Importer, emulator: RunningEmulator
) -> None:
    emulator.set_faults([{"match": TURN, "when": {"first": 1}, "do": {"visible_after_ms": 2_000}}])
    result = importer.run_here(write_jsonl(importer.home / "a.jsonl", talks(1, 3)), **QUICK)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1}
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 3)


@pytest.mark.parametrize(
    "limit", [{"max_list_limit": 3}, {"max_list_limit": 100, "over_list_limit": "refuse"}], ids=str
)
def test_lists_that_give_fewer_than_was_asked_for_are_read_to_their_end(
    importer: Importer, limit: dict[str, Any]
) -> None:
    """Nobody knows the API's highest limit, nor what it does about a higher one."""
    with running_emulator(options=limit) as emulator:
        importer.base_url = emulator.url
        lost = [{"match": route, "when": {"every": 5}, "do": "reset_after_commit"} for route in (TURN, SPANS)]
        emulator.set_faults(lost)
        source = write_jsonl(importer.home / "a.jsonl", talks(6, 6))
        result = importer.run_here(source, **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 6}
        write_jsonl(source, talks(6, 8))
        result = importer.run_here(source, **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"changed": 6}
        assert importer.run(verb="verify").code == 0


def test_what_lists_show_later_than_anybody_waits_is_not_sent_again(importer: Importer) -> None:
    with running_emulator(options={"list_lag_ms": 4_000}) as emulator:
        importer.base_url = emulator.url
        emulator.set_faults([{"match": SPANS, "when": {"first": 1}, "do": "reset_after_commit"}])
        source = write_jsonl(importer.home / "a.jsonl", talks(2, 3))
        beside = write_jsonl(importer.home / "b.jsonl", [chat(1, 60)])
        result = importer.run_here(source, beside, **QUICK | {"upload__lookup_seconds": 1})
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 3}
        assert calls(emulator)[TURN] == 6


def test_a_list_that_hides_what_the_api_has_does_not_tell_what_is_missing(importer: Importer) -> None:
    """A turn without an answer, and lists that lag longer than anybody waits: who knows?"""
    with running_emulator(options={"list_lag_ms": 15_000}) as emulator:
        importer.base_url = emulator.url
        lost = {"status": 500, "after_commit": True}
        emulator.set_faults([{"match": TURN, "when": {"between": [2, 2]}, "do": lost}])
        source = write_jsonl(importer.home / "a.jsonl", talks(1, 3))
        result = importer.run_here(source, **QUICK | {"upload__lookup_seconds": 1})
        assert check_invariants(emulator, result.folder)["outcomes"] == {"unknown": 1}
        emulator.forward(60)
        importer.run_here(source, **QUICK)
        assert said(emulator, "langfuse:talk-0") == dialogue(0, 3)


def test_turns_and_spans_too_long_for_one_answer_are_read_in_smaller_pages(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """A list of them is longer than the answers that are read."""
    long = "x" * 900_000
    rows = [talk(0, turn, output=f"answer {turn} {long}") for turn in range(25)]
    for row in rows:
        for one in row["observations"]:
            one["output"] = long
    lost = {"do": "reset_after_commit"}
    emulator.set_faults(
        [
            {"match": TURN, "when": {"between": [20, 20]}, **lost},
            {"match": SPANS, "when": {"between": [8, 8]}, **lost},
        ]
    )
    source = write_jsonl(importer.home / "a.jsonl", rows)
    result = importer.run_here(source, **(QUICK | {"upload__timeout_seconds": 20}))
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1}
    assert importer.run(verb="verify").code == 0


def test_a_list_whose_order_changes_from_page_to_page_is_read_whole(importer: Importer) -> None:
    """Turns of a batch have one time of creation, and a database may give equals in any order."""
    with running_emulator(options={"equal_times_order": "changing", "max_list_limit": 70}) as emulator:
        importer.base_url = emulator.url
        emulator.set_faults([{"match": BATCH, "when": {"every": 3}, "do": "reset_after_commit"}])
        source = write_jsonl(importer.home / "a.jsonl", [chat(number, 450) for number in range(2)])
        result = importer.run_here(source, **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 2}


def test_turns_that_the_api_tells_no_order_of_stay_as_they_are(importer: Importer) -> None:
    """Neither by an index nor by a time: `createdAt` in whole seconds (api-contract 11.8 and 11.13)."""
    with running_emulator(options={"listed_turn_order": "hide", "equal_times_order": "unspecified"}) as emulator:
        importer.base_url = emulator.url
        rows = talks(3, 6)
        source = write_jsonl(importer.home / "a.jsonl", rows[:12])
        importer.run_here(source, **QUICK)
        requests = calls(emulator)
        assert requests["GET /inferenceResults"] == 1
        assert importer.run(verb="verify").code == 0
        write_jsonl(source, rows)
        result = importer.run_here(source, **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"changed": 3}
        assert calls(emulator)[TURN] == 18
        assert importer.run(verb="verify").code == 0


def test_what_the_api_shows_otherwise_than_it_was_sent_is_not_sent_every_night(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    importer.run_here(source, **QUICK)
    for turn in emulator.sessions(with_turns=True)[0]["turns"]:
        call(emulator, "PATCH", f"/inferenceResults/{turn['id']}", {"cost": 0.25})
    before = calls(emulator)
    write_jsonl(source, talks(1, 3))
    result = importer.run_here(source, **QUICK)
    assert read_summary(result.folder)["outcomes"] == {"changed": 1}
    assert (calls(emulator) - before)[TURN] == 1
    assert not [name for name in calls(emulator) - before if name.startswith("PATCH /inferenceResults")]


@pytest.mark.parametrize("trouble", ["reset_after_commit", {"status": 502, "after_commit": True}], ids=str)
def test_turns_that_the_api_trims_are_known_again(importer: Importer, trouble: Any) -> None:
    with running_emulator(options={"turn_texts": "trim"}) as emulator:
        importer.base_url = emulator.url
        emulator.set_faults([{"match": route, "when": {"every": 3}, "do": trouble} for route in (TURN, BATCH)])
        rows = [row | {"input": f" {row['input']} \n"} for row in talks(3, 4)]
        source = write_jsonl(importer.home / "a.jsonl", rows)
        dialogues = [chat(7, 120)]
        for message in dialogues[0]["messages"]:
            message["content"] += "\n"
        beside = write_jsonl(importer.home / "b.jsonl", dialogues)
        result = importer.run_here(source, beside, **QUICK)
        assert (result.exit_code, result.summary["outcomes"]) == (0, {"created": 4})
        assert said(emulator, "langfuse:talk-1") == dialogue(1, 4)
        assert said(emulator, "chat:chat-7") == dialogue(7, 120)
        write_jsonl(source, [*rows, *(row | {"input": f" {row['input']}"} for row in talks(3, 6)[12:])])
        result = importer.run_here(source, beside, **QUICK)
        assert (result.exit_code, result.summary["details"]) == (0, {"changed": {"updated": 3}})
        assert said(emulator, "langfuse:talk-2") == dialogue(2, 6)
        assert all(session["status"] == "COMPLETED" for session in emulator.sessions())


def test_a_session_that_shows_too_late_for_its_turns_is_not_called_done(
    importer: Importer, emulator: RunningEmulator
) -> None:
    do = {"reset_after_commit": True, "visible_after_ms": 60_000}
    emulator.set_faults([{"match": "POST /sessions", "when": {"first": 1}, "do": do}])
    source = write_jsonl(importer.home / "a.jsonl", talks(2, 2))
    quick = QUICK | {"upload__lookup_seconds": 1}
    result = importer.run_here(source, **quick)
    assert check_invariants(emulator, result.folder)["details"] == {"unknown": {"hidden_or_deleted": 1}}
    assert result.exit_code == 4
    emulator.forward(60)
    result = importer.run_here(source, **quick)
    assert result.exit_code == 0
    assert [said(emulator, f"langfuse:talk-{number}") for number in range(2)] == [dialogue(0, 2), dialogue(1, 2)]


def test_half_a_session_whose_trace_changed_since_is_not_called_done(
    importer: Importer, emulator: RunningEmulator
) -> None:
    emulator.set_faults(
        [{"match": TURN, "when": {"between": [2, 2]}, "do": {"status": 403, "body": {"message": "no"}}}]
    )
    rows = talks(1, 3)
    source = write_jsonl(importer.home / "a.jsonl", rows)
    assert importer.run_here(source, **QUICK).exit_code == 4
    rows[0] |= {"input": "another question", "user_id": "another", "metadata": {"another": 1}}
    write_jsonl(source, rows)
    for _ in range(2):
        result = importer.run_here(source, **QUICK)
        assert (result.exit_code, result.summary["details"]) == (4, {"failed": {"reported": 1}})
    result = importer.run_here(source, **QUICK, upload__on_change="update")
    assert check_invariants(emulator, result.folder)["exit_code"] == 0
    assert said(emulator, "langfuse:talk-0") == [("another question", dialogue(0, 1)[0][1]), *dialogue(0, 3)[1:]]


def test_an_import_that_another_one_disturbs_is_not_called_done(importer: Importer, emulator: RunningEmulator) -> None:
    """A turn of somebody else in the midst of ours: what is missing then is told every night."""
    emulator.set_faults(
        [{"match": TURN, "when": {"between": [2, 2]}, "do": {"status": 403, "body": {"message": "no"}}}]
    )
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 3))
    assert importer.run_here(source, **QUICK).exit_code == 4
    turn = {"sessionId": emulator.sessions()[0]["id"], "input": "Hello?", "actualOutput": "Hello."}
    for _ in range(4):  # more than an older state of ours could have
        call(emulator, "POST", "/inferenceResults", turn)
        turn = turn | {"input": turn["input"] + "?"}
    for _ in range(2):
        result = importer.run_here(source, **QUICK)
        assert (result.exit_code, result.summary["details"]) == (4, {"failed": {"turns_differ": 1}})
    result = importer.run_here(source, **QUICK, upload__on_change="update")
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1}
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 3)


def test_a_batch_of_which_only_a_part_was_stored_is_filled_up(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults(
        [
            {"match": BATCH, "when": {"first": 1}, "do": {"keep_first": 7}},
            {"match": BATCH, "when": {"between": [2, 2]}, "do": {"keep_first": 3, "status": 500, "after_commit": True}},
            {"match": SPANS, "when": {"first": 1}, "do": {"keep_first": 1, "status": 500, "after_commit": True}},
        ]
    )
    source = write_jsonl(importer.home / "a.jsonl", [chat(1, 70)])
    beside = write_jsonl(importer.home / "b.jsonl", talks(1, 2))
    result = importer.run_here(source, beside, **QUICK)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 2}
    assert said(emulator, "chat:chat-1") == dialogue(1, 70)


@pytest.mark.parametrize("policy", ["REJECT", "IGNORE", "REOPEN_AND_REEVALUATE"])
def test_a_session_that_closed_meanwhile_gets_its_turns(
    importer: Importer, emulator: RunningEmulator, policy: str
) -> None:
    emulator.set_product("prod_123", closedSessionInferenceCreationPolicy=policy)
    day, night = importer.home / "a.jsonl", importer.home / "b.jsonl"
    write_jsonl(day, talks(3, 2))
    assert importer.run_here(day, **QUICK).summary["exit_code"] == 0
    write_jsonl(night, [talk(number, 2) for number in range(3)])
    result = importer.run_here(day, night, **QUICK)
    summary = check_invariants(emulator, result.folder)
    assert summary["details"] == {"changed": {"updated": 3}}
    for number in range(3):
        assert said(emulator, f"langfuse:talk-{number}") == dialogue(number, 3)
    assert {session["status"] for session in emulator.sessions()} == {"COMPLETED"}


@pytest.mark.parametrize("policy", ["REJECT", "IGNORE"])
def test_a_session_that_somebody_closes_in_between(importer: Importer, emulator: RunningEmulator, policy: str) -> None:
    """Between its creation and its turns, as it closes by itself after half an hour of waiting."""
    emulator.set_product("prod_123", closedSessionInferenceCreationPolicy=policy)
    source = write_jsonl(importer.home / "a.jsonl", talks(2, 2))
    emulator.set_faults([{"match": TURN, "when": {"first": 4}, "do": {"status": 502}}])
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(importer.run_here, source, **QUICK)
        wait_until(lambda: calls(emulator)[TURN] >= 1)
        emulator.forward(3600)
        result = run.result()
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 2}
    assert said(emulator, "langfuse:talk-1") == dialogue(1, 2)


def test_a_refused_turn_leaves_the_rest_and_is_told(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults(
        [{"match": TURN, "when": {"between": [4, 4]}, "do": {"status": 422, "body": {"message": "no such language"}}}]
    )
    source = write_jsonl(importer.home / "a.jsonl", talks(3, 2))
    result = importer.run_here(source, **(QUICK | {"upload__max_at_once": 1}))
    summary = check_invariants(emulator, result.folder)
    assert (summary["outcomes"], summary["exit_code"]) == ({"created": 2, "failed": 1}, 4)
    row = next(row for row in read_manifest(result.folder) if row["outcome"] == "failed")
    assert row["error_kind"] == "content_rejected"
    assert "no such language" in row["error"]
    assert {line["error_kind"] for line in read_rejects(result.folder)} == {"content_rejected"}
    result = importer.run_here(source, **QUICK)  # and the next night it is accepted
    assert check_invariants(emulator, result.folder)["outcomes"]["created"] == 1


def test_refused_spans_go_to_the_rejects_with_the_reason(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": SPANS, "when": {"first": 1}, "do": {"keep_first": 3}}])
    source = write_jsonl(importer.home / "a.jsonl", talks(2, 2))
    result = importer.run_here(source, **(QUICK | {"upload__max_at_once": 1}))
    summary = check_invariants(emulator, result.folder)
    assert (summary["outcomes"], summary["exit_code"]) == ({"created": 2}, 3)
    assert summary["details"] == {"created": {"spans_rejected": 1}}
    (reject,) = read_rejects(result.folder)
    assert (reject["stage"], reject["error_kind"]) == ("upload", "spans_rejected")
    assert "1 spans were refused" in reject["error"]


@pytest.mark.parametrize("shown", ["text", "hide"])
@pytest.mark.parametrize("taken", ["reject", "keep_first", "refuse_all"])
def test_spans_whose_mark_a_list_does_not_show_are_known_by_their_ids(
    importer: Importer, shown: str, taken: str
) -> None:
    with running_emulator(options={"listed_span_metadata": shown, "taken_span_id": taken}) as emulator:
        importer.base_url = emulator.url
        emulator.set_faults([{"match": SPANS, "when": {"every": 2}, "do": "reset_after_commit"}])
        result = importer.run_here(write_jsonl(importer.home / "a.jsonl", talks(4, 2)), **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 4}


@pytest.mark.parametrize("trouble", [[], [{"match": SPANS, "when": {"every": 2}, "do": "reset_after_commit"}]])
def test_spans_hang_where_they_belong_where_the_api_gives_them_ids_of_its_own(
    importer: Importer, trouble: list[Any]
) -> None:
    with running_emulator(options={"span_ids": "own"}) as emulator:
        importer.base_url = emulator.url
        emulator.set_faults(trouble)
        result = importer.run_here(write_jsonl(importer.home / "a.jsonl", talks(4, 2)), **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 4}
        for session in emulator.sessions(with_turns=True):
            for turn in session["turns"]:
                above, below = (span for span in turn["spans"] if span["deletedAt"] is None)
                if below["parentTraceId"] is None:
                    above, below = below, above
                assert (above["parentTraceId"], below["parentTraceId"]) == (None, above["id"])
        assert importer.run(verb="verify").code == 0


def test_a_kill_leaves_no_span_under_one_that_is_not_there(importer: Importer) -> None:
    """The API gives ids of its own, and the run is killed before it has sent those again that name another one."""
    with running_emulator(options={"span_ids": "own"}) as emulator:
        importer.base_url = emulator.url
        source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
        config = importer.home / "quick.yaml"
        config.write_text(
            "source: {paths: [a.jsonl], session_per: conversation}\nupload: {lookup_seconds: 2, timeout_seconds: 1}\n"
        )
        words = importer.command("run", source, options=[str(config)])
        words[1:3] = [str(KILLED_AT), "call", "Spans._delete", "1"]
        assert importer.execute(words).code == -signal.SIGKILL
        assert importer.run(source, options=[str(config)]).code == 0
        check_invariants(emulator, importer.last)
        (session,) = emulator.sessions(with_turns=True)
        for turn in session["turns"]:
            spans = {span["id"]: span["parentTraceId"] for span in turn["spans"] if span["deletedAt"] is None}
            assert len(spans) == 2
            assert {parent for parent in spans.values() if parent is not None} <= spans.keys()
        assert importer.run(verb="verify", options=[str(config)]).code == 0


def test_only_what_may_have_been_stored_is_waited_for(importer: Importer, emulator: RunningEmulator) -> None:
    rows = talks(1, 3)
    for number, row in enumerate(rows):
        step = row["observations"][0]
        row["observations"] = [step | {"id": f"o-{number}-{one}"} for one in range(100)]
    emulator.set_faults(
        [
            {"match": SPANS, "when": {"first": 1}, "do": "reset_after_commit"},
            {"match": SPANS, "do": {"keep_first": 99}},
        ]
    )
    result = importer.run_here(write_jsonl(importer.home / "a.jsonl", rows), **QUICK)
    assert check_invariants(emulator, result.folder)["details"] == {"created": {"spans_rejected": 1}}
    assert calls(emulator)["GET /traces"] == 3 * 2  # each time to see that the list has ended


def test_a_target_that_refuses_all_spans_stops_the_run(importer: Importer, emulator: RunningEmulator) -> None:
    refused = {"status": 400, "body": {"message": "spans are not available in your plan"}}
    emulator.set_faults([{"match": SPANS, "do": refused}])
    source = write_jsonl(importer.home / "a.jsonl", talks(120, 1))
    result = importer.run_here(source, **(QUICK | {"upload__max_at_once": 4}))
    summary = check_invariants(emulator, result.folder)
    assert (summary["exit_code"], summary["outcomes"]["pending"] > 30) == (5, True)
    assert "all spans of 50 sessions in a row" in summary["error"]
    emulator.set_faults([])
    result = importer.run_here(source, **(QUICK | {"upload__retry_rejected": True}))
    assert check_invariants(emulator, result.folder)["exit_code"] == 0
    spans = [len(turn["spans"]) for session in emulator.sessions(with_turns=True) for turn in session["turns"]]
    assert spans == [2] * 120


@pytest.mark.parametrize("on_change", ["auto", "report"])
def test_a_killed_import_of_sessions_goes_on_as_one_of_turns(
    importer: Importer, emulator: RunningEmulator, on_change: str
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(20, 2))
    settings = importer.home / "c.yaml"
    settings.write_text("source: {session_per: conversation}\nupload: {lookup_seconds: 3, timeout_seconds: 2}")
    emulator.set_faults(
        [{"match": "POST /sessions", "when": {"after": 5}, "do": {"commit_after_ms": 300, "hang": True}}]
    )
    importer.extent = "session"
    process = importer.start(source, options=[str(settings)])
    wait_until(lambda: calls(emulator)["POST /sessions"] > 5)
    end(process, signal.SIGKILL)
    emulator.set_faults([])
    importer.extent = "full"
    result = importer.run_here(source, **QUICK, upload__on_change=on_change)
    assert check_invariants(emulator, result.folder)["exit_code"] == 0
    for number in range(20):
        assert said(emulator, f"langfuse:talk-{number}") == dialogue(number, 2)


def test_sessions_whose_completion_was_killed_are_closed_by_the_next_run_whatever_it_imports(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(5, 3))
    importer.run_here(source, **(QUICK | {"import": "session"}))
    emulator.set_faults([{"match": TURN, "when": {"after": 3}, "do": "hang"}])
    settings = importer.home / "c.yaml"
    settings.write_text("source: {session_per: conversation}")
    process = importer.start(source, options=[str(settings)])
    wait_until(lambda: calls(emulator)[TURN] > 3)
    end(process, signal.SIGKILL)
    assert "PENDING" in {session["status"] for session in emulator.sessions()}
    emulator.set_faults([])
    result = importer.run_here(source, **(QUICK | {"import": "session"}))
    assert check_invariants(emulator, result.folder)["exit_code"] == 0
    assert {session["status"] for session in emulator.sessions()} == {"COMPLETED"}
    importer.run_here(source, **QUICK)
    for number in range(5):
        assert said(emulator, f"langfuse:talk-{number}") == dialogue(number, 3)


def test_the_next_night_appends_only_what_is_new(importer: Importer, emulator: RunningEmulator) -> None:
    files = [importer.home / f"{night}.jsonl" for night in range(3)]
    for night, file in enumerate(files):
        write_jsonl(file, [talk(number, night) for number in range(3)])
        before = calls(emulator)
        result = importer.run_here(*files[: night + 1], **QUICK)
        summary = check_invariants(emulator, result.folder)
        assert summary["exit_code"] == 0
        new = calls(emulator) - before
        assert (new[TURN], new[SPANS], new["PATCH /sessions/*/finish"]) == (3, 3, 3)
        for number in range(3):
            assert said(emulator, f"langfuse:talk-{number}") == dialogue(number, night + 1)
    write_jsonl(files[0], [talk(number, 0) for number in range(3)])  # exported again, unchanged
    before = calls(emulator)
    check_invariants(emulator, importer.run_here(*files, **QUICK).folder)
    assert not [name for name in calls(emulator) - before if not name.startswith("GET")]


def test_what_opens_a_session_and_comes_late_does_not_leave_it_open(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """It is made again for want of an answer, and the first one comes after the end."""
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 1))
    importer.run_here(source, **QUICK)
    emulator.set_faults([{"match": "PATCH /sessions/*", "when": {"first": 1}, "do": {"commit_after_ms": 2_500}}])
    write_jsonl(source, talks(1, 2))
    result = importer.run_here(source, **QUICK)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"changed": 1}
    assert emulator.sessions()[0]["status"] == "COMPLETED"
    assert importer.run(verb="verify").code == 0


@pytest.mark.parametrize("shown", ["keep", "hide"])
def test_a_span_that_changed_takes_the_place_of_the_older_one(importer: Importer, shown: str) -> None:
    with running_emulator(options={"listed_span_metadata": shown}) as emulator:
        importer.base_url = emulator.url
        rows = talks(1, 2)
        source = write_jsonl(importer.home / "a.jsonl", rows)
        importer.run_here(source, **QUICK)
        rows[0]["observations"][1]["output"] = {"done": "otherwise"}
        write_jsonl(source, rows)
        importer.run_here(source, **QUICK, upload__on_change="update")
        (session,) = emulator.sessions(with_turns=True)
        spans = [span for turn in session["turns"] for span in turn["spans"] if span["deletedAt"] is None]
        assert len(spans) == 4
        assert {"done": "otherwise"} in [span["outputData"] for span in spans]
        assert importer.run(verb="verify").code == 0


def test_an_unfinished_trace_is_finished_by_the_night_that_brings_its_end(
    importer: Importer, emulator: RunningEmulator
) -> None:
    whole = talk(1, 0)
    half = talk(1, 0, output=None)
    half["observations"] = [half["observations"][0] | {"endTime": None, "output": None}]
    source = write_jsonl(importer.home / "a.jsonl", [half])
    result = importer.run_here(source, **QUICK)
    check_invariants(emulator, result.folder)
    assert emulator.sessions()[0]["status"] == "PENDING"
    write_jsonl(source, [whole])
    result = importer.run_here(source, **QUICK)
    summary = check_invariants(emulator, result.folder)
    assert summary["details"] == {"changed": {"updated": 1}}
    session = emulator.sessions(with_turns=True)[0]
    assert (session["status"], session["stoppingReason"]) == ("COMPLETED", "IMPORTED")
    assert said(emulator, "langfuse:talk-1") == dialogue(1, 1)
    live = [span for span in session["turns"][0]["spans"] if span["deletedAt"] is None]
    assert [(span["name"], span["endTime"] is not None) for span in live] == [("step 0", True), ("step 1", True)]


@pytest.mark.parametrize("policy", ["report", "update", "recreate"])
def test_one_that_changed_in_the_past(importer: Importer, emulator: RunningEmulator, policy: str) -> None:
    rows = talks(2, 2)
    source = write_jsonl(importer.home / "a.jsonl", rows)
    importer.run_here(source, **QUICK)
    ids = {session["customId"]: session["id"] for session in emulator.sessions()}
    rows[0] = rows[0] | {"output": "another answer"}
    write_jsonl(source, rows)
    result = importer.run_here(source, **QUICK, upload__on_change=policy)
    summary = check_invariants(emulator, result.folder)
    kind = {"report": "reported", "update": "updated", "recreate": "recreated"}[policy]
    assert summary["details"]["changed"] == {kind: 1}
    first = said(emulator, "langfuse:talk-0")
    assert first[0][1] == ("answer 0 of 0 is on its way" if policy == "report" else "another answer")
    assert first[1:] == dialogue(0, 2)[1:]
    now = {session["customId"]: session["id"] for session in emulator.sessions() if session["deletedAt"] is None}
    assert (now["langfuse:talk-0"] == ids["langfuse:talk-0"]) == (policy != "recreate")
    assert now["langfuse:talk-1"] == ids["langfuse:talk-1"]


@pytest.mark.parametrize("stops", [1, 2])
def test_a_newer_state_that_never_began_leaves_the_doubt_about_the_older_one(
    importer: Importer, emulator: RunningEmulator, stops: int
) -> None:
    """The older one's turn is on the wire when the run is stopped, and comes to light after the run."""
    late = {"match": TURN, "when": {"first": 1}, "do": {"hang": True, "commit_after_ms": 6000, "after_commit": True}}
    emulator.set_faults([late])
    older = make_trace(1, input="Where?", output="Here.", updated_at="2026-08-22 08:00:02.000000")
    newer = older | {"updated_at": "2026-08-22 09:00:02.000000", "tags": ["a", "b"]}
    sources = [write_jsonl(importer.home / f"{name}.jsonl", [row]) for name, row in (("a", older), ("b", newer))]
    patient = QUICK | {"upload__lookup_seconds": 15}
    settings = importer.home / "c.yaml"
    settings.write_text("upload: {lookup_seconds: 15, timeout_seconds: 1}")
    process = importer.start(*sources, options=[str(settings), "--import", "turns"])
    wait_until(lambda: calls(emulator)[TURN] == 1)
    for _ in range(stops - 1):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    end(process, signal.SIGINT)
    emulator.set_faults([])
    importer.run_here(*sources, **(patient | {"import": "turns", "source__session_per": "trace"}))
    time.sleep(6)  # whatever was under way has come by then
    (session,) = emulator.sessions(with_turns=True)
    assert [turn["actualOutput"] for turn in session["turns"]] == ["Here."]
    assert session["status"] == "COMPLETED"


@pytest.mark.parametrize("on_existing", ["leave", "complete"])
def test_two_machines_on_one_conversation_double_no_turn(
    importer: Importer, emulator: RunningEmulator, on_existing: str
) -> None:
    rows = talks(20, 3)
    machines = [importer, Importer(importer.home / "other", emulator.url, extent="full")]
    emulator.set_latency(20)
    settings = QUICK | {"upload__on_existing": on_existing}
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(one.run_here, write_jsonl(one.home / "a.jsonl", rows), **settings) for one in machines]
        results = [run.result() for run in runs]
    outcomes = Counter(row["outcome"] for result in results for row in read_manifest(result.folder))
    assert outcomes == {"created": 20, "existing": 20}
    for session in emulator.sessions(with_turns=True):
        check_no_turn_is_doubled(session)
    for number in range(20):
        assert said(emulator, f"langfuse:talk-{number}") == dialogue(number, 3)


def test_a_half_of_a_ledger_that_is_lost_is_told_and_can_be_completed(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """Its session is there with its mark, and as good as the trace, but for its turns."""
    other = Importer(importer.home / "other", emulator.url, extent="full")
    emulator.set_faults([{"match": TURN, "when": {"after": 2}, "do": "hang"}])
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 3))
    settings = importer.home / "c.yaml"
    settings.write_text("source: {session_per: conversation}")
    process = other.start(source, options=[str(settings)])
    wait_until(lambda: calls(emulator)[TURN] > 2)
    end(process, signal.SIGKILL)
    emulator.set_faults([])
    result = importer.run_here(source, **QUICK)
    summary = read_summary(result.folder)
    assert (summary["details"], summary["exit_code"]) == ({"unknown": {"unfinished": 1}}, 4)
    result = importer.run_here(source, **QUICK, upload__on_existing="complete")
    assert read_summary(result.folder)["details"] == {"existing": {"completed": 1}}
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 3)


def test_a_session_of_somebody_else_is_completed_where_that_is_said(
    importer: Importer, emulator: RunningEmulator
) -> None:
    other = Importer(importer.home / "other", emulator.url, extent="full")
    other.run_here(write_jsonl(other.home / "a.jsonl", talks(2, 1)), **QUICK)
    source = write_jsonl(importer.home / "a.jsonl", talks(2, 3))
    result = importer.run_here(source, **QUICK)
    assert read_summary(result.folder)["details"] == {"existing": {"other_payload": 2}}
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 1)
    result = importer.run_here(source, **QUICK, upload__on_existing="complete")
    assert read_summary(result.folder)["details"] == {"existing": {"completed": 2}}
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 3)


def quick_config(importer: Importer, source: str) -> Path:
    settings = importer.home / "quick.yaml"
    settings.write_text(
        f"source: {{paths: [{source}], session_per: conversation}}\ntarget: {{version_id: ver_123}}\n"
        "upload: {lookup_seconds: 2, timeout_seconds: 1.5, max_at_once: 2}\n"
    )
    return settings


def kill_when_struck(importer: Importer, emulator: RunningEmulator, settings: Path) -> None:
    """Start a run, and SIGKILL it once a fault has struck; one that is through before is through."""
    before = len(emulator.log())
    process = importer.start(options=[str(settings)])
    wait_until(lambda: any(line["fault"] for line in emulator.log(before)) or process.poll() is not None)
    end(process, signal.SIGKILL if process.poll() is None else None)


STEPS = ("POST /sessions", TURN, SPANS, "GET /inferenceResults", FINISH)


@pytest.mark.parametrize("do", [{"delay_ms": 60_000}, {"commit_after_ms": 60_000}], ids=["after", "before"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_between_any_two_steps_it_goes_on(
    importer: Importer, emulator: RunningEmulator, step: str, do: dict[str, Any]
) -> None:
    """SIGKILL while a request of this step is on the wire: stored already, or never to be."""
    source = write_jsonl(importer.home / "a.jsonl", talks(3, 2))
    settings = quick_config(importer, str(source))
    for number in (1, 2):
        emulator.set_faults([{"match": step, "when": {"between": [number, number + 1]}, "do": do}])
        kill_when_struck(importer, emulator, settings)
    emulator.set_faults([])
    done = importer.run(options=[str(settings)])
    assert done.code == 0, done.out + done.err
    check_invariants(emulator, importer.last)
    for number in range(3):
        assert said(emulator, f"langfuse:talk-{number}") == dialogue(number, 2)


def test_an_update_that_was_killed_goes_on(importer: Importer, emulator: RunningEmulator) -> None:
    day, night = importer.home / "a.jsonl", importer.home / "b.jsonl"
    write_jsonl(day, talks(6, 2))
    settings = quick_config(importer, f"{importer.home}/*.jsonl")
    assert importer.run(options=[str(settings)]).code == 0
    write_jsonl(night, [talk(number, turn) for number in range(6) for turn in (2, 3)])
    for number in (1, 3, 5):
        emulator.set_faults([{"match": TURN, "when": {"after": number}, "do": {"delay_ms": 60_000}}])
        kill_when_struck(importer, emulator, settings)
    emulator.set_faults([])
    done = importer.run(options=[str(settings)])
    assert done.code == 0, done.out + done.err
    check_invariants(emulator, importer.last)
    for number in range(6):
        assert said(emulator, f"langfuse:talk-{number}") == dialogue(number, 4)


def test_a_turn_that_is_too_long_for_the_server_is_told(importer: Importer) -> None:
    with running_emulator(options={"max_body_bytes": 20_000}) as emulator:
        importer.base_url = emulator.url
        rows = talks(6, 1)
        rows[3]["output"] = "x" * 30_000
        result = importer.run_here(write_jsonl(importer.home / "a.jsonl", rows), **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 5, "failed": 1}
        (reject,) = read_rejects(result.folder)
        assert (reject["trace_id"], reject["error_kind"]) == ("talk-3", "content_rejected")


def test_a_server_that_takes_no_large_bodies_gets_smaller_ones(importer: Importer) -> None:
    with running_emulator(options={"max_body_bytes": 2_000}) as emulator:
        importer.base_url = emulator.url
        source = write_jsonl(importer.home / "a.jsonl", [chat(1, 40)])
        result = importer.run_here(source, **QUICK)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1}
        assert said(emulator, "chat:chat-1") == dialogue(1, 40)


def test_pieces_from_before_turns_were_imported_are_not_forgotten(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """Each night names its own file only."""
    day = write_jsonl(importer.home / "1.jsonl", [observation(1, 0), observation(1, 1)])
    night = write_jsonl(importer.home / "2.jsonl", [observation(1, 2)])
    settings = QUICK | {"upload__on_change": "update", "assembly__settle_minutes": 0}
    importer.run_here(day, **(settings | {"import": "session"}))
    result = importer.run_here(night, **settings)
    assert check_invariants(emulator, result.folder)["details"] == {"changed": {"updated": 1}}
    (session,) = emulator.sessions(with_turns=True)
    assert sorted(span["name"] for turn in session["turns"] for span in turn["spans"]) == ["step 0", "step 1", "step 2"]


def call(emulator: RunningEmulator, method: str, path: str, body: Any = None) -> None:
    """Somebody else at the same API."""
    request = urllib.request.Request(
        f"{emulator.url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def test_a_session_with_turns_of_somebody_else_is_left_as_it_is(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 2))
    importer.run_here(source, **QUICK)
    session_id = emulator.sessions()[0]["id"]
    call(emulator, "POST", "/inferenceResults", {"sessionId": session_id, "input": "Hello?", "actualOutput": "Hello."})
    call(emulator, "PATCH", f"/sessions/{session_id}/finish", {"stoppingReason": "IMPORTED"})
    before = emulator.sessions(with_turns=True)
    write_jsonl(source, talks(1, 3))
    result = importer.run_here(source, **QUICK)
    assert read_summary(result.folder)["details"] == {"changed": {"turns_differ": 1}}
    assert emulator.sessions(with_turns=True) == before


def test_what_somebody_deleted_comes_again_with_its_spans(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 3))
    importer.run_here(source, **QUICK)
    deleted = emulator.sessions(with_turns=True)[0]["turns"][1]
    call(emulator, "DELETE", f"/inferenceResults/{deleted['id']}")
    write_jsonl(source, talks(1, 4))
    result = importer.run_here(source, **QUICK)
    check_invariants(emulator, result.folder)
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 4)
    (session,) = emulator.sessions(with_turns=True)
    live = [turn for turn in session["turns"] if turn["deletedAt"] is None]
    steps = [{span["metadata"]["span_id"] for span in turn["spans"] if span["deletedAt"] is None} for turn in live]
    assert steps == [{f"o-0-{turn}-0", f"o-0-{turn}-1"} for turn in range(4)]


@pytest.mark.parametrize("again", ["refuse", "ignore"])
def test_one_that_closed_by_itself_before_its_end_came_gets_that_end(importer: Importer, again: str) -> None:
    with running_emulator(options={"second_finish": again}) as emulator:
        importer.base_url = emulator.url
        half = talk(1, 0, output=None)
        half["observations"] = [half["observations"][0] | {"endTime": None, "output": None}]
        source = write_jsonl(importer.home / "a.jsonl", [half])
        importer.run_here(source, **QUICK)
        emulator.forward(3600)
        write_jsonl(source, [talk(1, 0)])
        importer.run_here(source, **QUICK)
        (session,) = emulator.sessions()
        assert (session["status"], session["stoppingReason"]) == ("COMPLETED", "IMPORTED")


def test_a_span_that_comes_back_as_it_was_is_there_again(importer: Importer, emulator: RunningEmulator) -> None:
    """The id that it had belongs to a deleted span by then."""
    for value in (10, 99, 10, 99):
        row = talk(1, 0)
        row["observations"][1] |= {"output": value}
        source = write_jsonl(importer.home / "a.jsonl", [row])
        result = importer.run_here(source, **QUICK, upload__on_change="update")
        assert check_invariants(emulator, result.folder)["exit_code"] == 0
        [session] = emulator.sessions(with_turns=True)
        live = [span for span in session["turns"][0]["spans"] if span["deletedAt"] is None]
        assert [span["outputData"] for span in live] == [{"done": 0}, value]


def test_a_run_that_is_stopped_in_order_leaves_nothing_in_doubt(importer: Importer, emulator: RunningEmulator) -> None:
    """So the next one goes on at once, and does not wait for what may still come to light."""
    emulator.set_latency(50)
    source = write_jsonl(importer.home / "a.jsonl", talks(12, 4))
    options = ["--session-per", "conversation", "--max-per-second", "20"]
    assert importer.run(source, options=[*options, "--for", "3s"]).code == 75
    assert 0 < calls(emulator)[TURN] < 48
    started = time.monotonic()
    done = importer.run(source, options=["--session-per", "conversation"])
    assert done.code == 0, done.out + done.err
    assert time.monotonic() - started < 30
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 12}
    assert calls(emulator)[TURN] == 48


def test_a_conversation_whose_last_trace_failed_goes_on(importer: Importer, emulator: RunningEmulator) -> None:
    failed = talk(1, 1, output=None)
    failed["observations"][0] |= {"level": "ERROR", "statusMessage": "no connection", "output": None}
    day, night = importer.home / "a.jsonl", importer.home / "b.jsonl"
    importer.run_here(write_jsonl(day, [talk(1, 0), failed]), **QUICK)
    assert emulator.sessions()[0]["status"] == "FAILED"
    write_jsonl(night, [talk(1, 2)])
    result = importer.run_here(day, night, **QUICK)
    assert check_invariants(emulator, result.folder)["details"] == {"changed": {"updated": 1}}
    [session] = emulator.sessions(with_turns=True)
    assert (session["status"], session["error"], len(session["turns"])) == ("COMPLETED", None, 3)
