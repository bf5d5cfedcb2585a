"""Exports that other people's software wrote, where they lie beside the repository."""

from __future__ import annotations

import json
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


def otlp_trace(file: str) -> Trace:
    document = load(SAMPLES / "otlp" / file)
    guess = detect_format([document])
    assert guess.is_sure
    assert guess.mapper is MAPPERS["otlp"]
    [trace] = traces_of(MAPPERS["otlp"], [document])
    assert trace == MAPPERS["otlp"].map_trace(document)
    return trace


def test_the_span_of_opentelemetrys_own_example_is_there() -> None:
    trace = otlp_trace("opentelemetry-proto-trace.json")
    assert (trace.id, trace.partial) == (
        "5b8efff798038103d269b633813fc60c",
        "1 parent span(s) not in the export: eee19b7ec3c1b173",
    )
    assert [(span.name, span.metadata) for span in trace.turns[0].spans] == [
        (
            "I'm a server span",
            {
                "my.span.attr": "some value",
                "otlp": {
                    "kind": "SERVER",
                    "scope": {
                        "name": "my.library",
                        "version": "1.0.0",
                        "attributes": {"my.scope.attribute": "some scope attribute"},
                    },
                },
            },
        )
    ]


def test_the_words_of_a_jaeger_export_are_in_its_turn() -> None:
    trace = otlp_trace("agentevals-k8s.json")
    original = load(SAMPLES / "otlp" / "agentevals-k8s.json")["data"][0]
    tags = {tag["key"]: tag["value"] for span in original["spans"] for tag in span["tags"]}
    turn = trace.turns[0]
    assert turn.input == tags["gen_ai.prompt.1.content"] == "list all Helm releases"
    assert turn.output == tags["gen_ai.completion.0.content"]
    assert trace.system == tags["gen_ai.prompt.0.content"]
    assert trace.conversation_id == tags["gcp.vertex.agent.session_id"]
    assert trace.tokens == {"input": 2203, "output": 139}
    assert {span.id: span.name for span in turn.spans} == {
        span["spanID"]: span["operationName"] for span in original["spans"]
    }
    assert sum(span.error is not None for span in turn.spans) == sum(
        {"key": "error", "type": "bool", "value": True} in span["tags"] for span in original["spans"]
    )


def test_the_words_of_an_agents_span_list_are_in_its_turn() -> None:
    trace = otlp_trace("any-agent-OPENAI_trace.json")
    original = load(SAMPLES / "otlp" / "any-agent-OPENAI_trace.json")
    turn = trace.turns[0]
    assert int(str(trace.id), 16) == original["spans"][0]["context"]["trace_id"]
    assert {int(span.id, 16) for span in turn.spans} == {span["context"]["span_id"] for span in original["spans"]}
    asked = json.loads(original["spans"][0]["attributes"]["gen_ai.input.messages"])
    assert (trace.system, turn.input) == (asked[0]["content"], asked[1]["content"])
    assert turn.output == original["final_output"]
    assert [span.type for span in turn.spans] == ["AGENT", "GENERATION", "TOOL", "GENERATION", "TOOL", "GENERATION"]
    assert trace.tokens == {"input": 1020, "output": 76}
    assert trace.cost == pytest.approx(0.0001248)


def test_plain_transcripts_are_not_recognised_but_can_be_mapped() -> None:
    path = SAMPLES / "chat" / "tau-bench-MockAirlineDomainEnv-few_shot.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    guess = detect_format(rows)
    assert not guess.is_sure
    assert "messages_display" in doubt(guess)
    mapper = custom_mapper({"input": "messages_display"})
    assert [mapper.map_trace(row).turns[0].input for row in rows] == [row["messages_display"] for row in rows]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("langsmith/langsmith_py_wrap_openai_stream.json", "LangSmith"),
    ],
)
def test_formats_that_come_later_are_named(file: str, name: str) -> None:
    text = (SAMPLES / file).read_text(encoding="utf-8")
    sample = [json.loads(line) for line in text.splitlines()] if file.endswith(".jsonl") else [json.loads(text)]
    guess = detect_format(sample)
    assert not guess.is_sure
    assert f"looks like {name}" in doubt(guess).replace("a list of ", "").replace("a ", "")
