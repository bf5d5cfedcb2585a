"""Exports that other people's software wrote, where they lie beside the repository."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.mappers import MAPPERS
from pipeline.mappers.custom import custom_mapper
from pipeline.mappers.detect import detect_format, doubt
from pipeline.models import Status, Trace
from tests.unit.mappers.assembling import traces_of

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"
DOWNLOADS = sorted((SAMPLES / "langfuse").glob("*.json"))
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no real exports at {SAMPLES}")


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def decoded(value: Any) -> Any:
    """A second opinion on unwrap: the standard library, as often as it takes."""
    while isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return value


@pytest.mark.parametrize("path", DOWNLOADS, ids=lambda path: path.name.split(".")[0])
class TestLangfuse:
    def test_it_is_recognised(self, path: Path) -> None:
        guess = detect_format([load(path)])
        assert guess.is_sure
        assert guess.mapper is MAPPERS["langfuse"]

    def test_it_maps_with_every_observation(self, path: Path) -> None:
        download = load(path)
        trace = MAPPERS["langfuse"].map_trace(download)
        assert trace.id == download["trace"]["id"]
        assert trace.conversation_id == download["trace"]["sessionId"]
        assert trace.status is Status.COMPLETED
        spans = {span.id: span for span in trace.turns[0].spans}
        assert spans.keys() == {observation["id"] for observation in download["observations"]}
        for observation in download["observations"]:
            span = spans[observation["id"]]
            assert span.input == decoded(observation["input"])
            assert span.output == decoded(observation["output"])
            assert span.tokens == {kind: int(count) for kind, count in observation["usageDetails"].items()}

    def test_what_was_said_is_found_again_in_the_turn(self, path: Path) -> None:
        download = load(path)
        turn = MAPPERS["langfuse"].map_trace(download).turns[0]
        assert turn.input is not None
        assert turn.output is not None
        for mine, original in ((turn.input, download["trace"]["input"]), (turn.output, download["trace"]["output"])):
            assert original is None or mine == decoded(original)

    def test_in_pieces_it_is_the_same_trace(self, path: Path) -> None:
        download = load(path)
        pieces = [*reversed(download["observations"]), download["trace"]]
        assert traces_of(MAPPERS["langfuse"], pieces) == [MAPPERS["langfuse"].map_trace(download)]

    def test_rows_of_its_observations_alone_tell_what_was_said(self, path: Path) -> None:
        download = load(path)
        rows = [observations_v2_row(observation, download["trace"]) for observation in download["observations"]]
        assert detect_format(rows).is_sure
        [trace] = traces_of(MAPPERS["langfuse"], rows)
        whole = MAPPERS["langfuse"].map_trace(download)
        assert isinstance(whole, Trace)
        assert (trace.id, trace.conversation_id, trace.tokens) == (whole.id, whole.conversation_id, whole.tokens)
        assert [span.output for span in trace.turns[0].spans] == [span.output for span in whole.turns[0].spans]
        said = json.dumps([[span.input, span.output] for span in trace.turns[0].spans])
        for mine in (trace.turns[0].input, trace.turns[0].output):
            assert mine is not None
            assert json.dumps(mine).strip('"') in said


def observations_v2_row(observation: dict[str, Any], trace: dict[str, Any]) -> dict[str, Any]:
    """An observation as the blob export has it."""
    row = {re.sub("([A-Z])", lambda match: f"_{match[1].lower()}", name): value for name, value in observation.items()}
    row |= {"provided_model_name": row.pop("model", None), "session_id": trace["sessionId"], "user_id": trace["userId"]}
    row["metadata"] = decoded(row["metadata"])
    for name in ("input", "output"):
        value = decoded(row[name])
        row[name] = value if value is None or isinstance(value, str) else json.dumps(value)
    return {name: "" if value is None else value for name, value in row.items()}


@pytest.mark.parametrize(
    ("file", "question", "answer"),
    [
        ("autogen", "Say 'Hello World!'", "Hello World!"),
        ("pydantic-ai", "What is Langfuse?", "Langfuse is a tool designed for observability"),
        ("google-adk", '"text": "hi"', "Hello Langfuse 👋!"),
        ("vercel-aisdk", "What is the weather like today in San Francisco?", "getWeather"),
        ("langgraph", "Search the web for 'example' and summarize.", "example"),
    ],
)
def test_the_words_of_a_conversation_are_in_its_turn(file: str, question: str, answer: str) -> None:
    (path,) = (path for path in DOWNLOADS if path.name.startswith(file))
    turn = MAPPERS["langfuse"].map_trace(load(path)).turns[0]
    assert question in json.dumps(turn.input, ensure_ascii=False)
    assert answer in json.dumps(turn.output, ensure_ascii=False)


def test_every_word_of_the_sharegpt_file_is_in_a_turn() -> None:
    rows = load(SAMPLES / "chat" / "fastchat-dummy_conversation.json")
    guess = detect_format(rows[:50])
    assert guess.is_sure
    assert guess.mapper is MAPPERS["chat"]
    for row in rows:
        trace = MAPPERS["chat"].map_trace(row)
        said = [text for turn in trace.turns for text in (turn.input, turn.output)]
        assert said == [message["value"] for message in row["conversations"]]


def mlflow_traces(file: str) -> list[Any]:
    return [json.loads(line) for line in (SAMPLES / "mlflow" / file).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("file", ["generated_search_traces.jsonl", "generated_search_traces_df.jsonl"])
class TestMlflow:
    def test_it_is_recognised(self, file: str) -> None:
        guess = detect_format(mlflow_traces(file))
        assert guess.is_sure
        assert guess.mapper is MAPPERS["mlflow"]

    def test_it_maps_with_every_span_and_what_was_said_is_in_the_turn(self, file: str) -> None:
        originals = {trace["info"]["trace_id"]: trace for trace in mlflow_traces("generated_search_traces.jsonl")}
        traces = [MAPPERS["mlflow"].map_trace(row) for row in mlflow_traces(file)]
        assert [trace.id for trace in traces] == list(originals)
        for trace in traces:
            original = originals[str(trace.id)]
            assert trace.conversation_id == original["info"]["trace_metadata"].get("mlflow.trace.session")
            assert trace.status is (Status.FAILED if original["info"]["state"] == "ERROR" else Status.COMPLETED)
            spans = original["data"]["spans"]
            assert [span.name for span in trace.turns[0].spans] == [span["name"] for span in spans]
            root = spans[0]["attributes"]
            assert trace.turns[0].input == json.loads(root["mlflow.spanInputs"])
            assert trace.turns[0].output == json.loads(root.get("mlflow.spanOutputs", "null"))

    def test_the_words_of_the_session_are_in_its_turns(self, file: str) -> None:
        traces = [MAPPERS["mlflow"].map_trace(row) for row in mlflow_traces(file)]
        session = sorted(
            (trace for trace in traces if trace.conversation_id == "s-1"), key=lambda trace: trace.started_at or ""
        )
        said = [json.dumps([trace.turns[0].input, trace.turns[0].output]) for trace in session]
        assert ["hello" in said[0], "second" in said[1], ["hi" in text for text in said]] == [True, True, [True, True]]
        (failed,) = (trace for trace in traces if trace.status is Status.FAILED)
        assert failed.error == "ValueError: boom"


def test_the_mlflow_trace_and_its_row_in_a_data_frame_are_the_same_trace() -> None:
    files = ("generated_search_traces.jsonl", "generated_search_traces_df.jsonl")
    one, other = ([MAPPERS["mlflow"].map_trace(row) for row in mlflow_traces(file)] for file in files)
    assert one == other


def test_a_langsmith_batch_is_the_run_that_it_creates_and_updates() -> None:
    batch = load(SAMPLES / "langsmith" / "langsmith_py_wrap_openai_stream.json")
    guess = detect_format([batch])
    assert guess.is_sure
    assert guess.mapper is MAPPERS["langsmith"]
    created, updated = batch["post"][0], batch["patch"][0]
    (trace,) = traces_of(MAPPERS["langsmith"], [batch])
    (span,) = trace.turns[0].spans
    assert (trace.id, trace.status, trace.partial) == (created["trace_id"], Status.COMPLETED, None)
    assert (span.input, span.output) == (created["inputs"], updated["outputs"])
    assert (trace.turns[0].input, trace.turns[0].output) == ("howdy", "Howdy! How can I assist you today?")
    assert (trace.models, trace.release) == (("gpt-4o-mini",), created["extra"]["metadata"]["revision_id"])
    assert {kind: trace.tokens[kind] for kind in ("input", "output", "total")} == {"input": 9, "output": 9, "total": 18}


def test_plain_transcripts_are_not_recognised_but_can_be_mapped() -> None:
    path = SAMPLES / "chat" / "tau-bench-MockAirlineDomainEnv-few_shot.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    guess = detect_format(rows)
    assert not guess.is_sure
    assert "messages_display" in doubt(guess)
    mapper = custom_mapper({"input": "messages_display"})
    assert [mapper.map_trace(row).turns[0].input for row in rows] == [row["messages_display"] for row in rows]
