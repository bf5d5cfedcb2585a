"""What the command says: plain words, true ones, and the way out."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, end, make_trace, wait_until, write_jsonl
from tests.invariants import check_invariants, posts

ROOT = Path(__file__).parents[2]

EXTENT = "full"


def test_what_was_in_flight_is_not_said_to_be_unsent(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": "POST /sessions", "do": {"hang": True}}])
    process = importer.start(write_jsonl(importer.home / "a.jsonl", [make_trace(1)]))
    wait_until(lambda: len(posts(emulator)) == 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    done = end(process, signal.SIGINT)
    assert done.code == 130
    assert "1 pending   were read and are not settled" in done.out


def test_a_run_that_goes_on_tells_what_it_read_apart_from_what_it_had_read(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    emulator.set_faults([{"match": "POST /sessions", "do": {"hang": True}}])
    process = importer.start(source)
    wait_until(lambda: len(posts(emulator)) == 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    first = end(process, signal.SIGINT).out
    assert "  1 records read, 0 of them" in first
    assert "Left open: 1 sessions that were read\n" in first
    emulator.set_faults([{"match": "GET /versions/*", "do": {"hang": True}}])
    before = len(emulator.log())
    process = importer.start(source)
    wait_until(lambda: len(emulator.log()) > before)
    second = end(process, signal.SIGINT).out
    assert "  1 records read since the run began, 0 of them" in second
    assert "Left open: 1 sessions that were read, and 1 of 1 files not read to the end this time\n" in second


def test_a_run_that_is_refused_before_it_reads_has_nothing_to_balance(importer: Importer) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    done = importer.run(source, options=["--version-id", "ver_unknown"])
    assert done.code == 5
    assert "alanced" not in done.out.lower()
    assert "Balanced" in importer.run(source).out


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_files_without_a_record_are_named(importer: Importer, verb: str) -> None:
    write_jsonl(importer.home / "in" / "a.jsonl", [make_trace(1)])
    (importer.home / "in" / "empty.jsonl").touch()
    assert "1 file holds no records: empty.jsonl\n" in importer.run(importer.home / "in", verb=verb).out


def test_a_plan_for_an_emulator_does_not_name_another_target(importer: Importer) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    done = importer.run(source, options=["--emulator"], verb="plan")
    assert done.out.startswith("Plan for an emulator; nothing was sent"), done.out


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_ids_that_are_nowhere_are_named(importer: Importer, verb: str) -> None:
    source = write_jsonl(importer.home / "in" / "a.jsonl", [make_trace(1), make_trace(2)])
    (importer.home / "ids.txt").write_text("trace-1\ntrace-l\n")
    options = ["--ids", str(importer.home / "ids.txt")]
    assert "1 of the ids were met nowhere: trace-l\n" in importer.run(source, options=options, verb=verb).out
    if verb == "run":  # a file that is done may have had it
        write_jsonl(importer.home / "in" / "b.jsonl", [make_trace(3)])
        assert "met nowhere" not in importer.run(importer.home / "in", options=options).out


def test_rejects_of_files_with_one_name_are_told_apart(importer: Importer) -> None:
    for name in ("a/x/log.jsonl", "b/x/log.jsonl", "c/other.jsonl"):
        write_jsonl(importer.home / "in" / name, [make_trace(1), "{torn"])
    out = importer.run(importer.home / "in").out
    assert re.findall(r"reject: (\S+) line 2", out) == ["a/x/log.jsonl", "b/x/log.jsonl", "other.jsonl"]


def test_many_rejects_are_told_by_kind_and_by_file(importer: Importer) -> None:
    broken = [make_trace(1), *["{torn"] * 6, make_trace(2, id=None)]
    write_jsonl(importer.home / "in" / "a.jsonl", broken)
    write_jsonl(importer.home / "in" / "b.jsonl", [make_trace(3), *["{torn"] * 15])
    done = importer.run(importer.home / "in")
    kinds, files = re.findall(r"  rejects by (?:error_kind|file): .*", done.out)
    assert re.fullmatch(r"  rejects by error_kind: 21 not_json, 1 \w+", kinds), done.out
    assert files == "  rejects by file: 15 in b.jsonl, 7 in a.jsonl"
    assert "… and 17 more rejects in rejects.jsonl" in done.out
    plan = importer.run(importer.home / "in", verb="plan", options=["--retry-rejected"])
    assert f"{kinds}\n{files}\n" in plan.out, plan.out
    few = importer.run(write_jsonl(importer.home / "d.jsonl", [make_trace(4), "{torn"])).out
    assert "rejects by" not in few


def test_a_sample_is_told_with_its_file(importer: Importer) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_jsonl(importer.home / "in" / name, ["", make_trace(ord(name[0]))])
    out = importer.run(importer.home / "in", verb="plan").out
    assert re.findall(r"Sample \((.*)\):", out) == ["create, a.jsonl line 2", "create, b.jsonl line 2"]


def test_the_first_example_of_the_help_ends_well(importer: Importer) -> None:
    text = importer.execute([sys.executable, "-m", "pipeline", "--help"]).out
    example = next(line.strip() for line in text.splitlines() if line.strip().startswith("trace-import "))
    words = [sys.executable, "-m", "pipeline", *shlex.split(example)[1:], "--state-dir", str(importer.state)]
    done = subprocess.run(words, cwd=ROOT, env=importer.env(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_emulator_on_a_taken_port_ends_as_its_help_says(importer: Importer, emulator: RunningEmulator) -> None:
    command = [sys.executable, "-m", "pipeline", "emulator"]
    done = importer.execute([*command, "--port", emulator.url.rsplit(":", 1)[1]])
    assert "cannot listen on" in done.err
    assert f"{done.code} the address or the data file is in use" in importer.execute([*command, "--help"]).out


def test_a_state_or_output_folder_that_cannot_exist_is_a_usage_error(importer: Importer) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    for option in ("--state-dir", "--output-dir"):
        for folder in ("/proc/x", str(source), f"{source}/x"):
            done = importer.run(source, options=[option, folder])
            assert done.code == 2, (option, folder, done.err)
            assert "name another folder" in done.err


def test_a_closed_pipe_ends_quietly(importer: Importer) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(number, output="x" * 3_000) for number in range(9)])
    command = importer.command("plan", source, options=["--json"])
    with subprocess.Popen(command, env=importer.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait(60) == 141
    assert said == ""
    assert "141" in importer.execute([sys.executable, "-m", "pipeline", "--help"]).out


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            "source: {paths: [a.jsonl]}\nsource: {paths: [b.jsonl]}",
            "c.yaml, line 2: source is given twice, first in line 1",
        ),
        ("source:\n  paths: [a.jsonl]\n  name: a\n  name: b", "c.yaml, line 4: name is given twice, first in line 3"),
        (
            "source: {paths: [a.jsonl]}\ntarget: {version_id: 123}",
            "target.version_id: Input should be a valid string; put",
        ),
        ("source: {paths: [a.jsonl]}\nmapping: {context: 'a['}", "c.yaml: mapping.context: 'a['"),
        ("source: {paths: [a.jsonl], format: langfusee}", "c.yaml: source.format: langfusee is not a format"),
        (
            "source: {paths: [a.jsonl], format: custom}\nmapping: {trace: {ids: a, input: b}}",
            "c.yaml: mapping.trace.ids: unknown key",
        ),
        (
            "source: {paths: [a.jsonl], format: custom}\nmapping: {trace: {id: 'length(', input: b}}",
            "c.yaml: mapping.trace.id: 'length('",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_file_and_key(importer: Importer, config: str, says: str) -> None:
    write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    (importer.home / "c.yaml").write_text(config + "\n")
    command = [*importer.command("plan", options=["--version-id", "v"])[:3], "plan", "--state-dir", str(importer.state)]
    done = importer.execute([*command, str(importer.home / "c.yaml")])
    assert done.code == 2
    assert says in done.err


def test_keys_that_yaml_merges_are_not_given_twice(importer: Importer) -> None:
    write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    config = importer.home / "c.yaml"
    config.write_text(
        "source: &a {paths: [a.jsonl], allow_empty: true}\n"
        "target: {version_id: ver_123}\nupload: {<<: {max_at_once: 3}, max_at_once: 4}\n"
    )
    assert importer.run(options=[str(config)], verb="plan").code == 0


def test_a_source_given_as_the_configuration_is_asked_for(importer: Importer) -> None:
    for rows in ([make_trace(1)], [make_trace(1), make_trace(2)]):
        source = write_jsonl(importer.home / "a.jsonl", rows)
        done = importer.run(options=[str(source)])
        assert done.code == 2
        assert f"did you mean --source {source}?" in done.err
    assert "did you mean --source" in importer.run(options=[str(importer.home)]).err


def test_who_maps_the_file_already_is_not_told_to(importer: Importer, emulator: RunningEmulator) -> None:
    write_jsonl(importer.home / "a.jsonl", [{"q": 1, "at": "yesterday", "m": [{"role": "user"}]}])
    config = importer.home / "c.yaml"
    for trace in ("{input: q, started_at: at}", "{messages: m}", "{input: q, cost: at}"):
        config.write_text(
            "source: {paths: [a.jsonl], format: custom}\ntarget: {version_id: ver_123}\nmapping: {trace: "
            + trace
            + "}\n"
        )
        done = importer.run(options=[str(config)])
        assert done.code == 3
        assert "or the expression in mapping.trace" in done.out
        assert "format: custom" not in done.out
        check_invariants(emulator, importer.last)


def test_an_expression_for_the_id_that_finds_none_imports_nothing(
    importer: Importer, emulator: RunningEmulator
) -> None:
    write_jsonl(importer.home / "a.jsonl", [{"q": 1, "key": "r1"}, {"q": 2, "key": "r2"}])
    config = importer.home / "c.yaml"
    text = "source: {paths: [a.jsonl], format: custom}\ntarget: {version_id: ver_123}\n"
    text += "mapping: {trace: {id: kye, input: q}}"
    config.write_text(text)
    done = importer.run(options=[str(config)])
    assert done.code == 2
    assert "mapping.trace.id (kye) finds nothing in the first 2 records (they have q, key)" in done.err
    assert not posts(emulator)
    config.write_text(text.replace("kye", "key"))
    assert importer.run(options=[str(config)]).code == 0
    check_invariants(emulator, importer.last)


def test_a_preflight_that_waits_says_until_when(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": "GET /versions/ver_123", "when": {"first": 1}, "do": {"status": 503}}])
    done = importer.run(write_jsonl(importer.home / "a.jsonl", [make_trace(1)]))
    assert done.code == 0, done.err
    assert re.search(r"preflight_retried target=http://\S+ attempt=1 wait_seconds=\S+ until=20\S+Z \(upload", done.err)
