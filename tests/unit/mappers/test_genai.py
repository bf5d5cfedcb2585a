from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.mappers.genai import meaning_of
from pipeline.mappers.genai_messages import with_messages
from pipeline.mappers.otlp_spans import Event

ASKED = [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
SYSTEM = {"role": "system", "parts": [{"type": "text", "content": "s"}]}
ANSWERED = [{"role": "assistant", "parts": [{"type": "text", "content": "hello"}], "finish_reason": "stop"}]


def said(*events: Event, **attributes: Any) -> dict[str, Any]:
    found, left = with_messages(attributes, events)
    assert left == []
    return found


@pytest.mark.parametrize(
    ("attributes", "type"),
    [
        ({}, "SPAN"),
        ({"gen_ai.operation.name": "chat"}, "GENERATION"),
        ({"gen_ai.operation.name": "text_completion"}, "GENERATION"),
        ({"gen_ai.operation.name": "generate_content"}, "GENERATION"),
        ({"gen_ai.operation.name": "embeddings"}, "EMBEDDING"),
        ({"gen_ai.operation.name": "retrieval"}, "RETRIEVER"),
        ({"gen_ai.operation.name": "execute_tool"}, "TOOL"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m"}, "AGENT"),
        ({"gen_ai.operation.name": "invoke_workflow"}, "CHAIN"),
        ({"gen_ai.operation.name": "execute_event_loop_cycle", "gen_ai.request.model": "m"}, "SPAN"),
        ({"openinference.span.kind": "LLM"}, "GENERATION"),
        ({"openinference.span.kind": "RERANKER", "reranker.model_name": "m"}, "SPAN"),
        ({"traceloop.span.kind": "workflow"}, "CHAIN"),
        ({"traceloop.span.kind": "agent"}, "AGENT"),
        ({"llm.request.type": "chat"}, "GENERATION"),
        ({"ai.operationId": "ai.streamText"}, "CHAIN"),
        ({"ai.operationId": "ai.streamText.doStream", "ai.model.id": "m"}, "GENERATION"),
        ({"ai.operationId": "ai.toolCall"}, "TOOL"),
        ({"langfuse.observation.type": "guardrail", "gen_ai.operation.name": "chat"}, "GUARDRAIL"),
        ({"langfuse.observation.type": "span", "gen_ai.operation.name": "chat"}, "GENERATION"),
        ({"galtea.trace.type": "EVALUATOR"}, "EVALUATOR"),
        ({"gen_ai.tool.name": "f"}, "TOOL"),
        ({"gen_ai.request.model": "m"}, "GENERATION"),
        ({"gen_ai.input.messages": "[]"}, "GENERATION"),
        ({"gen_ai.operation.name": 7}, "SPAN"),
    ],
)
def test_the_type_is_what_the_first_known_attribute_says(attributes: dict[str, Any], type: str) -> None:
    assert meaning_of(attributes).type == type


@pytest.mark.parametrize(
    ("attributes", "first", "last"),
    [
        ({"gen_ai.input.messages": json.dumps(ASKED), "gen_ai.output.messages": json.dumps(ANSWERED)}, ASKED, ANSWERED),
        ({"gen_ai.input.messages": ASKED, "gen_ai.output.messages": ANSWERED}, ASKED, ANSWERED),
        ({"gen_ai.prompt": '[{"role": "user"}]', "gen_ai.completion": "hello"}, [{"role": "user"}], "hello"),
        ({"traceloop.entity.input": '{"a": 1}', "traceloop.entity.output": '"b"'}, {"a": 1}, "b"),
        ({"gen_ai.tool.call.arguments": '{"a": 1}', "gen_ai.tool.call.result": "b"}, {"a": 1}, "b"),
        ({"ai.toolCall.args": '{"a": 1}', "ai.toolCall.result": '{"b": 2}'}, {"a": 1}, {"b": 2}),
        ({"ai.prompt": '{"prompt": "hi"}', "ai.response.object": '{"b": 2}'}, {"prompt": "hi"}, {"b": 2}),
        ({"ai.value": "hi", "ai.embedding": "[0.5]"}, "hi", [0.5]),
        ({"gcp.vertex.agent.llm_request": '{"contents": []}', "gcp.vertex.agent.llm_response": '{"content": 1}'},
         {"contents": []}, {"content": 1}),
        ({"gcp.vertex.agent.llm_request": "{}", "gcp.vertex.agent.tool_call_args": '{"a": 1}',
          "gcp.vertex.agent.llm_response": "{}", "gcp.vertex.agent.tool_response": '{"b": 2}'}, {"a": 1}, {"b": 2}),
        ({"langfuse.observation.input": '{"a": 1}', "langfuse.observation.output": "b"}, {"a": 1}, "b"),
        ({"galtea.trace.input": '{"a": 1}', "galtea.trace.output": "b"}, {"a": 1}, "b"),
        ({"input.value": '{"a": 1}', "output.value": "b"}, {"a": 1}, "b"),
        ({"gen_ai.retrieval.query.text": "q", "gen_ai.retrieval.documents": '[{"id": "1"}]'}, "q", [{"id": "1"}]),
        ({"tool_arguments": '{"a": 1}', "tool_response": "b"}, {"a": 1}, "b"),
    ],
)  # fmt: skip
def test_input_and_output_are_found_under_every_name(attributes: dict[str, Any], first: Any, last: Any) -> None:
    meaning = meaning_of(attributes)
    assert (meaning.input, meaning.output, meaning.own) == (first, last, {})


def test_what_says_the_same_is_not_kept_twice_and_what_says_otherwise_is() -> None:
    meaning = meaning_of({"input.value": "hi", "traceloop.entity.input": "hi", "input": "bye", "gen_ai.prompt": ""})
    assert (meaning.input, meaning.own) == ("hi", {"input": "bye"})


@pytest.mark.parametrize(
    ("attributes", "first", "own"),
    [
        ({"gen_ai.input.messages": ASKED}, [SYSTEM, *ASKED], {}),
        ({}, [SYSTEM], {}),
        ({"input": "hi"}, "hi", {"gen_ai.system_instructions": [{"type": "text", "content": "s"}]}),
    ],
)  # fmt: skip
def test_system_instructions_are_the_first_message(attributes: dict[str, Any], first: Any, own: dict[str, Any]) -> None:
    meaning = meaning_of(attributes | {"gen_ai.system_instructions": '[{"type": "text", "content": "s"}]'})
    assert (meaning.input, meaning.own) == (first, own)


def test_system_instructions_may_be_a_text() -> None:
    meaning = meaning_of({"gen_ai.system_instructions": "s", "gen_ai.input.messages": ASKED})
    assert meaning.input == [{"role": "system", "content": "s"}, *ASKED]


def test_text_and_calls_of_tools_are_one_message_of_vercels() -> None:
    meaning = meaning_of({"ai.response.text": "let me see", "ai.response.toolCalls": '[{"toolName": "f"}]'})
    assert meaning.output == {"role": "assistant", "content": "let me see", "tool_calls": [{"toolName": "f"}]}
    assert meaning_of({"ai.response.text": "", "ai.response.toolCalls": "[1]"}).output == [1]


@pytest.mark.parametrize(
    ("attributes", "tokens", "own"),
    [
        ({"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": "5"}, {"input": 12, "output": 5}, {}),
        ({"gen_ai.usage.prompt_tokens": 12.0, "gen_ai.usage.completion_tokens": 5, "llm.usage.total_tokens": 17},
         {"input": 12, "output": 5, "total": 17}, {}),
        ({"gen_ai.usage.input_tokens": 12, "gen_ai.usage.prompt_tokens": 12}, {"input": 12}, {}),
        ({"gen_ai.usage.input_tokens": 12, "gen_ai.usage.prompt_tokens": 10}, {"input": 12},
         {"gen_ai.usage.prompt_tokens": 10}),
        ({"gen_ai.usage.cache_read.input_tokens": 0, "gen_ai.usage.reasoning_tokens": 3},
         {"cache_read_input_tokens": 0, "reasoning_output_tokens": 3}, {}),
        ({"ai.usage.promptTokens": 1, "ai.usage.completionTokens": 2}, {"input": 1, "output": 2}, {}),
        ({"llm.token_count.prompt": 1, "llm.token_count.total": 3}, {"input": 1, "total": 3}, {}),
        ({"gen_ai.usage.details.audio_tokens": 4, "gen_ai.usage.details.x": "y"}, {"audio_tokens": 4},
         {"gen_ai.usage.details.x": "y"}),
        ({"gen_ai.usage.audio.input_tokens": 4, "gen_ai.usage.experimental.reasoning_tokens_limit": 9},
         {"audio_input_tokens": 4}, {"gen_ai.usage.experimental.reasoning_tokens_limit": 9}),
        ({"langfuse.observation.usage_details": '{"input": 1, "audio": 2}'}, {"input": 1, "audio": 2}, {}),
        ({"gen_ai.usage.input_tokens": "many"}, {}, {"gen_ai.usage.input_tokens": "many"}),
        ({"gen_ai.usage.input_tokens": True}, {}, {"gen_ai.usage.input_tokens": True}),
    ],
)  # fmt: skip
def test_tokens_are_counted_by_kind(attributes: dict[str, Any], tokens: dict[str, int], own: dict[str, Any]) -> None:
    meaning = meaning_of(attributes)
    assert (meaning.tokens, meaning.own) == (tokens, own)


@pytest.mark.parametrize(
    ("attributes", "cost", "kept"),
    [
        ({"gen_ai.usage.cost": 0.5, "gen_ai.usage.input_cost": 0.2}, 0.5, {"gen_ai.usage.input_cost": 0.2}),
        ({"operation.cost": "0.5"}, 0.5, {}),
        ({"llm.cost.total": 0}, 0.0, {}),
        ({"gen_ai.usage.input_cost": 0.25, "gen_ai.usage.output_cost": 0.5}, 0.75,
         {"gen_ai.usage.input_cost": 0.25, "gen_ai.usage.output_cost": 0.5}),
        ({"langfuse.observation.cost_details": '{"input": 0.25, "output": 0.5}'}, 0.75,
         {"langfuse.observation.cost_details": {"input": 0.25, "output": 0.5}}),
        ({"langfuse.observation.cost_details": {"input": 0.25, "total": 0.5}}, 0.5,
         {"langfuse.observation.cost_details": {"input": 0.25, "total": 0.5}}),
        ({"gen_ai.usage.cost": "much"}, None, {"gen_ai.usage.cost": "much"}),
        ({}, None, {}),
    ],
)  # fmt: skip
def test_the_cost_is_the_total_or_the_sum(attributes: dict[str, Any], cost: float | None, kept: dict[str, Any]) -> None:
    meaning = meaning_of(attributes)
    assert (meaning.cost, meaning.own) == (cost, kept)


@pytest.mark.parametrize(
    ("attributes", "model", "own"),
    [
        ({"gen_ai.request.model": "m", "gen_ai.response.model": "m-1"}, "m-1", {"gen_ai.request.model": "m"}),
        ({"ai.model.id": "m", "gen_ai.request.model": "m"}, "m", {}),
        ({"llm.model_name": 7}, None, {"llm.model_name": 7}),
    ],
)
def test_the_model_is_the_one_that_answered(attributes: dict[str, Any], model: str | None, own: dict[str, Any]) -> None:
    meaning = meaning_of(attributes)
    assert (meaning.model, meaning.own) == (model, own)


class TestMessagesInPieces:
    def test_events_of_a_span_become_messages(self) -> None:
        assert said(
            Event("gen_ai.system.message", None, {"content": "s", "gen_ai.system": "openai"}),
            Event("gen_ai.user.message", None, {"content": '[{"text": "hi"}]'}),
            Event("gen_ai.tool.message", None, {"content": "r", "id": "c1", "role": "tool"}),
            Event("gen_ai.choice", None, {"message": '{"content": "a"}', "finish_reason": "stop"}),
            Event("gen_ai.choice", None, {"message": "b"}),
        ) == {
            "gen_ai.system": "openai",
            "gen_ai.input.messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"text": "hi"}]},
                {"role": "tool", "content": "r", "id": "c1"},
            ],
            "gen_ai.output.messages": [
                {"role": "assistant", "content": "a", "finish_reason": "stop"},
                {"role": "assistant", "content": "b"},
            ],
        }

    @pytest.mark.parametrize(
        "name", ["gen_ai.client.inference.operation.details", "gen_ai.content.prompt", "gen_ai.content.completion"]
    )
    def test_events_that_hold_attributes_give_them_to_their_span(self, name: str) -> None:
        assert said(Event(name, None, {"gen_ai.prompt": "hi", "k": 1}), k=1) == {"gen_ai.prompt": "hi", "k": 1}

    def test_the_same_messages_as_a_text_and_as_a_list_are_one(self) -> None:
        details = Event("gen_ai.client.inference.operation.details", None, {"gen_ai.input.messages": ASKED})
        written = json.dumps(ASKED)
        assert said(details, **{"gen_ai.input.messages": written}) == {"gen_ai.input.messages": written}

    def test_what_the_span_has_otherwise_stays_in_the_event(self) -> None:
        details = Event("gen_ai.client.inference.operation.details", None, {"gen_ai.input.messages": "b", "x": 1})
        message = Event("gen_ai.user.message", None, {"content": "c"})
        attributes, left = with_messages({"gen_ai.input.messages": "a"}, [details, message])
        assert attributes == {"gen_ai.input.messages": "a", "x": 1}
        assert left == [details._replace(attributes={"gen_ai.input.messages": "b"}), message]

    def test_numbered_attributes_become_lists(self) -> None:
        assert said(
            **{
                "gen_ai.prompt.10.content": "last",
                "gen_ai.prompt.0.role": "system",
                "gen_ai.prompt.0.content": "s",
                "gen_ai.prompt.2.tool_calls.0.name": "f",
                "gen_ai.prompt.2.tool_calls.0.arguments": "{}",
                "gen_ai.completion.0.content": "a",
                "llm.input_messages.0.message.role": "user",
                "retrieval.documents.0.document.content": "d",
                "llm.request.functions.0.name": "f",
            }
        ) == {
            "gen_ai.prompt": [
                {"role": "system", "content": "s"},
                {"tool_calls": [{"name": "f", "arguments": "{}"}]},
                {"content": "last"},
            ],
            "gen_ai.completion": [{"content": "a"}],
            "llm.input_messages": [{"role": "user"}],
            "retrieval.documents": [{"content": "d"}],
            "llm.request.functions.0.name": "f",
        }

    @pytest.mark.parametrize(
        "attributes",
        [
            {"gen_ai.prompt": "hi", "gen_ai.prompt.0.role": "user"},
            {"gen_ai.prompt.name": "x", "gen_ai.prompt.0": "hi", "gen_ai.prompt.x.y": 1},
            {f"gen_ai.prompt.0{'.a' * 30}": 1},
        ],
    )
    def test_what_cannot_be_put_in_a_list_stays_what_it_is(self, attributes: dict[str, Any]) -> None:
        assert said(**attributes) == attributes

    def test_two_values_in_one_place_are_both_kept(self) -> None:
        both = {"gen_ai.prompt.0.content": "hi", "gen_ai.prompt.0.content.0.text": "hi"}
        assert said(**both) == {"gen_ai.prompt": [{"content": "hi"}], "gen_ai.prompt.0.content.0.text": "hi"}

    def test_logfires_list_of_events_is_read(self) -> None:
        logged = [
            {"event.name": "gen_ai.user.message", "content": "hi", "role": "user"},
            {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "a"}},
        ]
        assert said(events=json.dumps(logged)) == {
            "gen_ai.input.messages": [{"role": "user", "content": "hi"}],
            "gen_ai.output.messages": [{"role": "assistant", "content": "a", "index": 0}],
        }
        assert said(events="[1]") == {"events": "[1]"}
