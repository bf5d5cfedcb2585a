"""The main job: files in, sessions created, every record accounted for, and nothing sent twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline import Config, load_config, run_import
from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, make_trace, write_jsonl
from tests.invariants import check_invariants, posts, read_manifest, read_rejects, read_summary


def test_every_trace_becomes_a_non_production_session(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(20)])
    done = importer.run(source)
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 20}
    session = emulator.sessions()[0]
    assert session["customId"] == "langfuse:trace-0"
    assert session["versionId"] == "ver_123"
    assert session["isProduction"] is False
    assert session["status"] == "COMPLETED"
    assert session["context"]["turns"][0]["output"] == {"role": "assistant", "content": "Parcel 0 is on its way. 📦"}
    assert session["metadata"]["trace_id"] == "trace-0"
    assert session["metadata"]["user_id"] == "user-1"
    assert session["metadata"]["number"] == 0
    assert set(session["metadata"]["trace_import"]) == {"ledger", "sha256", "version"}


def test_no_test_case_id_is_ever_sent(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1, testCaseId="tc_1")])
    assert importer.run(source).code == 0
    assert emulator.sessions()[0]["testCaseId"] is None


def test_a_second_run_sends_nothing_and_does_not_read_done_files(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(5)])
    importer.run(source)
    done = importer.run(source)
    assert done.code == 0
    assert len(posts(emulator)) == 5
    summary = check_invariants(emulator, importer.last)
    assert summary["records_read"] == 0
    assert [item["state"] for item in summary["sources"]] == ["unchanged"]
    assert "not read again" in done.out


def test_a_file_that_grew_is_read_again_and_only_the_new_is_sent(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(5)])
    importer.run(source)
    write_jsonl(source, [make_trace(number) for number in range(8)])
    assert importer.run(source).code == 0
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 3, "skipped": 5}
    assert len(posts(emulator)) == 8


def test_what_is_settled_on_one_target_says_nothing_about_another(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(5)])
    assert importer.run(source).code == 0
    with running_emulator() as second:
        importer.base_url = second.url
        assert importer.run(source).code == 0
        assert check_invariants(second, importer.last)["outcomes"] == {"created": 5}
    importer.base_url = emulator.url
    importer.run(source)
    assert len(posts(emulator)) == 5


def test_two_versions_are_two_targets(tmp_path: Path) -> None:
    with running_emulator(version_ids=["ver_a", "ver_b"]) as emulator:
        importer = Importer(tmp_path, emulator.url)
        source = write_jsonl(tmp_path / "a.jsonl", [make_trace(1)])
        for version_id in ("ver_a", "ver_b", "ver_a"):
            assert importer.run(source, options=["--version-id", version_id]).code == 0
        assert [session["versionId"] for session in emulator.sessions()] == ["ver_a", "ver_b"]


def test_a_product_is_resolved_once_and_sessions_name_the_version(tmp_path: Path) -> None:
    with running_emulator(product_ids=["prod_a"]) as emulator:
        importer = Importer(tmp_path, emulator.url)
        source = write_jsonl(tmp_path / "a.jsonl", [make_trace(number) for number in range(10)])
        assert importer.run(source, options=["--product-id", "prod_a"]).code == 0
        versions = [line for line in emulator.log() if line["path"].startswith("/versions")]
        assert len(versions) == 2  # the second one: whether the first one was all
        assert {session["versionId"] for session in emulator.sessions()} != {None}


def test_a_product_without_version_is_a_usage_error(tmp_path: Path) -> None:
    with running_emulator(product_ids=["prod_a"], product_without_version=True) as emulator:
        importer = Importer(tmp_path, emulator.url)
        source = write_jsonl(tmp_path / "a.jsonl", [make_trace(1)])
        done = importer.run(source, options=["--product-id", "prod_a"])
        assert done.code == 2
        assert "prod_a has no version" in done.err
        assert posts(emulator) == []


def test_bad_records_go_to_the_rejects_and_the_rest_is_imported(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [
        make_trace(1),
        '{"id": "torn", "timest',
        "[1, 2]",
        {key: value for key, value in make_trace(2).items() if key != "id"},
        json.dumps(make_trace(3, metadata={"score": float("nan")})),
        json.dumps(make_trace(4, name="lone \ud83d surrogate")),
        json.dumps(make_trace(5, name="a NUL \0 here")),
        make_trace(6, metadata={"big": 2**60 + 1}),
    ]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    done = importer.run(source)
    assert done.code == 3
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 5}
    assert summary["records_repaired"] >= 3
    rejects = read_rejects(importer.last)
    assert [(line["position"], line["stage"]) for line in rejects] == [
        ("line 2", "read"),
        ("line 3", "map"),
        ("line 4", "map"),
    ]
    by_id = {session["customId"]: session for session in emulator.sessions()}
    assert by_id["langfuse:trace-3"]["metadata"]["score"] is None
    assert by_id["langfuse:trace-3"]["metadata"]["repaired"] == {"nan_to_null": 1}
    assert by_id["langfuse:trace-4"]["metadata"]["name"] == "lone \ufffd surrogate"
    assert by_id["langfuse:trace-5"]["metadata"]["name"] == "a NUL \ufffd here"
    assert by_id["langfuse:trace-6"]["metadata"]["big"] == str(2**60 + 1)


def test_the_rejects_file_is_a_source_as_it_is(importer: Importer, emulator: RunningEmulator) -> None:
    script = [{"match": "POST /sessions", "when": {"custom_id": "langfuse:trace-1"}, "do": {"status": 422}}]
    emulator.set_faults(script)
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(0), make_trace(1)])
    assert importer.run(source).code == 3
    check_invariants(emulator, importer.last)
    rejects = importer.last / "rejects.jsonl"
    assert [line["stage"] for line in read_rejects(importer.last)] == ["upload"]
    emulator.set_faults([])
    assert importer.run(rejects, options=["--retry-rejected"]).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1}


def test_a_rejected_session_is_not_sent_again_nor_counted_again(importer: Importer, emulator: RunningEmulator) -> None:
    script = [{"match": "POST /sessions", "when": {"custom_id": "langfuse:trace-1"}, "do": {"status": 422}}]
    emulator.set_faults(script)
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(0), make_trace(1)])
    importer.run(source)
    sent = len(posts(emulator))
    write_jsonl(source, [make_trace(0), make_trace(1), make_trace(2)])
    done = importer.run(source)
    assert done.code == 0
    assert len(posts(emulator)) == sent + 1
    row = next(row for row in read_manifest(importer.last) if row["outcome"] == "rejected")
    assert row["attempts"] == 0


def test_what_could_not_be_read_in_a_growing_file_is_not_counted_again(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = ['{"torn', [1, 2], *(make_trace(number) for number in range(5))]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    assert importer.run(source).code == 3
    write_jsonl(source, [*rows, make_trace(5)])
    assert importer.run(source).code == 0
    assert check_invariants(emulator, importer.last)["records_rejected"] == 2
    assert importer.run(source, options=["--retry-rejected"]).code == 3
    write_jsonl(source, ['{"torn in another way', *rows[1:], make_trace(5)])
    assert importer.run(source).code == 3
    assert check_invariants(emulator, importer.last)["records_rejected"] == 2


def test_duplicates_conflicts_and_newer_versions_in_one_input(importer: Importer, emulator: RunningEmulator) -> None:
    older = make_trace(3, output="old", updated_at="2026-08-22 08:00:02.000000")
    newer = make_trace(3, output="new", updated_at="2026-08-22 09:00:00.000000")
    rows = [
        make_trace(1),
        make_trace(1),
        make_trace(2, updated_at=None),
        make_trace(2, updated_at=None, output="something else"),
        older,
        newer,
        make_trace(3, output="middle", updated_at="2026-08-22 08:30:00.000000"),
    ]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    done = importer.run(source)
    assert done.code == 4
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"conflict": 1, "created": 3, "duplicate": 1}
    assert summary["records_ignored"] == {"superseded": 2}
    assert "  conflict: a.jsonl line 4: langfuse:trace-2" in done.out
    assert "more rejects than allowed" not in done.out
    stored = next(item for item in emulator.sessions() if item["customId"] == "langfuse:trace-3")
    assert stored["context"]["turns"][0]["output"] == "new"


def test_conflicts_do_not_hide_that_there_are_too_many_rejects(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [make_trace(1, updated_at=None), make_trace(1, updated_at=None, output="else"), "{", "{"]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    done = importer.run(source, options=["--max-rejected", "1"])
    assert done.code == 4
    summary = check_invariants(emulator, importer.last)
    assert (summary["new_rejects"], summary["max_rejected"]) == (2, 1)
    assert "There are also more rejects than allowed (2, with max_rejected 1): see rejects.jsonl" in done.out
    assert {line["format"] for line in read_rejects(importer.last)} == {"langfuse"}
    again = importer.run(source, options=["--max-rejected", "2"])
    assert again.code == 4
    assert "more rejects than allowed" not in again.out


def test_a_trace_that_only_grew_is_updated_and_one_that_changed_is_reported(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1, output=None), make_trace(2)])
    importer.run(source)
    write_jsonl(source, [make_trace(1), make_trace(2, output="rewritten")])
    assert importer.run(source).code == 0
    check_invariants(emulator, importer.last)
    rows = {row["custom_id"]: row for row in read_manifest(importer.last)}
    assert (rows["langfuse:trace-1"]["outcome"], rows["langfuse:trace-1"]["error_kind"]) == ("changed", "updated")
    assert (rows["langfuse:trace-2"]["outcome"], rows["langfuse:trace-2"]["error_kind"]) == ("changed", "reported")
    stored = {session["customId"]: session for session in emulator.sessions()}
    assert stored["langfuse:trace-1"]["context"]["turns"][0]["output"] is not None
    assert stored["langfuse:trace-2"]["context"]["turns"][0]["output"] != "rewritten"


def test_another_mapping_of_the_same_trace_is_left_alone(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    config = importer.home / "config.yaml"
    config.write_text("source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123}\n")
    assert importer.run(options=[str(config)]).code == 0
    config.write_text(config.read_text() + "mapping: {metadata: {team: \"'search'\"}}\n")
    assert importer.run(options=[str(config)]).code == 0
    row = read_manifest(importer.last)[0]
    assert (row["outcome"], row["error_kind"]) == ("skipped", "mapping_changed")
    assert len(posts(emulator)) == 1


def test_what_differs_and_was_not_sent_is_told_with_the_way_out_and_on_later_nights(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(3)])
    importer.run(source)
    write_jsonl(source, [make_trace(0), make_trace(1, output="rewritten"), make_trace(2, output="rewritten")])
    done = importer.run(source)
    assert done.code == 0
    assert "2 of them differ and were NOT sent: --on-change update sends them" in done.out
    assert check_invariants(emulator, importer.last)["details"] == {"changed": {"reported": 2}}
    later = importer.run(source)
    assert "2 sessions of them differ on the server" in later.out
    assert read_summary(importer.last)["differing_before"] == 2
    assert later.code == 0


def test_on_change_update_sends_what_done_files_hold_back(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    importer.run(source)
    write_jsonl(source, [make_trace(1, output="rewritten")])
    importer.run(source)
    config = importer.home / "c.yaml"
    config.write_text("source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123}\nupload: {on_change: update}\n")
    assert importer.run(options=[str(config)]).code == 0
    assert check_invariants(emulator, importer.last)["details"] == {"changed": {"updated": 1}}
    assert emulator.sessions()[0]["context"]["turns"][0]["output"] == "rewritten"
    assert "not read again" in importer.run(options=[str(config)]).out
    assert read_summary(importer.last)["differing_before"] == 0


def test_a_session_of_somebody_else_with_another_content_is_told_on_later_nights(
    importer: Importer, emulator: RunningEmulator
) -> None:
    other = Importer(importer.home / "other", emulator.url)
    other.run(write_jsonl(importer.home / "theirs.jsonl", [make_trace(1, output="theirs")]))
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    done = importer.run(source)
    assert done.code == 0
    assert "1 of them differ on the server" in done.out
    assert check_invariants(emulator, importer.last)["details"] == {"existing": {"other_payload": 1}}
    config = importer.home / "c.yaml"
    config.write_text("source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123}\nupload: {on_change: update}\n")
    assert "1 sessions of them differ" in importer.run(options=[str(config)]).out  # no update can send these


def test_records_with_a_text_that_was_cut_are_counted_as_repaired(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [make_trace(1), make_trace(2, output="x" * 5_000), make_trace(3, metadata={"big": 2**60})]
    write_jsonl(importer.home / "a.jsonl", rows)
    config = importer.home / "c.yaml"
    config.write_text("source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123}\nmapping: {max_value_bytes: 1024}\n")
    for session_per in ("trace", "conversation"):
        done = importer.run(options=[str(config), "--session-per", session_per])
        assert done.code == 0
        assert "2 records had values replaced or cut" in done.out
        assert check_invariants(emulator, importer.last)["records_repaired"] == 2


def test_a_conversation_with_a_text_that_was_cut_is_counted_once(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [make_trace(number, session_id="talk", output="x" * 5_000) for number in range(3)]
    write_jsonl(importer.home / "a.jsonl", rows)
    config = importer.home / "c.yaml"
    config.write_text(
        "source: {paths: [a.jsonl], session_per: conversation}\ntarget: {version_id: ver_123}\n"
        "mapping: {max_value_bytes: 1024}\n"
    )
    importer.run(options=[str(config)])
    assert check_invariants(emulator, importer.last)["records_repaired"] == 1


def test_plan_foretells_the_run_and_sends_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(5)])
    importer.run(source, options=["--limit", "2"])
    before = len(emulator.log())
    done = importer.run(source, options=["--json"], verb="plan")
    plan = json.loads(done.out)
    assert len(emulator.log()) == before
    assert plan["outcomes"] == {"planned": 3, "skipped": 2}
    assert plan["sends"] == {"create": 3}
    assert plan["samples"][0]["body"]["isProduction"] is False
    importer.run(source)
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 3, "skipped": 2}


def test_a_conversation_becomes_one_session_in_start_order(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [
        make_trace(number, session_id=f"talk-{number % 2}", timestamp=f"2026-08-22 08:0{9 - number}:00.000000")
        for number in range(6)
    ]
    write_jsonl(importer.home / "in" / "a.jsonl", rows[:3])
    write_jsonl(importer.home / "in" / "b.jsonl", [*rows[3:], make_trace(7)])
    done = importer.run(importer.home / "in", options=["--session-per", "conversation"])
    assert done.code == 0, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 3}
    assert summary["records_read"] == 7
    stored = {session["customId"]: session for session in emulator.sessions()}
    assert set(stored) == {"langfuse:talk-0", "langfuse:talk-1", "langfuse:trace-7"}
    outputs = [turn["output"]["content"] for turn in stored["langfuse:talk-0"]["context"]["turns"]]
    assert [text.split()[1] for text in outputs] == ["4", "2", "0"]


def test_a_conversation_that_goes_on_the_next_night_is_updated(importer: Importer, emulator: RunningEmulator) -> None:
    def trace(number: int) -> dict[str, object]:
        return make_trace(number, session_id="talk", timestamp=f"2026-08-22 08:0{number}:00.000000")

    write_jsonl(importer.home / "in" / "a.jsonl", [trace(1), trace(2)])
    importer.run(importer.home / "in", options=["--session-per", "conversation"])
    write_jsonl(importer.home / "in" / "b.jsonl", [trace(3)])
    assert importer.run(importer.home / "in", options=["--session-per", "conversation"]).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"changed": 1}
    assert len(emulator.sessions()[0]["context"]["turns"]) == 3


def test_records_without_an_id_keep_theirs_over_the_nights(importer: Importer, emulator: RunningEmulator) -> None:
    def chat(text: str) -> dict[str, object]:
        return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]}

    write_jsonl(importer.home / "in" / "a.jsonl", [chat("ping"), chat("ping"), chat("pong")])
    write_jsonl(importer.home / "in" / "b.jsonl", [chat("ping")])
    assert importer.run(importer.home / "in").code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 4}
    write_jsonl(importer.home / "in" / "b.jsonl", [chat("ping"), chat("ping")])
    assert importer.run(importer.home / "in").code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1, "skipped": 1}
    assert len(emulator.sessions()) == 5


def test_the_manifest_is_a_data_frame_in_python(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    overrides = {
        "source.paths": [str(source)],
        "target.version_id": "ver_123",
        "target.base_url": emulator.url,
        "state_dir": importer.state,
    }
    result = run_import(load_config(overrides=overrides, environ={"GALTEA_API_KEY": "gsk_x"}))
    frame = result.manifest()
    assert isinstance(frame, pd.DataFrame)
    assert frame.loc[0, "outcome"] == "created"
    assert read_summary(result.folder) == result.summary


async def _inside_a_loop(config: Config) -> int:
    return run_import(config).exit_code


def test_run_import_works_inside_a_running_loop(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    overrides = {
        "source.paths": [str(source)],
        "target.version_id": "ver_123",
        "target.base_url": emulator.url,
        "state_dir": importer.state,
    }
    config = load_config(overrides=overrides, environ={"GALTEA_API_KEY": "gsk_x"})
    assert asyncio.run(_inside_a_loop(config)) == 0


def test_an_output_folder_of_the_user_is_never_removed(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    out = importer.home / "out"
    out.mkdir()
    (out / "precious.txt").touch()
    config = importer.home / "c.yaml"
    config.write_text("source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123}\noutput_dir: out\nkeep_runs: 1\n")
    for _ in range(3):
        assert importer.run(options=[str(config)]).code == 0
    assert (out / "precious.txt").exists()
    assert (out / "summary.json").exists()


def test_old_runs_are_pruned_and_their_sessions_stay_known(importer: Importer, emulator: RunningEmulator) -> None:
    config = importer.home / "c.yaml"
    config.write_text("source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123}\nkeep_runs: 2\n")
    for count in range(1, 6):
        write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(count)])
        assert importer.run(options=[str(config)]).code == 0
    assert len(importer.runs) == 2
    assert len(posts(emulator)) == 5


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
def test_what_a_limit_leaves_out_is_imported_without_it(
    importer: Importer, emulator: RunningEmulator, session_per: str
) -> None:
    rows = [make_trace(number, session_id=f"talk-{number}") for number in range(6)]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    options = ["--session-per", session_per]
    assert importer.run(source, options=[*options, "--limit", "2"]).code == 0
    check_invariants(emulator, importer.last)
    assert importer.run(source, options=options).code == 0
    check_invariants(emulator, importer.last)
    assert len(emulator.sessions()) == 6


def test_a_newer_state_in_a_grown_file_is_only_reported_where_that_is_said(
    importer: Importer, emulator: RunningEmulator
) -> None:
    first = make_trace(1)
    later = make_trace(1, output="OTHER", updated_at="2026-09-01 00:00:00.000000")
    write_jsonl(importer.home / "a.jsonl", [first])
    config = importer.home / "c.yaml"
    config.write_text("source: {paths: [a.jsonl]}\ntarget: {version_id: ver_123}\nupload: {on_change: report}\n")
    importer.run(options=[str(config)])
    write_jsonl(importer.home / "a.jsonl", [first, later])
    assert importer.run(options=[str(config)]).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"changed": 1}
    assert emulator.sessions()[0]["context"]["turns"][0]["output"] != "OTHER"


def test_a_reject_that_a_newer_state_supersedes_is_no_reject(importer: Importer, emulator: RunningEmulator) -> None:
    rule = {"match": "POST /sessions", "when": {"custom_id": "langfuse:trace-0", "first": 1}, "do": {"status": 422}}
    emulator.set_faults([rule])
    rows = [make_trace(number) for number in range(1_200)]
    rows.append(make_trace(0, output="newer", updated_at="2026-09-01 00:00:00.000000"))
    assert importer.run(write_jsonl(importer.home / "a.jsonl", rows)).code == 0
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 1_200}
    assert read_rejects(importer.last) == []
