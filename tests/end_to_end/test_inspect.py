"""`inspect` shows what exports hold; `init` writes a configuration that imports them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Ended, Importer, make_trace, write_jsonl
from tests.invariants import read_summary


def inspect(importer: Importer, *sources: Path, options: tuple[str, ...] = ()) -> Ended:
    return importer.execute([*importer.command("run")[:3], "inspect", *map(str, sources), *options])


def as_json(done: Ended) -> Any:
    return json.loads(done.out)


def test_what_is_there_is_counted_and_shown(importer: Importer) -> None:
    rows = [make_trace(n, session_id="c-1" if n < 3 else None) for n in range(5)]
    source = write_jsonl(importer.home / "a.jsonl", [*rows, "broken"])
    done = inspect(importer, source, options=("--json",))
    assert done.code == 3
    found = as_json(done)
    assert (found["records"], found["traces"], found["conversations"], found["records_rejected"]) == (6, 5, 1, 1)
    assert found["sources"][0]["format"] == "langfuse"
    assert found["sources"][0]["confidence"] >= 0.7
    assert found["fields"] == found["fields"] | {"input": 5, "output": 5, "user_id": 5, "conversation_id": 3}
    assert found["first_moment"] == "2026-08-22T08:00:00.000000Z"
    assert found["example"]["turns"][0]["actualOutput"].startswith("Parcel 0")
    assert any("session_per: conversation" in text for text in found["warnings"])
    assert not (importer.home / ".trace-import").exists(), "nothing is kept"


def test_what_would_not_be_sent_is_named_by_its_path_with_the_rule(importer: Importer) -> None:
    step = {"id": "o", "type": "SPAN", "startTime": "2026-08-22T08:00:00Z", "createdAt": "2026-08-22T09:00:00Z"}
    row = make_trace(1) | {"observations": [step | {"input": {"deep": "only here"}}]}
    found = as_json(inspect(importer, write_jsonl(importer.home / "a.jsonl", [row]), options=("--json",)))
    missing = {item["path"]: (item["values"], item["not_sent"], item["rule"]) for item in found["not_sent"]}
    assert missing["observations[*].createdAt"] == (1, 1, "bookkeeping")
    assert "observations[*].input.deep" not in missing
    assert None not in {rule for _, _, rule in missing.values()}, "nothing is lost"


def test_coverage_tells_where_each_value_goes_and_why_one_does_not(importer: Importer) -> None:
    step = {"id": "o", "type": "SPAN", "startTime": "2026-08-22T08:00:00Z", "createdAt": "2026-08-22T09:00:00Z"}
    rows = [make_trace(n, observations=[step | {"id": f"o-{n}", "name": None}]) for n in range(400)]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    [file] = as_json(inspect(importer, source, options=("--coverage", "--json")))["coverage"]
    assert file["lost"] == {}
    assert file["values"] == sum(file["sent"].values()) + sum(rule["values"] for rule in file["left_out"])
    rules = {rule["rule"]: rule["paths"] for rule in file["left_out"]}
    assert rules["bookkeeping"] == {"observations[*].createdAt": 400, "updated_at": 400}
    assert rules["empty"]["observations[*].name"] == 400
    text = inspect(importer, source, options=("--coverage",)).out
    assert f"{source.name}: {file['values']:,} values; sent: turn " in text
    assert "  bookkeeping 800: when the tool stored or changed the record" in text
    assert "    observations[*].createdAt 400" in text
    assert "LOST" not in text


def test_large_payloads_are_compared_in_seconds(importer: Importer) -> None:
    steps = [{"id": f"o-{n}", "type": "SPAN", "startTime": "2026-08-22T08:00:00Z", "input": n} for n in range(1_000)]
    rows = [make_trace(n, input="x" * 1_000_000, observations=steps) for n in range(6)]
    found = as_json(inspect(importer, write_jsonl(importer.home / "a.jsonl", rows), options=("--json",)))
    assert found["sampled_sessions"] == 6
    assert "observations[*].input" not in {item["path"] for item in found["not_sent"]}


def test_repeated_history_and_offloaded_payloads_are_told(importer: Importer) -> None:
    history = {"messages": [{"role": role, "content": role} for role in ("user", "assistant", "user")]}
    rows = [make_trace(1, input=history), make_trace(2, metadata={"langfuseMedia": "media:17"})]
    found = as_json(inspect(importer, write_jsonl(importer.home / "a.jsonl", rows), options=("--json",)))
    assert any("repeated history" in text for text in found["warnings"])
    assert any("offloaded" in text for text in found["warnings"])


def test_traces_without_words_are_told_and_can_be_left_out(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1), make_trace(2, input=None, output=None)])
    found = as_json(inspect(importer, source, options=("--json",)))
    [said] = [text for text in found["warnings"] if "neither input nor output" in text]
    condition = said.partition('--where "')[2].partition('"')[0]
    assert importer.run(source, options=["--where", condition]).code == 0
    assert [session["customId"] for session in emulator.sessions()] == ["langfuse:trace-1"]


def test_the_text_for_people_has_no_escape_sequences(importer: Importer) -> None:
    rows = [make_trace(1, name="\x1b[31mred", metadata={"\x1b]0;x": "\x07"})]
    done = inspect(importer, write_jsonl(importer.home / "a.jsonl", rows))
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    assert "1 traces" in done.out


def test_an_unknown_format_is_said_with_the_way_out(importer: Importer) -> None:
    done = inspect(importer, write_jsonl(importer.home / "a.jsonl", [{"what": "ever"}]))
    assert done.code == 2
    assert "format not recognised" in done.err


@pytest.mark.parametrize("anchor", [("--version-id", "ver_123"), ("--product-id", "prod_1")])
def test_init_writes_a_configuration_that_runs(
    importer: Importer, emulator: RunningEmulator, anchor: tuple[str, str]
) -> None:
    write_jsonl(importer.home / "in" / "a ü.jsonl", [make_trace(n) for n in range(3)])
    config = importer.home / "job.yaml"
    command = [*importer.command("run")[:3], "init", str(importer.home / "in"), "--output", str(config), *anchor]
    done = importer.execute(command)
    assert done.code == 0, done.err
    assert "format: langfuse" in config.read_text()
    again = importer.execute(command)
    assert (again.code, "is there already" in again.err) == (2, True)
    if anchor[0] == "--version-id":
        ran = importer.execute([*importer.command("run")[:3], "run", str(config)])
        assert ran.code == 0, ran.err
        [folder] = (importer.home / ".trace-import" / "runs").iterdir()
        assert read_summary(folder)["outcomes"] == {"created": 3}


def test_init_without_a_target_says_what_is_missing(importer: Importer) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    config = importer.home / "job.yaml"
    assert importer.execute([*importer.command("run")[:3], "init", str(source), "--output", str(config)]).code == 0
    done = importer.execute([*importer.command("run")[:3], "run", str(config)])
    assert done.code == 2
    assert "version_id" in done.err
