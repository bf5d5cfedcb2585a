"""A conversation that is too long for memory is imported as one that is not: the same requests, the same texts."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import load_config, plan_import
from pipeline.assembly import conversations
from pipeline.emulator import RunningEmulator
from pipeline.mappers import session
from tests.end_to_end.conftest import Importer, write_jsonl
from tests.end_to_end.test_turns import QUICK, dialogue, said, talk
from tests.invariants import check_invariants, check_no_turn_is_doubled

EXTENT = "full"
BATCHES = QUICK | {"upload__turns": "batch", "upload__max_at_once": 1}
TURNS = 3_000


@pytest.fixture
def emulator(shared_emulator: RunningEmulator) -> RunningEmulator:
    shared_emulator.set_faults([])
    shared_emulator.reset()
    return shared_emulator


@pytest.fixture
def everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "LONGEST_IN_MEMORY", 0)


def turn(number: int) -> dict[str, Any]:
    """One a second."""
    at = f"2026-08-22 {number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000"
    row = talk(0, number, timestamp=at)
    for step in row["observations"]:
        step["startTime"] = step["endTime"] = at
    return row


def requests(emulator: RunningEmulator, first: int = 0) -> list[tuple[str, str, int]]:
    """Method, route and length of each."""
    return [
        (line["method"], line["path"].split("?")[0].split("session_")[0], line["bytes"]) for line in emulator.log(first)
    ]


def stored(emulator: RunningEmulator) -> list[Any]:
    """What the server holds, without what it gives itself."""
    own = {"id", "sessionId", "inferenceResultId", "parentTraceId", "createdAt", "updatedAt", "activeAt"}

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(item) for key, item in value.items() if key not in own and key != "ledger"}
        return [without(item) for item in value] if isinstance(value, list) else value

    found: list[Any] = without(emulator.sessions(with_turns=True))
    return found


def test_the_requests_are_the_same_as_of_one_in_memory(
    importer: Importer, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [turn(number) for number in range(TURNS)])
    seen = []
    for longest in (1 << 40, 0):
        monkeypatch.setattr(conversations, "LONGEST_IN_MEMORY", longest)
        emulator.reset()
        one = Importer(importer.home / f"state-{longest}", importer.base_url, extent=EXTENT)
        result = one.run_here(source, **BATCHES)
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1}
        seen.append((requests(emulator), stored(emulator)))
    assert seen[0] == seen[1]
    assert said(emulator, "langfuse:talk-0") == dialogue(0, TURNS)


@pytest.mark.usefixtures("everything_is_long")
def test_over_the_nights_it_gets_what_is_new_and_a_plan_foretells_it(
    importer: Importer, emulator: RunningEmulator
) -> None:
    for night, count in enumerate((130, 1, 0, 70)):
        first = (0, 130, 131, 131)[night]
        write_jsonl(importer.home / "in" / f"{night}.jsonl", [turn(number) for number in range(first, first + count)])
        overrides = {name.replace("__", "."): value for name, value in BATCHES.items()}
        overrides |= {"source.paths": [str(importer.home / "in")], "target.version_id": "ver_123"}
        overrides |= {"target.base_url": importer.base_url, "state_dir": importer.state}
        foretold = plan_import(load_config(overrides=overrides, environ={})).summary["requests"]
        before = len(emulator.log())
        importer.run_here(importer.home / "in", **BATCHES)
        assert len(emulator.log()) - before == foretold
        assert said(emulator, "langfuse:talk-0") == dialogue(0, first + count)
    check_no_turn_is_doubled(emulator.sessions(with_turns=True)[0])


@pytest.mark.usefixtures("everything_is_long")
@pytest.mark.parametrize("route", ["POST /inferenceResults/batch", "POST /traces/batch"])
def test_through_faults_no_turn_and_no_span_is_lost_or_doubled(
    importer: Importer, emulator: RunningEmulator, route: str
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [turn(number) for number in range(260)])
    emulator.set_faults([{"match": route, "when": {"every": 2}, "do": {"reset_after_commit": True}}])
    result = importer.run_here(source, **BATCHES)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1}
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 260)
    imported = emulator.sessions(with_turns=True)[0]
    assert [len(turn["spans"]) for turn in imported["turns"]] == [2] * 260
    check_no_turn_is_doubled(imported)


@pytest.mark.usefixtures("everything_is_long")
def test_of_several_states_of_a_trace_the_newest_stands_where_the_first_one_stood(
    importer: Importer, emulator: RunningEmulator
) -> None:
    rows = [turn(number) for number in range(4)]
    newer = turn(1) | {"output": "another answer", "updated_at": "2026-08-22 09:00:00.000000"}
    source = write_jsonl(importer.home / "a.jsonl", [newer, *rows, rows[2]])
    importer.run_here(source, **BATCHES)
    wanted = dialogue(0, 4)
    wanted[1] = (wanted[1][0], "another answer")
    assert said(emulator, "langfuse:talk-0") == wanted


@pytest.mark.usefixtures("everything_is_long")
def test_what_is_refused_is_in_the_rejects_with_its_records(importer: Importer, emulator: RunningEmulator) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [turn(number) for number in range(3)])
    emulator.set_faults([{"match": "POST /sessions", "when": {"first": 1}, "do": {"status": 400}}])
    result = importer.run_here(source, **BATCHES)
    rejects = (result.folder / "rejects.jsonl").read_text().splitlines()
    assert len(rejects) == 3
    assert all("question" in line for line in rejects)


@pytest.mark.usefixtures("everything_is_long")
def test_more_metadata_than_a_request_may_hold_are_left_out_and_counted(
    importer: Importer, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_LISTS_BYTES", 5_000)
    source = write_jsonl(importer.home / "a.jsonl", [turn(number) for number in range(40)])
    importer.run_here(source, **BATCHES)
    metadata = emulator.sessions()[0]["metadata"]
    assert 0 < len(metadata["traces"]) == len(metadata["turn_times"]) < 40
    assert metadata["left_out"] == dict.fromkeys(["traces", "turn_times"], 40 - len(metadata["traces"]))
    assert said(emulator, "langfuse:talk-0") == dialogue(0, 40)
