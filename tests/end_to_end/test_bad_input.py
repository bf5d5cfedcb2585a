"""Bad input and bad settings: a clear message, the documented exit code, and nothing else is lost."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, make_trace, write_jsonl
from tests.invariants import check_invariants, posts, read_rejects, read_summary

NO_READING = "/proc/self/mem"
"""It can be opened, and not read, whoever tries."""


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            "source: {paths: [a.jsonl]}\ntarget: {version: ver_1}",
            "target.version: unknown key; did you mean version_id?",
        ),
        ("source: {paths: [a.jsonl]}\ntarget: {version_id: v}\nupload: {max_at_once: many}", "upload.max_at_once"),
        ("source: {paths: [a.jsonl]}\ntarget: {version_id: v, base_url: 'http://api.example.com'}", "plain http"),
        ("source: {paths: [a.jsonl]}\ntarget: {version_id: v}\napi_key: gsk_1", "GALTEA_API_KEY"),
        ("source: {paths: [missing.jsonl]}\ntarget: {version_id: v}", "missing.jsonl: there is no such file"),
        ("source: {paths: ['*.none']}\ntarget: {version_id: v}", "no file matches"),
        ("source: {paths: [a.jsonl]}\n\ttarget: x", "line 2"),
        ("source: {paths: [a.jsonl], format: langfusee}\ntarget: {version_id: v}", "langfuse"),
        ("source: {paths: [a.jsonl]}\ntarget: {version_id: v}\nmapping: {context: 'turns['}", "mapping.context"),
    ],
)
def test_a_wrong_configuration_is_exit_2_and_says_where(importer: Importer, config: str, says: str) -> None:
    write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    (importer.home / "c.yaml").write_text(config + "\n")
    command = [*importer.command("run", options=["--version-id", "v"])[:4], "--state-dir", str(importer.state)]
    done = importer.execute([*command, str(importer.home / "c.yaml")])
    assert done.code == 2, done.out + done.err
    assert says in done.err
    assert "Traceback" not in done.err


def test_no_key_no_version(importer: Importer) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    importer.environment = {"GALTEA_API_KEY": ""}
    assert "GALTEA_API_KEY" in importer.run(source).err
    assert importer.run(source).code == 2
    importer.environment = {}
    done = importer.execute([*importer.command("run")[:4], "--state-dir", str(importer.state), "--source", str(source)])
    assert done.code == 2
    assert "--version-id" in done.err


def test_an_empty_file_and_blank_lines_are_no_records(importer: Importer, emulator: RunningEmulator) -> None:
    (importer.home / "in").mkdir()
    (importer.home / "in" / "empty.jsonl").touch()
    (importer.home / "in" / "blank.jsonl").write_text("\n\n  \n")
    done = importer.run(importer.home / "in")
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["records_read"] == 0


def test_a_folder_without_exports_is_fine_only_where_that_is_said(
    importer: Importer, emulator: RunningEmulator
) -> None:
    (importer.home / "in").mkdir()
    assert importer.run(importer.home / "in").code == 2
    config = importer.home / "c.yaml"
    config.write_text("source: {paths: [in], allow_empty: true}\ntarget: {version_id: ver_123}\n")
    assert importer.run(options=[str(config)]).code == 0


def test_a_record_of_40_mb_is_a_reject_with_its_position(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [make_trace(1), make_trace(2, output="x" * 40_000_000), make_trace(3)]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    assert importer.run(source).code == 3
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 2}
    line = read_rejects(importer.last)[0]
    assert (line["position"], line["error_kind"], line["record"]) == ("line 2", "too_long", None)


def _truncated_gzip(path: Path) -> Path:
    lines = "".join(json.dumps(make_trace(number)) + "\n" for number in range(50))
    whole = gzip.compress(lines.encode())
    (path / "a.jsonl.gz").write_bytes(whole[: len(whole) * 3 // 4])
    return path / "a.jsonl.gz"


def _truncated_last_line(path: Path) -> Path:
    text = "".join(json.dumps(make_trace(number)) + "\n" for number in range(20))
    (path / "a.jsonl").write_text(text[:-30])
    return path / "a.jsonl"


@pytest.mark.parametrize("make", [_truncated_gzip, _truncated_last_line])
def test_what_can_be_read_of_a_torn_file_is_read(
    importer: Importer, emulator: RunningEmulator, make: Callable[[Path], Path]
) -> None:
    assert importer.run(make(importer.home)).code == 3
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"]["created"] >= 15
    assert summary["records_rejected"] == 1


def test_an_unrecognised_file_is_rejected_and_the_others_are_imported(
    importer: Importer, emulator: RunningEmulator
) -> None:
    write_jsonl(importer.home / "in" / "good.jsonl", [make_trace(1)])
    write_jsonl(importer.home / "in" / "odd.jsonl", [{"temperature": 21}, {"temperature": 22}])
    assert importer.run(importer.home / "in").code == 3
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1}
    assert {line["error_kind"] for line in read_rejects(importer.last)} == {"unknown_format"}
    alone = Importer(importer.home / "elsewhere", emulator.url).run(importer.home / "in" / "odd.jsonl")
    assert alone.code == 2
    assert "format not recognised" in alone.err
    assert len(posts(emulator)) == 1


@pytest.mark.parametrize(
    "make", [lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0"), lambda path: path.symlink_to(NO_READING)]
)
def test_a_file_that_is_no_export_stops_only_a_run_that_has_no_other(
    importer: Importer, emulator: RunningEmulator, make: Callable[[Path], object]
) -> None:
    write_jsonl(importer.home / "in" / "good.jsonl", [make_trace(1)])
    make(importer.home / "in" / "odd.json")
    for verb in ("plan", "run"):
        alone = importer.run(importer.home / "in" / "odd.json", verb=verb)
        assert (alone.code, "odd.json: " in alone.err) == (2, True), alone.out + alone.err
        assert importer.run(importer.home / "in", verb=verb).code == 3
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1}


@pytest.mark.parametrize("name", ["bad.jsonl", "bad.tar"])
@pytest.mark.parametrize("session_per", ["trace", "conversation"])
def test_a_file_that_cannot_be_read_is_a_reject_until_it_can(
    importer: Importer, emulator: RunningEmulator, name: str, session_per: str
) -> None:
    write_jsonl(importer.home / "in" / "a.jsonl", [make_trace(1)])
    write_jsonl(importer.home / "in" / "c.jsonl", [make_trace(2)])
    bad = importer.home / "in" / name
    bad.symlink_to(NO_READING)
    options = ["--session-per", session_per]
    done = importer.run(importer.home / "in", options=options)
    assert done.code == 3, done.out + done.err
    assert f"reject: {name} file: cannot be read (Input/output error); mend that, and the next run reads it" in done.out
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 2}
    (line,) = read_rejects(importer.last)
    assert (line["stage"], line["error_kind"], line["source"]) == ("read", "unreadable", str(bad))
    assert importer.run(importer.home / "in", options=options).code == 3  # night after night: who knows what it holds?
    states = {Path(one["source"]).name: one["state"] for one in read_summary(importer.last)["sources"]}
    assert states == {"a.jsonl": "unchanged", name: "read", "c.jsonl": "unchanged"}
    bad.unlink()
    write_jsonl(bad, [make_trace(3)])
    if name == "bad.jsonl":
        assert importer.run(importer.home / "in", options=options).code == 0
        assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1}


def test_a_link_that_leads_nowhere_is_told_as_one(importer: Importer) -> None:
    (importer.home / "a.jsonl").symlink_to("gone.jsonl")
    done = importer.run(importer.home / "a.jsonl")
    assert (done.code, "a.jsonl: this link leads nowhere (to gone.jsonl)" in done.err) == (2, True), done.err


def test_text_from_input_cannot_command_the_terminal(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(
        importer.home / "a.jsonl", [make_trace(1), make_trace(2, id="\x1b[31mred", timestamp="\x1b[2J")]
    )
    done = importer.run(source)
    plan = importer.run(source, verb="plan")
    assert "\x1b" not in done.out + done.err + plan.out + plan.err
    assert check_invariants(emulator, importer.last)["balanced"]


def test_ids_that_no_url_likes_are_found_again(importer: Importer, emulator: RunningEmulator) -> None:
    ids = ["a&b=c", "50%", "with space", "日本語", "x" * 300, " outer blanks ", "tab\there", "plus+sign", "a#b?c/d"]
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number, id=name) for number, name in enumerate(ids)])
    emulator.set_faults([{"match": "POST /sessions", "do": {"reset_after_commit": True}, "when": {"first": 9}}])
    done = importer.run(source)
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": len(ids)}


def test_in_a_folder_names_choose_and_what_they_leave_out_is_told(
    importer: Importer, emulator: RunningEmulator
) -> None:
    folder = importer.home / "in"
    write_jsonl(folder / "a.jsonl", [make_trace(1)])
    (folder / "b.bz2").write_bytes(bz2.compress(json.dumps(make_trace(2)).encode() + b"\n"))
    write_jsonl(folder / "c.log", [make_trace(3)])
    write_jsonl(folder / ".hidden" / "d.jsonl", [make_trace(4)])
    plan = json.loads(importer.run(folder, options=["--json"], verb="plan").out)
    assert importer.run(folder).code == 0
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 2}
    assert summary["left_out"] == plan["left_out"] == {"count": 1, "files": [str(folder / "c.log")]}
    assert importer.run(folder / "c.log").code == 0  # a file that is named is read


@pytest.mark.parametrize("pattern", ["in", "in/**/*.jsonl"])
@pytest.mark.parametrize("output", ["in/out", "in"])
def test_a_run_never_reads_what_runs_wrote(
    importer: Importer, emulator: RunningEmulator, pattern: str, output: str
) -> None:
    write_jsonl(importer.home / "in" / "a.jsonl", [*map(make_trace, range(9)), {"broken": True}])
    config = importer.home / "c.yaml"
    config.write_text(
        f"source: {{paths: ['{pattern}']}}\ntarget: {{version_id: ver_123}}\nupload: {{max_rejected: 1}}\n"
        f"state_dir: in/state\noutput_dir: {output}\n"
    )
    command = [*importer.command("run", options=["--version-id", "ver_123"])[:3], "run", str(config)]
    for records in (10, 0):
        done = importer.execute(command)
        assert done.code == 0, done.out + done.err
        summary = read_summary(importer.home / output)
        assert summary["records_read"] == records
        assert [source["source"] for source in summary["sources"]] == [str(importer.home / "in" / "a.jsonl")]
        assert summary["left_out"]["count"] == 0
    done = importer.execute([*command, "--source", str(importer.home / output / "rejects.jsonl")])
    assert done.code in (0, 3), done.err  # a file of ours that is named is read


def test_sources_inside_the_state_dir_are_read_and_our_own_files_beside_them_are_not(
    importer: Importer, emulator: RunningEmulator
) -> None:
    write_jsonl(importer.state / "a.jsonl", [make_trace(1)])
    for _ in range(2):
        assert importer.run(importer.state).code == 0
    assert [Path(source["source"]).name for source in read_summary(importer.last)["sources"]] == ["a.jsonl"]


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
def test_an_unrecognised_file_on_a_later_night_is_rejected(
    importer: Importer, emulator: RunningEmulator, session_per: str
) -> None:
    write_jsonl(importer.home / "in" / "good.jsonl", [make_trace(1)])
    options = ["--session-per", session_per]
    assert importer.run(importer.home / "in", options=options).code == 0
    write_jsonl(importer.home / "in" / "odd.jsonl", [{"temperature": 21}])
    plan = importer.run(importer.home / "in", options=options, verb="plan")
    done = importer.run(importer.home / "in", options=options)
    assert plan.code == done.code == 3, done.out + done.err
    check_invariants(emulator, importer.last)
    assert {line["error_kind"] for line in read_rejects(importer.last)} == {"unknown_format"}


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_a_usage_error(importer: Importer, path: str) -> None:
    done = importer.run(options=["--source", path])
    assert (done.code, "empty path" in done.err) == (2, True)
    config = importer.home / "c.yaml"
    config.write_text(f"source: {{paths: ['{path}']}}\ntarget: {{version_id: ver_123}}\n")
    done = importer.run(options=[str(config)])
    assert (done.code, "c.yaml: source.paths: empty path" in done.err) == (2, True)


def test_a_format_that_is_given_and_does_not_fit_is_told(importer: Importer) -> None:
    """Rows of one tool may pass for another's, without what was said in them."""
    run = {
        "id": "r-1",
        "trace_id": "r-1",
        "name": "chain",
        "run_type": "chain",
        "dotted_order": "20260822T080000000000Zr-1",
    }
    run |= {"start_time": "2026-08-22T08:00:00", "end_time": "2026-08-22T08:00:01"}
    run |= {"inputs": {"question": "Where is it?"}, "outputs": {"answer": "On its way."}, "session_name": "shop"}
    source = write_jsonl(importer.home / "a.jsonl", [run])
    told = importer.run(source, verb="plan", options=["--format", "langfuse"])
    assert "a.jsonl looks like langsmith" in told.err
    assert "looks like" not in importer.run(source, verb="plan", options=["--format", "langsmith"]).err
