"""Traces whose observations lie scattered over lines, files and nights: each becomes one whole session."""

from __future__ import annotations

import gzip
import os
import random
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from pipeline.report.snapshot import Stop
from pipeline.results import RunResult
from tests.end_to_end.conftest import Importer, make_trace, wait_until, write_jsonl
from tests.end_to_end.test_process_faults import KILLED_AT
from tests.invariants import check_invariants, posts, read_manifest, read_rejects, read_summary


def observation(trace: int, span: int = 0, *, minute: int = 0, **fields: Any) -> dict[str, Any]:
    """A row of Langfuse's observations_v2; span 0 is the root."""
    return {
        "id": f"o-{trace}-{span}",
        "trace_id": f"t-{trace}",
        "project_id": "p-1",
        "type": "SPAN" if span == 0 else "GENERATION",
        "name": f"step {span}",
        "parent_observation_id": "" if span == 0 else f"o-{trace}-0",
        "start_time": f"2026-08-22 08:{minute:02}:{span:02}.000000",
        "end_time": f"2026-08-22 08:{minute:02}:59.000000",
        "is_root_observation": span == 0,
        "level": "DEFAULT",
        "session_id": "",
        "user_id": "u-1",
        "trace_name": "support",
        "input": f"Where is parcel {trace}?" if span == 0 else f"step {span}",
        "output": f"Parcel {trace} is on its way." if span == 0 else f"done {span}",
        "updated_at": f"2026-08-22 09:{minute:02}:00.000000",
    } | fields


def shuffled(*rows: dict[str, Any], seed: int = 1) -> list[dict[str, Any]]:
    listed = list(rows)
    random.Random(seed).shuffle(listed)
    return listed


def sent(emulator: RunningEmulator) -> dict[str, dict[str, Any]]:
    return {session["customId"]: session for session in emulator.sessions()}


def test_spans_scattered_over_lines_and_files_become_one_session_each(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = shuffled(*[observation(trace, span) for trace in range(30) for span in range(5)])
    for number in range(3):
        write_jsonl(importer.home / "in" / f"{number}.jsonl", rows[number::3])
    done = importer.run(importer.home / "in")
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert (summary["records_read"], summary["outcomes"], summary["records_ignored"]) == (150, {"created": 30}, {})
    [first] = [row for row in read_manifest(importer.last) if row["trace_id"] == "t-0"]
    assert (first["records"], first["traces"], first["turns"], first["spans"]) == (5, 1, 1, 5)
    turn = sent(emulator)["langfuse:t-0"]["context"]["turns"][0]
    assert turn == {"input": "Where is parcel 0?", "output": "Parcel 0 is on its way."}
    again = importer.run(importer.home / "in")
    assert (again.code, len(posts(emulator))) == (0, 30)


def test_a_trace_that_goes_on_in_tomorrows_file_is_rebuilt_from_all_its_parts(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night = importer.home / "in"
    write_jsonl(night / "1.jsonl", [observation(t, s) for t in range(5) for s in range(2)])
    assert importer.run(night).code == 0
    write_jsonl(night / "2.jsonl", [observation(3, 2), observation(9)])
    done = importer.run(night)
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"changed": 1, "created": 1}
    assert summary["records_read"] == 2, "yesterday's file is read for its parts, and not counted again"
    assert {item["state"] for item in summary["sources"]} == {"unchanged", "done"}
    [changed] = [row for row in read_manifest(importer.last) if row["outcome"] == "changed"]
    assert (changed["error_kind"], changed["spans"], changed["records"]) == ("updated", 3, 1)
    context = sent(emulator)["langfuse:t-3"]["context"]
    assert context["turns"][0]["output"] == "Parcel 3 is on its way."
    assert importer.run(night).code == 0
    assert len(posts(emulator)) == 6


def test_a_plan_foretells_it(importer: Importer, emulator: RunningEmulator) -> None:
    night = importer.home / "in"
    write_jsonl(night / "1.jsonl", [observation(1, 0), observation(1, 1)])
    importer.run(night)
    write_jsonl(night / "2.jsonl", [observation(1, 2)])
    done = importer.run(night, verb="plan", options=["--json"])
    assert '"sends":{"update":1}' in done.out.replace(" ", "").replace("\n", ""), done.out


def test_parts_that_nobody_finds_any_more_are_told_and_nothing_is_sent(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night = importer.home / "in"
    first = write_jsonl(night / "1.jsonl", [observation(1, 0), observation(1, 1)])
    importer.run(night)
    first.unlink()
    write_jsonl(night / "2.jsonl", [observation(1, 2), observation(2)])
    done = importer.run(night)
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"changed": 1, "created": 1}
    [changed] = [row for row in read_manifest(importer.last) if row["outcome"] == "changed"]
    assert changed["error_kind"] == "parts_missing"
    assert "1.jsonl" in changed["error"]
    assert (done.code, "lack parts" in done.out) == (4, True)
    again = importer.run(night)
    assert again.code == 4, "it is not forgotten"
    assert sent(emulator)["langfuse:t-1"]["context"]["turns"][0]["input"] == "Where is parcel 1?"
    write_jsonl(first, [observation(1, 0), observation(1, 1)])
    assert importer.run(night).code == 0, "the file is back"
    [row] = [row for row in read_manifest(importer.last) if row["trace_id"] == "t-1"]
    assert (row["outcome"], row["error_kind"], row["spans"]) == ("changed", "updated", 3)


def test_every_file_of_a_trace_that_lacks_parts_is_read_again_until_they_are_back(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night = importer.home / "in"
    first = write_jsonl(night / "1.jsonl", [observation(1, 0)])
    importer.run_here(night)
    lost = first.read_bytes()
    first.unlink()
    write_jsonl(night / "2.jsonl", [observation(1, 1)])
    write_jsonl(night / "3.jsonl", [observation(1, 2)])
    assert importer.run_here(night).exit_code == 4
    first.write_bytes(lost)
    assert importer.run_here(night).exit_code == 0
    [row] = read_manifest(importer.last)
    assert (row["outcome"], row["error_kind"], row["spans"]) == ("changed", "updated", 3)
    assert importer.run_here(night).summary["records_read"] == 0


def test_a_conversation_is_not_sent_with_what_is_left_of_an_earlier_trace(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night, per = importer.home / "in", {"source__session_per": "conversation", "upload__on_change": "update"}
    first = write_jsonl(night / "1.jsonl", [observation(1, 0, session_id="c-1")])
    write_jsonl(night / "2.jsonl", [observation(1, 1, session_id="c-1")])
    importer.run_here(night, **per)
    lost = first.read_bytes()
    first.unlink()
    write_jsonl(night / "3.jsonl", [observation(2, 0, session_id="c-1")])
    result = importer.run_here(night, **per)
    [row] = read_manifest(result.folder)
    assert (result.exit_code, row["outcome"], row["error_kind"]) == (4, "changed", "parts_missing")
    first.write_bytes(lost)
    result = importer.run_here(night, **per)
    [row] = read_manifest(result.folder)
    assert (result.exit_code, row["error_kind"], row["turns"], row["spans"]) == (0, "updated", 2, 3)


def test_what_is_left_is_sent_where_the_user_accepts_it(importer: Importer, emulator: RunningEmulator) -> None:
    night = importer.home / "in"
    first = write_jsonl(night / "1.jsonl", [observation(1, 0), observation(1, 1)])
    importer.run(night)
    first.unlink()
    write_jsonl(night / "2.jsonl", [observation(1, 2)])
    assert importer.run(night).code == 4
    result = importer.run_here(night, assembly__missing_parts="accept", upload__on_change="update")
    assert result.exit_code == 0
    assert "partial" in sent(emulator)["langfuse:t-1"]["metadata"]


def test_a_trace_that_was_never_imported_is_not_sent_without_its_lost_parts_on_any_night(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night = importer.home / "in"
    first = write_jsonl(night / "1.jsonl", [observation(1, 0), observation(1, 1)])
    emulator.set_faults([{"match": "POST /sessions", "do": {"status": 400}}])
    importer.run(night)
    emulator.set_faults([])
    first.unlink()
    write_jsonl(night / "2.jsonl", [observation(1, 2)])
    for _ in range(3):
        assert importer.run(night).code == 4
        [row] = read_manifest(importer.last)
        assert (row["outcome"], row["error_kind"]) == ("failed", "parts_missing")
    assert not emulator.sessions()


def test_a_file_that_was_packed_overnight_lost_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    night = importer.home / "in"
    first = write_jsonl(night / "1.jsonl", [observation(1, 0), observation(1, 1)])
    importer.run(night)
    (night / "1.jsonl.gz").write_bytes(gzip.compress(first.read_bytes()))
    first.unlink()
    write_jsonl(night / "2.jsonl", [observation(1, 2)])
    assert importer.run(night).code == 0
    [row] = read_manifest(importer.last)
    assert (row["error_kind"], row["spans"], row["records"]) == ("updated", 3, 3)


def test_a_file_that_was_written_over_misses_what_it_held(importer: Importer, emulator: RunningEmulator) -> None:
    latest = write_jsonl(importer.home / "latest.jsonl", [observation(1, 0), observation(1, 1)])
    importer.run(latest)
    write_jsonl(latest, [observation(1, 2)])
    for _ in range(2):
        result = importer.run_here(latest, upload__on_change="update")
        assert result.exit_code == 4
        [row] = read_manifest(result.folder)
        assert row["error_kind"] == "parts_missing"


def test_what_one_target_has_says_nothing_about_another(tmp_path: Path) -> None:
    rows = [observation(t, s) for t in range(3) for s in range(2)]
    with running_emulator(version_ids=["ver_a", "ver_b"]) as emulator:
        importer = Importer(tmp_path, emulator.url)
        for name, version_id in (("a", "ver_a"), ("b", "ver_b")):
            write_jsonl(tmp_path / name / "1.jsonl", rows)
            assert importer.run(tmp_path / name, options=["--version-id", version_id]).code == 0
            assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 3}


def test_what_a_filter_left_out_is_imported_from_another_export(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [observation(t, s) for t in range(3) for s in range(2)]
    write_jsonl(importer.home / "a" / "1.jsonl", rows)
    write_jsonl(importer.home / "b" / "1.jsonl", rows)
    assert importer.run_here(importer.home / "a", source__ids=["t-0"]).summary["outcomes"] == {"created": 1}
    assert importer.run_here(importer.home / "b").summary["outcomes"] == {"created": 2, "skipped": 1}


def test_rejected_traces_can_be_given_again_from_the_rejects(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": "POST /sessions", "when": {"first": 1}, "do": {"status": 413}}])
    write_jsonl(importer.home / "1.jsonl", [observation(1, 0), observation(1, 1)])
    assert importer.run(importer.home / "1.jsonl").code == 3
    rejects = importer.home / "mended.jsonl"
    rejects.write_bytes((importer.last / "rejects.jsonl").read_bytes())
    assert importer.run(rejects, options=["--retry-rejected"]).code == 0
    assert read_summary(importer.last)["outcomes"] == {"created": 1}


def test_a_trace_that_was_imported_before_it_named_its_conversation_is_told(
    importer: Importer, emulator: RunningEmulator
) -> None:
    options = ["--session-per", "conversation"]
    write_jsonl(importer.home / "in" / "1.jsonl", [observation(1, 1, minute=5), observation(2, session_id="c-2")])
    importer.run(importer.home / "in", options=options)
    write_jsonl(
        importer.home / "in" / "2.jsonl",
        [observation(1, minute=5, session_id="c-2"), observation(3, session_id="c-3"), observation(4)],
    )
    told = "1 sessions hold a trace that was imported alone before"
    plan = importer.run(importer.home / "in", options=options, verb="plan")
    done = importer.run(importer.home / "in", options=options)
    for each in (plan, done):
        assert re.search(rf"{told} .*: langfuse:t-1\n", each.out), each.out
    assert check_invariants(emulator, importer.last)["also_alone"] == {"count": 1, "ids": ["langfuse:t-1"]}
    [row] = [row for row in read_manifest(importer.last) if row["conversation_id"] == "c-2"]
    assert (row["outcome"], row["error_kind"]) == ("changed", "updated")
    assert row["error"] == "imported alone before, and still there: langfuse:t-1"
    write_jsonl(importer.home / "in" / "3.jsonl", [observation(5, session_id="c-3")])
    assert told not in importer.run(importer.home / "in", options=options).out


def test_traces_that_are_merged_on_a_later_night_are_told_with_the_way_out(importer: Importer) -> None:
    """They named their conversation all the time: what changed is source.session_per."""
    source = write_jsonl(importer.home / "a.jsonl", [observation(1, session_id="c-1"), observation(2, minute=5)])
    assert importer.run(source).code == 0
    for verb in ("plan", "run"):
        out = importer.run(source, options=["--session-per", "conversation"], verb=verb).out
        assert re.search(r"1 sessions hold a trace .* or session_per was trace\), .* or set session_per back: ", out)


@pytest.mark.parametrize("name", ["0/mended.jsonl", "zz/mended.jsonl"])
def test_a_mended_record_counts_wherever_its_file_lies(
    importer: Importer, emulator: RunningEmulator, name: str
) -> None:
    write_jsonl(importer.home / "in" / "a.jsonl", [observation(1), observation(1, 1, usage_details=["three"])])
    assert importer.run(importer.home / "in").code == 3
    rejects = read_rejects(importer.last)
    assert [reject["stage"] for reject in rejects] == ["assemble", "assemble"]
    rejects[1]["record"]["usage_details"] = {"total": 3}
    done = importer.run(write_jsonl(importer.home / name, rejects))
    assert done.code == 0, done.out
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1}
    assert sent(emulator)["langfuse:t-1"]["metadata"]["tokens"] == {"total": 3}


def test_a_root_that_comes_later_completes_the_session(importer: Importer, emulator: RunningEmulator) -> None:
    night = importer.home / "in"
    write_jsonl(night / "1.jsonl", [observation(1, 1)])
    importer.run(night)
    assert "partial" in sent(emulator)["langfuse:t-1"]["metadata"]
    write_jsonl(night / "2.jsonl", [observation(1, 0)])
    assert importer.run(night).code == 0
    [row] = read_manifest(importer.last)
    assert (row["outcome"], row["error_kind"]) == ("changed", "updated")
    session = sent(emulator)["langfuse:t-1"]
    assert session["context"]["turns"][0]["input"] == "Where is parcel 1?"
    assert "partial" not in session["metadata"]


def test_the_newer_state_wins_in_whatever_run_its_file_is_read(importer: Importer, emulator: RunningEmulator) -> None:
    """Without revisions the later file is the newer, also where the older one is open, and read again after it."""
    night, held = importer.home / "in", {"assembly__settle_minutes": 10}
    old = observation(1, 0, output="old", updated_at=None, end_time=None)
    write_jsonl(night / "1.jsonl", [old, observation(2, minute=30)])
    assert importer.run_here(night, **held).summary["outcomes"] == {"created": 1, "held": 1}
    new = observation(1, 0, output="new", updated_at=None, end_time=None)
    write_jsonl(night / "2.jsonl", [new, observation(3, minute=58)])
    importer.run_here(night, upload__on_change="update", **held)
    importer.run_here(night, upload__on_change="update", **held)
    assert sent(emulator)["langfuse:t-1"]["context"]["turns"][0]["output"] == "new"


def test_a_stopped_run_with_held_traces_goes_on_and_balances(importer: Importer, emulator: RunningEmulator) -> None:
    night = importer.home / "in"
    rows = [observation(t, 0, minute=0) for t in range(40)]
    write_jsonl(night / "1.jsonl", [*rows, observation(99, 0, minute=58)])
    write_jsonl(night / "2.jsonl", [observation(99, 1, minute=58)])
    config = importer.home / "job.yaml"
    config.write_text(
        f"source: {{paths: ['{night}']}}\ntarget: {{version_id: ver_123}}\nassembly: {{settle_minutes: 10}}\n"
        "upload: {max_per_second: 15}\n"
    )
    command = [
        *importer.command("run")[:3],
        "run",
        "--state-dir",
        str(importer.state),
        "--import",
        "session",
        str(config),
    ]
    for stop in (signal.SIGINT, signal.SIGKILL, None):
        process = subprocess.Popen(
            command, env=importer.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if stop is not None:
            count = len(emulator.sessions())
            wait_until(lambda count=count: len(emulator.sessions()) > count + 5)  # type: ignore[misc]
            process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 40, "held": 1}


def test_pieces_behind_rows_that_were_taken_for_whole_are_joined_by_the_next_run(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [make_trace(number, metadata={"plan": "free"}) for number in range(60)]
    piece = observation(1, trace_id="trace-1")
    source = write_jsonl(importer.home / "cat.jsonl", [*rows, piece])
    done = importer.run(source)
    assert (done.code, "run again" in done.out + done.err) == (75, True)
    done = importer.run(source)
    assert done.code == 0, (done.out, done.err)
    summary = check_invariants(emulator, importer.last)
    assert summary["records_read"] == 61
    session = sent(emulator)["langfuse:trace-1"]
    assert session["metadata"]["plan"] == "free"
    [row] = [row for row in read_manifest(importer.last) if row["trace_id"] == "trace-1"]
    assert (row["records"], row["spans"]) == (2, 1)


def test_what_waits_in_files_that_left_the_sources_is_told(importer: Importer, emulator: RunningEmulator) -> None:
    held = {"assembly__settle_minutes": 10}
    write_jsonl(importer.home / "old" / "1.jsonl", [observation(1), observation(2, minute=30)])
    importer.run_here(importer.home / "old", **held)
    write_jsonl(importer.home / "new" / "2.jsonl", [observation(3)])
    told = importer.run_here(importer.home / "new", **held).summary["open_elsewhere"]
    assert told["sessions"] == 1
    assert told["files"][0].endswith("old/1.jsonl")


def test_scratch_of_a_killed_run_is_gone_with_the_next_one(importer: Importer, emulator: RunningEmulator) -> None:
    left = importer.state / "runs" / "killed"
    (left / "spill.scratch").mkdir(parents=True)
    (left / "spill.scratch" / "00").write_text("in the clear")
    (left / "conversations.scratch").write_text("in the clear")
    write_jsonl(importer.home / "1.jsonl", [observation(1)])
    assert importer.run(importer.home / "1.jsonl").code == 0
    assert not list(importer.state.rglob("*.scratch"))


def test_scratch_of_a_killed_run_is_gone_from_an_output_folder_too(
    importer: Importer, emulator: RunningEmulator
) -> None:
    out = importer.home / "out"
    source = write_jsonl(importer.home / "1.jsonl", [chat(number, "c-1") for number in range(9)])
    per = ["--session-per", "conversation"]
    words = importer.command("run", source, options=[*per, "--output-dir", str(out)])
    words[1:3] = [str(KILLED_AT), "return", "Conversations.add", "5"]
    assert importer.execute(words).code == -signal.SIGKILL
    (out / "mine.scratch").write_text("the user's")
    assert len(list(out.glob("*.scratch"))) == 2
    assert importer.run(source, options=[*per, "--output-dir", str(importer.home / "elsewhere")]).code == 0
    assert [path.name for path in out.glob("*.scratch*")] == ["mine.scratch"]


def test_a_filter_of_another_target_leaves_the_index_of_conversations_alone(tmp_path: Path) -> None:
    night, per = tmp_path / "in", {"source__session_per": "conversation"}
    with running_emulator(version_ids=["ver_a", "ver_b"]) as emulator:
        importer = Importer(tmp_path, emulator.url, version_id="ver_a")
        write_jsonl(night / "1.jsonl", [chat(n, "c-1", user_id="bob" if n == 1 else "ann") for n in range(3)])
        importer.run_here(night, **per)
        importer.version_id = "ver_b"
        other = importer.run_here(night, source__where="user_id == 'bob'", **per)
        assert other.summary["outcomes"] == {"created": 1}
        importer.version_id = "ver_a"
        write_jsonl(night / "2.jsonl", [chat(5, "c-1")])
        result = importer.run_here(night, upload__on_change="update", **per)
        [row] = read_manifest(result.folder)
        assert (row["error_kind"], row["turns"]) == ("updated", 4)


def test_a_newer_state_of_a_trace_adds_no_turn_to_its_conversation(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night, per = importer.home / "in", {"source__session_per": "conversation"}
    write_jsonl(night / "1.jsonl", [chat(1, "c-1", updated_at=None, tags=["a"])])
    importer.run_here(night, **per)
    write_jsonl(night / "2.jsonl", [chat(1, "c-1", updated_at=None, tags=["a", "b"])])
    importer.run_here(night, **per)
    assert len(sent(emulator)["langfuse:c-1"]["context"]["turns"]) == 1


def test_a_file_that_moved_out_of_the_sources_still_gives_its_parts(
    importer: Importer, emulator: RunningEmulator
) -> None:
    write_jsonl(importer.home / "old" / "1.jsonl", [observation(1, 0), observation(1, 1)])
    importer.run(importer.home / "old")
    write_jsonl(importer.home / "new" / "2.jsonl", [observation(1, 2)])
    importer.run(importer.home / "new")
    [row] = read_manifest(importer.last)
    assert (row["outcome"], row["error_kind"], row["spans"]) == ("changed", "updated", 3)


def test_the_same_row_again_and_older_states_are_ignored_for_a_reason(
    importer: Importer, emulator: RunningEmulator
) -> None:
    old = observation(1, 0, updated_at="2026-08-22 08:30:00.000000", output="not yet")
    write_jsonl(importer.home / "1.jsonl", [old, observation(1, 0), observation(1, 1), observation(1, 1)])
    done = importer.run(importer.home / "1.jsonl")
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["records_ignored"] == {"same_span_again": 1, "superseded": 1}
    assert sent(emulator)["langfuse:t-1"]["context"]["turns"][0]["output"] == "Parcel 1 is on its way."


def test_a_boundary_row_of_last_nights_window_changes_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    night = importer.home / "in"
    write_jsonl(night / "1.jsonl", [observation(1, 0), observation(1, 1)])
    importer.run(night)
    write_jsonl(night / "2.jsonl", [observation(1, 1)])
    assert importer.run(night).code == 0
    summary = check_invariants(emulator, importer.last)
    assert (summary["outcomes"], summary["records_ignored"]) == ({"skipped": 1}, {})
    assert len(posts(emulator)) == 1
    assert importer.run(night).code == 0
    assert read_manifest(importer.last) == []


def test_a_missing_parent_marks_the_session_as_partial(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "1.jsonl", [observation(1, 1), observation(2)])
    assert importer.run(importer.home / "1.jsonl").code == 0
    check_invariants(emulator, importer.last)
    rows = {row["trace_id"]: row for row in read_manifest(importer.last)}
    assert (rows["t-1"]["outcome"], rows["t-1"]["error_kind"]) == ("created", "partial")
    assert "o-1-0" in rows["t-1"]["error"]
    assert rows["t-2"]["error_kind"] is None
    assert "o-1-0" in sent(emulator)["langfuse:t-1"]["metadata"]["partial"]


def test_a_broken_row_is_rejected_and_the_rest_of_its_trace_is_imported(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [observation(1, 0), observation(1, 1, start_time="yesterday"), observation(2), "not JSON"]
    write_jsonl(importer.home / "1.jsonl", rows)
    done = importer.run(importer.home / "1.jsonl")
    assert done.code == 3, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["records_read"] == 4
    rejects = {(reject["position"], reject["stage"]) for reject in read_rejects(importer.last)}
    assert ("line 4", "read") in rejects
    assert any(position == "line 2" for position, _ in rejects)


def test_young_traces_wait_for_a_later_run(importer: Importer, emulator: RunningEmulator) -> None:
    night = importer.home / "in"
    write_jsonl(night / "1.jsonl", [observation(1, minute=0), observation(2, minute=30)])
    held = {"assembly__settle_minutes": 10}
    first = importer.run_here(night, **held)
    assert first.summary["outcomes"] == {"created": 1, "held": 1}
    assert first.exit_code == 0
    check_invariants(emulator, first.folder)
    write_jsonl(night / "2.jsonl", [observation(2, 1, minute=31), observation(3, minute=58)])
    second = importer.run_here(night, **held)
    assert second.summary["outcomes"] == {"created": 1, "held": 1, "skipped": 1}
    assert sent(emulator).keys() == {"langfuse:t-1", "langfuse:t-2"}
    third = importer.run_here(night, **held)
    assert third.summary["outcomes"] == {"created": 1, "skipped": 1}, "nothing came in: what waited is sent"
    check_invariants(emulator, third.folder)
    fourth = importer.run_here(night, **held)
    assert (fourth.summary["outcomes"], len(posts(emulator))) == ({}, 3)


def test_traces_of_a_conversation_scattered_as_spans_become_one_session(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [observation(t, s, minute=t, session_id="c-1") for t in range(3) for s in range(2)]
    write_jsonl(importer.home / "1.jsonl", shuffled(*rows, observation(7)))
    done = importer.run(importer.home / "1.jsonl", options=["--session-per", "conversation"])
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert (summary["sessions"], summary["traces"], summary["records_read"]) == (2, 4, 7)
    turns = sent(emulator)["langfuse:c-1"]["context"]["turns"]
    assert [turn["input"] for turn in turns] == [f"Where is parcel {n}?" for n in range(3)]


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
def test_a_kill_at_any_moment_loses_and_doubles_nothing(
    importer: Importer, emulator: RunningEmulator, session_per: str
) -> None:
    rows = [observation(t, s, session_id=f"c-{t // 2}") for t in range(400) for s in range(3)]
    rows = shuffled(*rows)
    night = importer.home / "in"
    for number in range(4):
        write_jsonl(night / f"{number}.jsonl", rows[number::4])
    chance = random.Random(5)
    options = ["--session-per", session_per, "--max-per-second", "300"]
    for _ in range(8):
        process = importer.start(night, options=options)
        time.sleep(chance.uniform(0.4, 1.6))
        os.kill(process.pid, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
        process.communicate(timeout=60)
    done = importer.run(night, options=options)
    assert done.code == 0, done.err
    check_invariants(emulator, importer.last)
    assert len(emulator.sessions()) == (400 if session_per == "trace" else 200)
    assert len({session["customId"] for session in emulator.sessions()}) == len(emulator.sessions())
    write_jsonl(night / "4.jsonl", [observation(7, 3, session_id="c-3")])
    done = importer.run(night, options=options)
    assert done.code == 0, done.err
    [changed] = [row for row in read_manifest(importer.last) if row["outcome"] == "changed"]
    assert changed["error_kind"] == "updated"


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
@pytest.mark.parametrize("name", ["0.jsonl", "9.jsonl"])
def test_what_comes_in_after_a_kill_reaches_sessions_that_were_sent_before_it(
    importer: Importer, emulator: RunningEmulator, name: str, session_per: str
) -> None:
    night, options = importer.home / "in", ["--session-per", session_per]
    rows = [observation(t, s, minute=t, session_id=f"c-{t}") for t in range(40) for s in range(2)]
    write_jsonl(night / "5.jsonl", rows)
    process = importer.start(night, options=[*options, "--max-per-second", "10"])
    wait_until(lambda: len(emulator.sessions()) > 5)
    process.kill()
    process.communicate(timeout=30)
    late = [observation(t, 2, minute=t, session_id=f"c-{t}", usage_details={"late": 1}) for t in range(40)]
    write_jsonl(night / name, late)
    done = importer.run(night, options=options)
    assert done.code == 0, done.err
    check_invariants(emulator, importer.last)
    assert len(emulator.sessions()) == 40
    assert all(session["metadata"]["tokens"] == {"late": 1} for session in emulator.sessions())


def test_traces_and_observations_tables_join(importer: Importer, emulator: RunningEmulator) -> None:
    trace = {
        "id": "t-1", "timestamp": "2026-08-22 08:00:00.000000", "name": "joined", "user_id": "u-9", "tags": ["x"],
        "project_id": "p-1", "session_id": None, "input": None, "output": None, "metadata": {"plan": "free"},
    }  # fmt: skip
    write_jsonl(importer.home / "in" / "traces" / "1.jsonl", [trace, trace | {"id": "t-2"}])
    write_jsonl(importer.home / "in" / "observations" / "1.jsonl", [observation(1, 0), observation(1, 1)])
    done = importer.run(importer.home / "in")
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 2}
    session = sent(emulator)["langfuse:t-1"]
    assert session["metadata"]["name"] == "joined"
    assert session["metadata"]["plan"] == "free"
    assert session["context"]["turns"][0]["input"] == "Where is parcel 1?"


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
@pytest.mark.parametrize("name", ["0.jsonl", "9.jsonl"])
def test_rows_of_traces_that_were_read_before_any_observation_came_join_them(
    importer: Importer, emulator: RunningEmulator, name: str, session_per: str
) -> None:
    night = importer.home / "in"
    settings = {"source__session_per": session_per, "upload__on_change": "update"}
    row = make_trace(1, id="t-1", session_id="c-1", tags=["of the row"])
    write_jsonl(night / "1.jsonl", [row])
    importer.run_here(night, **settings)
    write_jsonl(night / name, [observation(1, 0, session_id="c-1"), observation(1, 1, session_id="c-1")])
    result = importer.run_here(night, **settings)
    check_invariants(emulator, result.folder)
    [session] = emulator.sessions()
    assert session["metadata"]["tags"] == ["of the row"]
    [changed] = read_manifest(result.folder)
    assert (changed["error_kind"], changed["spans"]) == ("updated", 2)
    assert importer.run_here(night, **settings).summary["records_read"] == 0


def test_a_limit_counts_whole_traces(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "1.jsonl", shuffled(*[observation(t, s) for t in range(9) for s in range(3)]))
    done = importer.run(importer.home / "1.jsonl", options=["--limit", "4"])
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert (summary["outcomes"], summary["records_ignored"]) == ({"created": 4}, {"limit": 15})
    assert importer.run(importer.home / "1.jsonl").code == 0
    assert len(emulator.sessions()) == 9


def run_and_stop(importer: Importer, emulator: RunningEmulator, source: Path, **settings: Any) -> RunResult:
    """A run that is asked to stop once the server has a session."""
    emulator.set_latency(50)
    before = len(posts(emulator))
    stop = Stop()

    def watch() -> None:
        wait_until(lambda: len(posts(emulator)) > before)
        stop.request()

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = importer.run_here(source, stop=stop, upload__max_at_once=1, **settings)
    watcher.join()
    emulator.set_latency(0)
    return result


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
@pytest.mark.parametrize(("first", "second"), [(4, None), (None, 4), (4, 2)])
def test_a_stopped_run_may_go_on_with_another_limit(
    importer: Importer, emulator: RunningEmulator, first: int | None, second: int | None, session_per: str
) -> None:
    rows = [observation(t, s, session_id=f"c-{t}") for t in range(9) for s in range(2)]
    source = write_jsonl(importer.home / "1.jsonl", rows)
    per = {"source__session_per": session_per}
    stopped = run_and_stop(importer, emulator, source, limit=first, **per)
    assert stopped.exit_code == 75
    check_invariants(emulator, stopped.folder)
    result = importer.run_here(source, limit=second, **per)
    code = 0 if second is None else 75  # what the first process would have sent, and this one may not, is pending
    assert (result.exit_code, result.summary["run_id"]) == (code, stopped.summary["run_id"])
    check_invariants(emulator, result.folder)
    assert importer.run_here(source, **per).exit_code == 0
    assert len(emulator.sessions()) == 9


def test_a_stopped_run_does_not_go_on_with_files_that_another_job_has_done(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night = importer.home / "in"
    for span in range(2):
        write_jsonl(night / f"{span}.jsonl", [observation(trace, span) for trace in range(9)])
    assert run_and_stop(importer, emulator, night).exit_code == 75
    assert importer.run_here(night / "0.jsonl").exit_code == 0
    result = importer.run_here(night)
    assert result.exit_code == 0
    check_invariants(emulator, result.folder)
    assert len(emulator.sessions()) == 9


def test_scratch_files_do_not_stay(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "1.jsonl", [observation(1)])
    importer.run(importer.home / "1.jsonl")
    assert not list(importer.state.rglob("*.scratch"))
    assert Path(importer.last, "manifest.parquet").exists()


def chat(number: int, conversation: str, **fields: Any) -> dict[str, Any]:
    """A whole trace of a conversation."""
    minute = f"2026-08-22 08:{number:02}:00.000000"
    return make_trace(number, session_id=conversation, timestamp=minute, **fields)


def test_a_conversation_that_goes_on_reads_only_the_files_that_hold_it(
    importer: Importer, emulator: RunningEmulator
) -> None:
    night, per = importer.home / "in", ("--session-per", "conversation")
    write_jsonl(night / "1.jsonl", [chat(1, "c-1"), chat(2, "c-2")])
    write_jsonl(night / "2.jsonl", [chat(3, "c-3")])
    assert importer.run(night, options=per).code == 0
    write_jsonl(night / "3.jsonl", [chat(4, "c-1"), chat(5, "c-5")])
    done = importer.run(night, options=per)
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert (summary["outcomes"], summary["records_read"]) == ({"changed": 1, "created": 1}, 2)
    assert [item["state"] for item in summary["sources"]] == ["unchanged", "unchanged", "done"]
    [changed] = [row for row in read_manifest(importer.last) if row["outcome"] == "changed"]
    assert (changed["error_kind"], changed["traces"], changed["turns"], changed["records"]) == ("updated", 2, 2, 1)
    inputs = [turn["input"]["messages"][0]["content"] for turn in sent(emulator)["langfuse:c-1"]["context"]["turns"]]
    assert inputs == ["Where is parcel 1?", "Where is parcel 4?"]
    (night / "1.jsonl").unlink()
    write_jsonl(night / "4.jsonl", [chat(6, "c-1")])
    assert importer.run(night, options=per).code == 4
    [row] = read_manifest(importer.last)
    assert (row["outcome"], row["error_kind"]) == ("changed", "parts_missing")
    assert len(sent(emulator)["langfuse:c-1"]["context"]["turns"]) == 2


def test_a_conversation_of_scattered_traces_goes_on_over_nights(importer: Importer, emulator: RunningEmulator) -> None:
    night, per = importer.home / "in", ("--session-per", "conversation")
    rows = [observation(t, s, minute=t, session_id="c-1") for t in (1, 2) for s in (0, 1)]
    write_jsonl(night / "1.jsonl", [*rows, observation(9, session_id="c-9")])
    assert importer.run(night, options=per).code == 0
    later = [observation(2, 2, minute=2, session_id="c-1"), observation(3, minute=3, session_id="c-1")]
    write_jsonl(night / "2.jsonl", later)
    assert importer.run(night, options=per).code == 0
    summary = check_invariants(emulator, importer.last)
    assert (summary["outcomes"], summary["records_read"]) == ({"changed": 1}, 2)
    [row] = read_manifest(importer.last)
    assert (row["error_kind"], row["turns"], row["spans"]) == ("updated", 3, 6)
    turns = sent(emulator)["langfuse:c-1"]["context"]["turns"]
    assert [turn["input"] for turn in turns] == [f"Where is parcel {n}?" for n in (1, 2, 3)]


def test_one_that_goes_on_without_the_limit_and_is_stopped_at_once_balances(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [observation(trace) for trace in range(6)])
    emulator.set_faults([{"match": "POST /sessions", "do": {"status": 500}}])
    result = importer.run_here(source, limit=2, upload__give_up_after_seconds=1)
    assert check_invariants(emulator, result.folder)["records_ignored"] == {"limit": 4}
    emulator.set_faults([])
    stop = Stop()
    stop.request()
    result = importer.run_here(source, stop=stop)
    summary = check_invariants(emulator, result.folder)
    assert (summary["continued"], summary["exit_code"]) == (True, 75)
    result = importer.run_here(source)
    summary = check_invariants(emulator, result.folder)
    assert (summary["outcomes"], summary["records_ignored"]) == ({"created": 6}, {})
