from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mappers.openinference_attributes import Said, read_attributes

CALL = {"id": "c1", "function": {"name": "track", "arguments": '{"number": 1}'}}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "user", "contents": [{"type": "text", "text": "see"}, {"type": "image", "image": {"url": "data:,x"}}]},
]
DOTTED = "llm.input_messages."
NUMBERED = {
    f"{DOTTED}0.message.role": "system",
    f"{DOTTED}0.message.content": "Be brief.",
    f"{DOTTED}1.message.role": "assistant",
    f"{DOTTED}1.message.tool_calls.0.tool_call.id": "c1",
    f"{DOTTED}1.message.tool_calls.0.tool_call.function.name": "track",
    f"{DOTTED}1.message.tool_calls.0.tool_call.function.arguments": '{"number": 1}',
    f"{DOTTED}2.message.role": "user",
    f"{DOTTED}2.message.contents.0.message_content.type": "text",
    f"{DOTTED}2.message.contents.0.message_content.text": "see",
    f"{DOTTED}2.message.contents.1.message_content.type": "image",
    f"{DOTTED}2.message.contents.1.message_content.image.image.url": "data:,x",
}
WITH_DOTS = [
    {"message.role": "system", "message.content": "Be brief.", "message.tool_calls": None},
    {
        "message.role": "assistant",
        "message.content": None,
        "message.tool_calls": [
            {
                "tool_call.id": "c1",
                "tool_call.function.name": "track",
                "tool_call.function.arguments": '{"number": 1}',
            }
        ],
    },
    {
        "message.role": "user",
        "message.contents": [
            {"message_content.type": "text", "message_content.text": "see", "message_content.image": None},
            {"message_content.type": "image", "message_content.image": {"image.url": "data:,x"}},
        ],
    },
]
NESTED = [
    {"message": {"role": "system", "content": "Be brief."}},
    {
        "message": {
            "role": "assistant",
            "tool_calls": [{"tool_call": {"id": "c1", "function": {"name": "track", "arguments": '{"number": 1}'}}}],
        }
    },
    {
        "message": {
            "role": "user",
            "contents": [
                {"message_content": {"type": "text", "text": "see"}},
                {"message_content": {"type": "image", "image": {"image": {"url": "data:,x"}}}},
            ],
        }
    },
]


@pytest.mark.parametrize(
    "attributes",
    [
        NUMBERED,
        dict(reversed(NUMBERED.items())),
        {"llm.input_messages": WITH_DOTS},
        {"llm.input_messages": NESTED},
        {"llm": {"input_messages": NESTED}},
    ],
    ids=["numbered", "in another order", "dotted keys", "nested", "nested from the root"],
)
def test_messages_are_the_same_however_they_are_written(attributes: dict[str, Any]) -> None:
    said = read_attributes(attributes, "LLM")
    assert (said.input, said.rest) == (MESSAGES, {})


def test_documents_are_the_output_of_a_retriever_with_their_metadata_decoded() -> None:
    whole = [{"document.content": "a", "document.score": 0.5, "document.metadata": '{"source.name": "b"}'}]
    numbered = {
        "retrieval.documents.0.document.content": "a",
        "retrieval.documents.0.document.score": 0.5,
        "retrieval.documents.0.document.metadata": {"source.name": "b"},
    }
    expected = [{"content": "a", "score": 0.5, "metadata": {"source.name": "b"}}]
    assert read_attributes({"retrieval.documents": whole}, "RETRIEVER").output == expected
    assert read_attributes(numbered, "RETRIEVER").output == expected


def test_metadata_of_documents_is_put_together_and_its_own_names_stay() -> None:
    dotted = {
        "retrieval.documents.0.document.metadata.document.id": 1,
        "retrieval.documents.0.document.metadata.pages.0.message": "m",
    }
    said = read_attributes(dotted, "RETRIEVER")
    assert said.output == [{"metadata": {"document": {"id": 1}, "pages": [{"message": "m"}]}}]


@pytest.mark.parametrize(
    "attributes",
    [
        {"metadata": '{"plan": "free", "items": [{"a": 1}]}'},
        {"metadata": {"plan": "free", "items": [{"a": 1}]}},
        {"metadata.plan": "free", "metadata.items.0.a": 1},
    ],
)
def test_metadata_is_the_users_own_however_it_is_written(attributes: dict[str, Any]) -> None:
    assert read_attributes(attributes) == Said(own={"plan": "free", "items": [{"a": 1}]})


def test_metadata_that_is_no_object_is_kept() -> None:
    assert read_attributes({"metadata": "a note"}).rest == {"metadata": "a note"}


def test_values_are_decoded_where_their_type_says_json() -> None:
    text = '{"a": 1}'
    json_type = {"input.value": text, "input.mime_type": "application/json"}
    assert read_attributes(json_type) == Said(input={"a": 1})
    assert read_attributes({"input.value": text, "input.mime_type": "text/plain"}) == Said(input=text)
    assert read_attributes({"input.value": text}) == Said(input=text)
    odd = {"input.value": text, "input.mime_type": "text/x"}
    assert read_attributes(odd) == Said(input=text, rest={"input.mime_type": "text/x"})


def test_what_a_model_was_sent_and_gave_counts_before_the_raw_values_which_are_kept() -> None:
    said = read_attributes(
        {"input.value": "raw", "output.value": "out", **NUMBERED, "llm.output_messages.0.message.content": "hi"}, "LLM"
    )
    assert (said.input, said.output) == (MESSAGES, [{"content": "hi"}])
    assert said.rest == {"input.value": "raw", "output.value": "out"}


def test_elsewhere_the_values_count_first() -> None:
    said = read_attributes({"input.value": "raw", "llm.input_messages": [{"message.role": "user"}]}, "AGENT")
    assert (said.input, said.rest) == ("raw", {"llm.input_messages": [{"role": "user"}]})


def test_the_messages_of_2023_are_pairs() -> None:
    said = read_attributes({"llm.messages": [["user", "hi"]]}, "LLM")
    assert said.input == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("kind", "type_", "rest"),
    [
        ("LLM", "GENERATION", {}),
        ("llm", "GENERATION", {}),
        ("CHAIN", "CHAIN", {}),
        ("AGENT", "AGENT", {}),
        ("TOOL", "TOOL", {}),
        ("RETRIEVER", "RETRIEVER", {}),
        ("EMBEDDING", "EMBEDDING", {}),
        ("GUARDRAIL", "GUARDRAIL", {}),
        ("EVALUATOR", "EVALUATOR", {}),
        ("UNKNOWN", "SPAN", {}),
        ("RERANKER", "SPAN", {"openinference.span.kind": "RERANKER"}),
        ("PROMPT", "SPAN", {"openinference.span.kind": "PROMPT"}),
        ("oracle", "SPAN", {"openinference.span.kind": "oracle"}),
        (7, "SPAN", {"openinference.span.kind": 7}),
    ],
)
def test_kinds_become_types_and_those_that_have_none_are_kept(kind: Any, type_: str, rest: dict[str, Any]) -> None:
    assert read_attributes({"openinference.span.kind": kind}) == Said(type=type_, rest=rest)


def test_the_kind_of_the_span_counts_where_the_attributes_have_none() -> None:
    assert read_attributes({}, "TOOL").type == "TOOL"
    assert read_attributes({"openinference.span.kind": "UNKNOWN"}, "TOOL").type == "TOOL"
    assert read_attributes({"openinference.span.kind": "LLM"}, "TOOL") == Said(
        type="GENERATION", rest={"span_kind": "TOOL"}
    )


def test_counts_and_costs_have_names_of_their_own() -> None:
    said = read_attributes(
        {
            "llm.token_count.prompt": 12.0,
            "llm.token_count.completion": "5",
            "llm.token_count.total": 17,
            "llm.token_count.prompt_details": {"cache_read": 3},
            "llm.token_count.completion_details.reasoning": 2,
            "llm.cost.total": 0.5,
            "llm.cost.prompt": 0.25,
        }
    )
    details = {"prompt_details.cache_read": 3, "completion_details.reasoning": 2}
    assert said == Said(
        tokens={"input": 12, "output": 5, "total": 17} | details, cost=0.5, rest={"llm.cost.prompt": 0.25}
    )


def test_without_a_total_the_costs_of_both_sides_are_added() -> None:
    assert read_attributes({"llm.cost.prompt": 0.25, "llm.cost.completion": 0.5}).cost == 0.75
    assert read_attributes({"llm.cost.prompt": 0.25}).cost is None


def test_the_first_name_of_a_model_counts_and_the_others_are_kept() -> None:
    said = read_attributes({"llm.request.model_name": "a", "llm.response.model_name": "b"})
    assert (said.model, said.rest) == ("b", {"llm.request.model_name": "a"})
    assert read_attributes({"embedding.model_name": "e"}, "EMBEDDING").model == "e"


def test_whose_dialogue_it_is() -> None:
    said = read_attributes({"session.id": "s", "user": {"id": 7}, "tag.tags": '["a", "b"]'})
    assert said == Said(session_id="s", user_id="7", tags=("a", "b"))


@pytest.mark.parametrize(
    "odd",
    [
        {"session.id": [1]},
        {"user.id": True},
        {"tag.tags": 3},
        {"llm.token_count.prompt": "many"},
        {"llm.cost.total": "cheap"},
        {"llm.model_name": ["m"]},
        {"llm.invocation_parameters": "{"},
        {"llm.input_messages.0": "no object"},
        {"plain": [1, 2]},
        {"a..b": 1},
    ],
)
def test_what_cannot_be_read_is_kept_as_it_is(odd: dict[str, Any]) -> None:
    assert read_attributes(odd, "CHAIN").rest == odd


def test_messages_that_are_no_list_are_the_input_as_they_are() -> None:
    assert read_attributes({"llm.input_messages": "no list"}, "LLM") == Said(type="GENERATION", input="no list")


def test_texts_that_hold_parameters_are_decoded() -> None:
    said = read_attributes(
        {
            "llm.invocation_parameters": '{"temperature": 0}',
            "tool.parameters": '{"number": "string"}',
            "llm.prompt_template.variables.x": "y",
            "llm.tools.0.tool.json_schema": '{"type": "function"}',
        }
    )
    assert said.rest == {
        "llm.invocation_parameters": {"temperature": 0},
        "tool.parameters": {"number": "string"},
        "llm.prompt_template.variables": {"x": "y"},
        "llm.tools": [{"json_schema": {"type": "function"}}],
    }


def test_objects_of_the_users_own_are_flattened_as_phoenix_does() -> None:
    assert read_attributes({"custom": {"key": [{"x": 1}], "plain": [1], "none": None}}).rest == {
        "custom.key.0.x": 1,
        "custom.plain": [1],
    }


@pytest.mark.parametrize(
    "attributes",
    [
        {"metadata.a": "one", "metadata.a.b": "two"},
        {"metadata.a.b": "two", "metadata.a": "one"},
        {"metadata": "one", "metadata.a": "two"},
        {"llm.input_messages": [{"message.role": "one"}], "llm.input_messages.0.message.role": "two"},
        {"llm.input_messages.0.message.role": "one", "llm.input_messages.0.role": "two"},
        {"x.y": "one", "x": {"y": "two"}},
        {"metadata.0.a": "one", "metadata.0": "two"},
        {"llm.input_messages": [{"message.role": "one", "role": "two"}]},
    ],
)
def test_what_is_said_in_two_ways_counts_twice(attributes: dict[str, Any]) -> None:
    kept = repr(read_attributes(attributes))
    assert "one" in kept
    assert "two" in kept


def test_numbers_with_gaps_keep_their_order() -> None:
    attributes = {f"llm.prompts.{index}.prompt.text": str(index) for index in (10, 2, 9)}
    assert read_attributes(attributes, "LLM").input == [{"text": "2"}, {"text": "9"}, {"text": "10"}]


def test_the_attributes_stay_as_they_were() -> None:
    documents = [{"document": {"metadata": '{"a": 1}'}}]
    read_attributes({"retrieval.documents": documents}, "RETRIEVER")
    assert documents == [{"document": {"metadata": '{"a": 1}'}}]


parts = st.sampled_from(
    ["llm", "input_messages", "metadata", "retrieval", "documents", "document", "message", "role", "0", "1", "00", "",
     "image", "contents", "message_content", "tool_calls", "input", "value", "session", "id", "tag", "tags", "x"]
)  # fmt: skip
keys = st.lists(parts, min_size=1, max_size=6).map(".".join) | st.sampled_from([*NUMBERED, "metadata.a", "metadata"])
shapes: st.SearchStrategy[Any] = st.recursive(
    st.just("text"), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)


def marked(value: Any, texts: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: marked(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, texts) for inner in value]
    texts.append(f"text-{len(texts)}.")
    return texts[-1]


@given(st.dictionaries(keys, shapes, max_size=6), st.sampled_from(["LLM", "CHAIN", "RETRIEVER", ""]))
def test_no_text_is_lost_whatever_the_keys_are(attributes: dict[str, Any], kind: str) -> None:
    texts: list[str] = []
    kept = repr(read_attributes(marked(attributes, texts), kind))
    assert [text for text in texts if text not in kept] == []
