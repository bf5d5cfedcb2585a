"""Exports of OpenTelemetry spans that other people's software wrote, where they lie beside the repository."""

from __future__ import annotations

import json

import pytest

from pipeline.mappers import MAPPERS
from pipeline.mappers.detect import detect_format
from pipeline.models import Trace
from tests.unit.mappers.assembling import traces_of
from tests.unit.mappers.test_real_samples import SAMPLES, load

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no real exports at {SAMPLES}")


def trace_in(file: str) -> Trace:
    document = load(SAMPLES / "otlp" / file)
    guess = detect_format([document])
    assert guess.is_sure
    assert guess.mapper is MAPPERS["otlp"]
    [trace] = traces_of(MAPPERS["otlp"], [document])
    assert trace == MAPPERS["otlp"].map_trace(document)
    return trace


def test_the_span_of_opentelemetrys_own_example_is_there() -> None:
    trace = trace_in("opentelemetry-proto-trace.json")
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
    trace = trace_in("agentevals-k8s.json")
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
    trace = trace_in("any-agent-OPENAI_trace.json")
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
