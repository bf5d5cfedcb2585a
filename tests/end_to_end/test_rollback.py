"""`trace-import rollback`: what one run created is deleted, once, and nothing else; then it can be imported again."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from pipeline.rollback import WORKERS
from tests.end_to_end.conftest import Ended, Importer, end, make_trace, many, wait_until, write_jsonl
from tests.end_to_end.test_process_faults import KILLED_AT
from tests.end_to_end.test_scattered import observation
from tests.end_to_end.test_turns import QUICK, call, dialogue, said, talk, talks
from tests.end_to_end.test_verify import ended, session_of, verify_json, write_config
from tests.invariants import (
    PAYLOAD,
    check_invariants,
    check_nobody_can_read_the_key,
    check_nothing_is_doubled,
    posts,
    read_summary,
)

STEPS: dict[str, tuple[str, str, int]] = {
    "before anything": ("call", "RollbackLedger.begin", 1),
    "files are to be read again": ("return", "RollbackLedger.begin", 1),
    "before the intent": ("call", "RollbackLedger.intend", 3),
    "after the intent, before the first byte": ("return", "RollbackLedger.intend", 3),
    "while requests leave": ("call", "PyreqwestTransport.send", 30),
    "renamed, before it is deleted": ("call", "Client.delete_session", 3),
    "deleted, before the ledger knows": ("call", "RollbackLedger.end", 3),
    "in the middle of that commit": ("return", "Reopening.open", 3),
    "after the commit": ("return", "RollbackLedger.end", 3),
}


def last_run(importer: Importer) -> str:
    return str(read_summary(importer.last)["run_id"])


def command(importer: Importer, run_id: str, *options: str) -> list[str]:
    return importer.command("rollback", options=[str(write_config(importer)), "--run", run_id, *options])


def rollback(importer: Importer, run_id: str, *options: str) -> Ended:
    return importer.execute(command(importer, run_id, *options))


def rollback_json(importer: Importer, run_id: str, *options: str, code: int = 0) -> Any:
    done = rollback(importer, run_id, "--json", *options)
    assert done.code == code, done.out + done.err
    assert PAYLOAD not in done.out + done.err
    return json.loads(done.out)


def live(emulator: RunningEmulator) -> set[str]:
    return {session["customId"] for session in emulator.sessions() if session["deletedAt"] is None}


def names(*numbers: int) -> set[str]:
    return {f"langfuse:trace-{number}" for number in numbers}


def import_again(importer: Importer, emulator: RunningEmulator) -> dict[str, Any]:
    done = importer.run(options=[str(write_config(importer))])
    assert done.code == 0, done.out
    check_nobody_can_read_the_key(importer.state)
    return check_invariants(emulator, importer.last)


def test_without_yes_it_only_says_what_it_would_do(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 12)).code == 0
    seen = len(emulator.log())
    run_id = last_run(importer)
    assert rollback_json(importer, run_id)["counts"] == {"planned": 12}
    assert {line["method"] for line in emulator.log(seen)} == {"GET"}
    out = rollback(importer, run_id).out
    assert "12 would be deleted" in out
    assert "nothing is deleted without --yes" in out
    assert import_again(importer, emulator)["outcomes"] == {}


@pytest.mark.parametrize("hold", [True, False], ids=["deleted sessions hold their ids", "ids are free again"])
def test_what_a_run_created_is_deleted_and_imported_again(importer: Importer, hold: bool) -> None:
    with running_emulator(options={"deleted_hold_custom_id": hold}) as emulator:
        importer.base_url = emulator.url
        write_jsonl(importer.home / "before.jsonl", [make_trace(100)])
        assert importer.run(importer.home / "before.jsonl").code == 0
        assert importer.run(many(importer, 30)).code == 0
        run_id = last_run(importer)
        report = rollback_json(importer, run_id, "--yes")
        assert (report["counts"], report["left"]) == ({"deleted": 30}, 0)
        assert live(emulator) == names(100)
        again = rollback_json(importer, run_id, "--yes")
        assert (again["counts"], again["taken_back_before"]) == ({}, 30)
        status = importer.execute(importer.command("status")[:6]).out
        assert f"{run_id}: " in status
        assert status.count("30 of these sessions were taken back since (rollback)") == status.count("taken back") == 1
        assert import_again(importer, emulator)["outcomes"] == {"created": 30}
        assert last_run(importer) != run_id
        assert verify_json(importer, "--all")["as_the_ledger_says"] == 31
        assert rollback_json(importer, run_id, "--yes")["counts"] == {}
        assert len(live(emulator)) == 31


def test_killed_between_any_two_steps_it_goes_on(importer: Importer, emulator: RunningEmulator) -> None:
    many(importer, 200)
    assert importer.run(options=[str(write_config(importer))]).code == 0
    run_id = last_run(importer)
    for name, (event, function, nth) in STEPS.items():
        words = command(importer, run_id, "--yes", "--max-at-once", "3")
        words[1:3] = [str(KILLED_AT), event, function, str(nth)]
        assert importer.execute(words).code == -signal.SIGKILL, name
        check_nothing_is_doubled(emulator.sessions())
        check_nobody_can_read_the_key(importer.state)
    report = rollback_json(importer, run_id, "--yes")
    assert report["left"] == 0
    assert report["counts"]["deleted"] + report["taken_back_before"] == 200
    assert set(report["counts"]) == {"deleted"}
    assert live(emulator) == set()
    assert import_again(importer, emulator)["outcomes"] == {"created": 200}
    assert verify_json(importer)["as_the_ledger_says"] == 200


def test_a_run_between_two_halves_of_a_rollback_loses_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    many(importer, 60)
    assert importer.run(options=[str(write_config(importer))]).code == 0
    run_id = last_run(importer)
    words = command(importer, run_id, "--yes", "--max-at-once", "2")
    words[1:3] = [str(KILLED_AT), "call", "RollbackLedger.end", "20"]
    assert importer.execute(words).code == -signal.SIGKILL
    assert importer.run(options=[str(write_config(importer))]).code == 0
    taken = 60 - read_summary(importer.last)["outcomes"]["skipped"]
    assert read_summary(importer.last)["outcomes"]["created"] == taken == 19
    assert rollback_json(importer, run_id, "--yes")["counts"] == {"deleted": 60 - taken}
    assert len(live(emulator)) == taken
    assert import_again(importer, emulator)["outcomes"] == {"created": 60 - taken, "skipped": taken}
    assert verify_json(importer, "--all")["as_the_ledger_says"] == 60


def test_through_network_faults(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 60)).code == 0
    faults: list[Any] = [
        {"match": f"{method} /sessions/*", "when": {"every": every}, "do": fault}
        for method in ("GET", "PATCH", "DELETE")
        for every, fault in (
            (7, "reset_after_commit"),
            (9, "reset_before"),
            (10, {"status": 503}),
            (11, {"status": 500, "after_commit": True}),
            (13, "truncate"),
        )
    ]
    later = {"status": 429, "headers": {"Retry-After": "1"}}
    emulator.set_faults([*faults, {"match": "* /sessions/*", "when": {"between": [40, 42]}, "do": later}])
    report = rollback_json(importer, last_run(importer), "--yes")
    assert (report["counts"], report["left"]) == ({"deleted": 60}, 0)
    emulator.set_faults([])
    assert live(emulator) == set()
    assert import_again(importer, emulator)["outcomes"] == {"created": 60}


def test_a_given_rate_is_kept(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 8)).code == 0
    seen = len(emulator.log())
    assert rollback_json(importer, last_run(importer), "--yes", "--max-per-second", "10")["counts"] == {"deleted": 8}
    times = [line["time"] for line in emulator.log(seen)]
    assert len(times) >= 24
    assert (len(times) - 1) / (times[-1] - times[0]) < 11


def test_what_the_run_did_not_create_is_not_touched(importer: Importer, emulator: RunningEmulator) -> None:
    other = Importer(importer.home / "other", emulator.url)
    assert other.run(write_jsonl(other.home / "a.jsonl", [make_trace(0)])).code == 0  # so it is there already
    assert importer.run(many(importer, 6)).code == 0
    taken_over, deleted = session_of(emulator, 1), session_of(emulator, 2)
    mark = {"trace_import": {"ledger": "another"}}
    call(emulator, "PATCH", f"/sessions/{taken_over['id']}", {"metadata": mark})
    call(emulator, "DELETE", f"/sessions/{deleted['id']}")
    report = rollback_json(importer, last_run(importer), "--yes", code=4)
    assert report["counts"] == {"deleted": 3, "gone": 1, "not_ours": 1}
    assert [one["custom_id"] for one in report["sessions"] if one["outcome"] == "not_ours"] == [*names(1)]
    assert live(emulator) == names(0, 1)
    touched = {line["session_id"] for line in emulator.log() if line["method"] == "DELETE"}
    assert taken_over["id"] not in touched
    assert "not_ours: langfuse:trace-1" in rollback(importer, last_run(importer)).out


def test_what_the_run_only_updated_is_named(importer: Importer, emulator: RunningEmulator) -> None:
    many(importer, 3)
    config = str(write_config(importer))
    assert importer.run(options=[config]).code == 0
    grown = make_trace(0, metadata={"number": 0, "more": "came later"})
    write_jsonl(importer.home / "a.jsonl", [grown, make_trace(1), make_trace(2), make_trace(3)])
    assert importer.run(options=[config]).code == 0
    assert read_summary(importer.last)["details"]["changed"] == {"updated": 1}
    report = rollback_json(importer, last_run(importer), "--yes")
    assert (report["counts"], report["updated"]) == ({"deleted": 1}, ["langfuse:trace-0"])
    assert live(emulator) == names(0, 1, 2)
    assert session_of(emulator, 0)["metadata"]["more"] == "came later"


def test_a_mended_mapping_is_imported_instead(importer: Importer, emulator: RunningEmulator) -> None:
    config = importer.home / "mended.yaml"
    settings = "source: {paths: [a.jsonl]}\nstate_dir: state\ntarget: {version_id: ver_123}\n"
    config.write_text(settings)
    many(importer, 5)
    assert importer.run(options=[str(config)]).code == 0
    assert rollback(importer, last_run(importer), "--yes").code == 0
    config.write_text(f"{settings}mapping: {{metadata: {{customer: user_id}}}}\n")
    assert importer.run(options=[str(config)]).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 5}
    assert session_of(emulator, 3)["metadata"]["customer"] == "user-1"


def test_a_session_that_the_api_keeps_is_told_and_goes_later(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 4)).code == 0
    kept = session_of(emulator, 2)["id"]
    body = {"message": "You may not delete this."}
    emulator.set_faults([{"match": f"DELETE /sessions/{kept}", "do": {"status": 403, "body": body}}])
    report = rollback_json(importer, last_run(importer), "--yes", code=4)
    assert (report["counts"], report["left"]) == ({"deleted": 3, "failed": 1}, 1)
    assert [one["detail"] for one in report["sessions"] if one["outcome"] == "failed"] == ["You may not delete this."]
    emulator.set_faults([])
    assert rollback_json(importer, last_run(importer), "--yes")["counts"] == {"deleted": 1}


def test_a_key_that_may_only_read_stops_it(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 100)).code == 0
    emulator.set_faults([{"match": "PATCH /sessions/*", "do": {"status": 403, "body": {"message": "read only"}}}])
    report = rollback_json(importer, last_run(importer), "--yes", code=5)
    assert report["counts"].get("deleted", 0) == 0
    assert "read only" in report["error"]
    assert report["left"] == 100
    emulator.set_faults([{"match": "* /sessions/*", "do": {"status": 401}}])
    assert rollback(importer, last_run(importer), "--yes").code == 5


def test_a_signal_ends_it_and_it_goes_on(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 60)).code == 0
    run_id = last_run(importer)
    words = command(importer, run_id, "--yes", "--max-per-second", "40")
    process = subprocess.Popen(words, env=importer.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(live(emulator)) < 55)
    done = end(process, signal.SIGTERM)
    assert done.code == 143
    assert "are left" in done.out
    report = rollback_json(importer, run_id, "--yes")
    assert report["counts"]["deleted"] + report["taken_back_before"] == 60
    assert live(emulator) == set()


def test_a_run_that_was_stopped_is_taken_back_goes_on_and_is_taken_back_again(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """The second time, the ids that deleted sessions are given are taken."""
    many(importer, 150)
    config = str(write_config(importer))
    process = importer.start(options=[config, "--max-per-second", "120"])
    wait_until(lambda: ended(emulator) > 40)
    assert end(process, signal.SIGTERM).code == 143
    run_id = last_run(importer)
    first = rollback_json(importer, run_id, "--yes")["counts"]["deleted"]
    assert first >= 40
    assert import_again(importer, emulator)["outcomes"] == {"created": 150}
    assert last_run(importer) == run_id
    assert rollback_json(importer, run_id, "--yes")["counts"] == {"deleted": 150}
    assert live(emulator) == set()
    assert import_again(importer, emulator)["outcomes"] == {"created": 150}


def test_what_may_be_in_flight_is_told(importer: Importer, emulator: RunningEmulator) -> None:
    many(importer, 20)
    config = str(write_config(importer))
    hidden = {"hang": True, "after_commit": True, "visible_after_ms": 60_000}
    emulator.set_faults([{"match": "POST /sessions", "when": {"after": 10}, "do": hidden}])
    process = importer.start(options=[config])
    wait_until(lambda: len(live(emulator)) == 20)
    end(process, signal.SIGKILL)
    emulator.set_faults([])
    (run_id,) = [folder.name for folder in importer.runs]
    report = rollback_json(importer, run_id, "--yes", code=4)
    assert report["in_doubt"] == 20 - report["counts"].get("deleted", 0) > 0
    emulator.forward(60)
    assert import_again(importer, emulator)["outcomes"] == {"created": 20}
    assert rollback_json(importer, run_id, "--yes")["counts"] == {"deleted": 20}
    assert live(emulator) == set()


def test_what_a_killed_run_sent_and_the_api_stores_late_is_waited_for(
    importer: Importer, emulator: RunningEmulator
) -> None:
    many(importer, 5)
    config = str(write_config(importer, lookup_seconds=8))
    emulator.set_faults([{"match": "POST /sessions", "do": {"commit_after_ms": 3_000}}])
    process = importer.start(options=[config])
    wait_until(lambda: len(posts(emulator)) == 5)
    end(process, signal.SIGKILL)
    assert live(emulator) == set()
    emulator.set_faults([])
    words = importer.command("rollback", options=[config, "--run", importer.runs[-1].name, "--json", "--yes"])
    assert json.loads(importer.execute(words).out)["counts"] == {"deleted": 5}
    assert live(emulator) == set()


@pytest.mark.parametrize("options", [[], ["--yes"]], ids=["dry", "for good"])
def test_what_never_arrived_is_waited_for_once_and_not_session_by_session(
    importer: Importer, emulator: RunningEmulator, options: list[str]
) -> None:
    many(importer, 300)
    config = str(write_config(importer, lookup_seconds=6))
    emulator.set_faults([{"match": "POST /sessions", "do": {"hang": True}}])
    process = importer.start(options=[config])
    wait_until(lambda: len(posts(emulator)) >= 8)
    end(process, signal.SIGKILL)
    emulator.set_faults([])
    words = importer.command("rollback", options=[config, "--run", importer.runs[-1].name, "--json", *options])
    report = json.loads(importer.execute(words).out)
    assert report["counts"] == {}
    assert report["in_doubt"] > 4 * WORKERS
    # A look a second as long as it takes to show, at so many as are under way; then one at each of the others.
    assert report["requests"] < report["in_doubt"] + 8 * WORKERS


def test_while_a_run_works_it_waits_for_another_day(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(write_jsonl(importer.home / "before.jsonl", [make_trace(500)])).code == 0
    run_id = last_run(importer)
    process = importer.start(many(importer, 150), options=["--max-per-second", "50"])
    wait_until(lambda: len(posts(emulator)) > 20)
    done = rollback(importer, run_id, "--yes")
    assert done.code == 75
    assert "in use by" in done.err
    assert end(process).code == 0
    assert len(live(emulator)) == 151


def test_a_run_that_is_not_known_is_named(importer: Importer, emulator: RunningEmulator) -> None:
    assert rollback(importer, "any", "--yes").code == 2
    assert not importer.state.exists()
    assert importer.run(many(importer, 1)).code == 0
    done = rollback(importer, "another", "--yes")
    assert done.code == 2
    assert last_run(importer) in done.err


def test_sessions_of_several_files_and_nights_come_back_whole(importer: Importer, emulator: RunningEmulator) -> None:
    conversation = importer.home / "conversation.yaml"
    conversation.write_text("source: {paths: [talk], session_per: conversation}\nstate_dir: state\n")
    spans = importer.home / "spans.yaml"
    spans.write_text("source: {paths: [spans]}\nstate_dir: state\n")
    for night in (1, 2):
        turn = make_trace(night, session_id="talk-1", timestamp=f"2026-08-22 08:0{night}:00.000000")
        write_jsonl(importer.home / "talk" / f"{night}.jsonl", [turn])
        write_jsonl(importer.home / "spans" / f"{night}.jsonl", [observation(7, span) for span in range(night, 4, 2)])
        for config in (conversation, spans):
            assert importer.run(options=[str(config)]).code == 0
    before = {one["customId"]: (one["context"], one["metadata"]["trace_import"]) for one in emulator.sessions()}
    assert len(before) == 2
    for folder in importer.runs:
        assert rollback(importer, folder.name, "--yes").code == 0
    assert live(emulator) == set()
    for config in (conversation, spans):
        assert importer.run(options=[str(config)]).code == 0
        assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1}
    after = [one for one in emulator.sessions() if one["deletedAt"] is None]
    assert {one["customId"]: (one["context"], one["metadata"]["trace_import"]) for one in after} == before


def test_versions_that_a_product_went_through_are_all_known(importer: Importer, emulator: RunningEmulator) -> None:
    product = ["--product-id", "prod_123"]
    assert importer.run(many(importer, 4), options=product).code == 0
    run_id = last_run(importer)
    call(emulator, "POST", "/versions", {"productId": "prod_123", "name": "next"})
    write_jsonl(importer.home / "b.jsonl", [make_trace(number) for number in range(10, 13)])
    assert importer.run(importer.home / "b.jsonl", options=product).code == 0
    assert len({session["versionId"] for session in emulator.sessions()}) == 2
    assert verify_json(importer, "--all", *product)["as_the_ledger_says"] == 7
    assert rollback_json(importer, run_id, "--yes", *product)["counts"] == {"deleted": 4}
    assert live(emulator) == names(10, 11, 12)


def conversations(importer: Importer, **settings: Any) -> dict[str, Any]:
    return importer.run_here(importer.home / "a.jsonl", **(QUICK | settings)).summary


def live_turns(emulator: RunningEmulator) -> list[dict[str, Any]]:
    return [
        turn for session in emulator.sessions(with_turns=True) for turn in session["turns"] if turn["deletedAt"] is None
    ]


@pytest.mark.parametrize("hold", [True, False], ids=["deleted sessions hold their ids", "ids are free again"])
def test_what_a_run_created_goes_with_its_turns_and_comes_again_whole(importer: Importer, hold: bool) -> None:
    with running_emulator(options={"deleted_hold_custom_id": hold}) as emulator:
        importer.base_url = emulator.url
        write_jsonl(importer.home / "a.jsonl", talks(4, 3))
        conversations(importer)
        assert rollback_json(importer, last_run(importer), "--yes")["counts"] == {"deleted": 4}
        assert (live(emulator), live_turns(emulator)) == (set(), [])
        mended = conversations(importer, mapping__metadata={"customer": "user_id"})
        assert check_invariants(emulator, importer.last)["outcomes"] == mended["outcomes"] == {"created": 4}
        assert said(emulator, "langfuse:talk-3") == dialogue(3, 3)
        assert len(live_turns(emulator)) == 12
        report = verify_json(importer)
        assert (report["as_the_ledger_says"], report["turns"]) == (4, 12)


def test_sessions_that_it_only_added_turns_to_are_named(importer: Importer, emulator: RunningEmulator) -> None:
    other = Importer(importer.home / "other", emulator.url)
    other.run_here(write_jsonl(other.home / "a.jsonl", [talk(5, 0)]), **QUICK)
    source = importer.home / "a.jsonl"
    write_jsonl(source, talks(2, 1))
    conversations(importer, **{"import": "session"})
    write_jsonl(source, [*talks(1, 2), talk(1, 0), talk(3, 0), talk(5, 0), talk(5, 1)])
    assert conversations(importer, upload__on_existing="complete")["details"] == {
        "changed": {"completed": 1, "updated": 1},
        "existing": {"completed": 1},
    }
    report = rollback_json(importer, last_run(importer), "--yes")
    assert report["counts"] == {"deleted": 1}
    assert report["updated"] == [f"langfuse:talk-{number}" for number in (0, 1, 5)]
    assert live(emulator) == {f"langfuse:talk-{number}" for number in (0, 1, 5)}
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 2)


def test_one_whose_change_broke_off_is_named_too(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", talks(1, 1))
    conversations(importer)
    write_jsonl(source, talks(1, 4))
    refused = {"status": 422, "body": {"message": "no such language"}}
    emulator.set_faults([{"match": "POST /inferenceResults", "when": {"after": 1}, "do": refused}])
    assert conversations(importer)["outcomes"] == {"failed": 1}
    report = rollback_json(importer, last_run(importer), "--yes")
    assert (report["counts"], report["updated"]) == ({}, ["langfuse:talk-0"])
    emulator.set_faults([])
    conversations(importer)
    check_invariants(emulator, importer.last)
    assert verify_json(importer)["turns"] == 4


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_run_began_and_did_not_fill_is_taken_back_too(
    importer: Importer, emulator: RunningEmulator, how: signal.Signals
) -> None:
    importer.extent = "full"
    write_jsonl(importer.home / "a.jsonl", talks(60, 3))
    config = str(write_config(importer))
    options = [config, "--session-per", "conversation", "--max-per-second", "150"]
    process = importer.start(options=options)
    wait_until(lambda: len(live_turns(emulator)) > 80)
    end(process, how)
    there = len(live(emulator))
    assert 0 < len(live_turns(emulator)) < 180
    run_id = importer.runs[-1].name
    assert rollback_json(importer, run_id, code=4)["counts"] == {"planned": there}
    for step in ("RollbackLedger.intend", "Client.delete_session", "RollbackLedger.end"):
        words = command(importer, run_id, "--yes", "--max-at-once", "3")
        words[1:3] = [str(KILLED_AT), "call", step, "2"]
        assert importer.execute(words).code == -signal.SIGKILL, step
    report = rollback_json(importer, run_id, "--yes", code=4 if there < 60 and how is signal.SIGKILL else 0)
    assert report["counts"]["deleted"] + report["taken_back_before"] == there
    assert (live(emulator), live_turns(emulator)) == (set(), [])
    assert importer.run(options=options[:3]).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 60}
    assert verify_json(importer)["turns"] == 180


def test_one_whose_turn_was_refused_is_taken_back_too(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "a.jsonl", talks(2, 3))
    refused = {"status": 422, "body": {"message": "no such language"}}
    emulator.set_faults([{"match": "POST /inferenceResults", "when": {"between": [4, 4]}, "do": refused}])
    assert conversations(importer)["outcomes"] == {"created": 1, "failed": 1}
    assert rollback_json(importer, last_run(importer), "--yes")["counts"] == {"deleted": 2}
    assert live(emulator) == set()
