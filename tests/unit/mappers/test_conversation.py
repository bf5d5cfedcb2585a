from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.conversation import Conversation, read_messages
from pipeline.models import Span, Turn

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(name: str, arguments: str = "{}", id: str | None = "c1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def read(*messages: Any) -> Conversation:
    return read_messages(list(messages), "messages")


def said(conversation: Conversation) -> list[tuple[Any, Any]]:
    return [(turn.input, turn.output) for turn in conversation.turns]


def test_a_turn_is_a_user_message_with_its_answer() -> None:
    conversation = read(system("be kind"), user("q1"), assistant("a1"), user("q2"), assistant("a2"))
    assert conversation == Conversation("be kind", (Turn(input="q1", output="a1"), Turn(input="q2", output="a2")), [])


def test_system_and_developer_messages_are_joined_wherever_they_stand() -> None:
    developer = {"role": "developer", "content": [{"type": "text", "text": "be brief"}]}
    assert read(system("be kind"), user("q"), developer, assistant("a")).system == "be kind\n\nbe brief"


def test_a_greeting_is_a_turn_without_input() -> None:
    assert said(read(assistant("hello"), user("q"), assistant("a"))) == [(None, "hello"), ("q", "a")]


def test_a_question_without_answer_is_a_turn_without_output() -> None:
    assert said(read(user("q"), assistant("a"), user("and?"))) == [("q", "a"), ("and?", None)]


def test_texts_of_one_user_in_a_row_are_joined_by_a_blank_line() -> None:
    assert said(read(user("one"), user("two"), assistant("a"))) == [("one\n\ntwo", "a")]


def test_where_parts_are_among_them_they_become_one_list_of_parts() -> None:
    conversation = read(user("look"), user([IMAGE]), assistant("a"))
    assert said(conversation) == [([{"type": "text", "text": "look"}, IMAGE], "a")]


def test_parts_stay_as_they_are() -> None:
    parts = [{"type": "text", "text": "what is this?"}, IMAGE]
    assert said(read(user(parts), assistant("a cat"))) == [(parts, "a cat")]


def test_the_last_text_of_the_assistant_is_the_output_and_earlier_ones_are_spans() -> None:
    turn = read(user("q"), assistant("let me see"), assistant("a"), assistant("")).turns[0]
    assert turn.output == "a"
    assert turn.spans == (Span(id="message-1", name="assistant", type="GENERATION", output="let me see"),)


def test_an_empty_answer_is_not_the_same_as_none() -> None:
    assert said(read(user("q"), assistant(""))) == [("q", "")]


def test_a_refusal_is_an_answer() -> None:
    assert said(read(user("q"), assistant(None, refusal="I cannot"))) == [("q", "I cannot")]


def test_a_tool_call_and_its_result_are_one_span() -> None:
    turn = read(
        user("weather?"),
        assistant(None, tool_calls=[call("get_weather", '{"city": "Rome"}')]),
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        assistant("Sunny."),
    ).turns[0]
    assert turn == Turn(
        input="weather?",
        output="Sunny.",
        spans=(Span(id="c1", name="get_weather", type="TOOL", input={"city": "Rome"}, output="sunny"),),
    )


def test_results_find_their_calls_by_id_also_out_of_order() -> None:
    turn = read(
        user("q"),
        assistant(None, tool_calls=[call("f", id="c1"), call("g", id="c2")]),
        {"role": "tool", "tool_call_id": "c2", "content": "for g"},
        {"role": "tool", "tool_call_id": "c1", "content": "for f"},
    ).turns[0]
    assert [(span.name, span.output) for span in turn.spans] == [("f", "for f"), ("g", "for g")]


def test_a_legacy_function_call_is_answered_by_its_name() -> None:
    turn = read(
        user("q"),
        assistant(None, function_call={"name": "f", "arguments": '{"a": 1}'}),
        {"role": "function", "name": "f", "content": "r"},
    ).turns[0]
    assert [(span.name, span.input, span.output) for span in turn.spans] == [("f", {"a": 1}, "r")]


def test_a_sharegpt_function_call_is_answered_by_the_next_observation() -> None:
    turn = read(
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "r"},
        {"from": "gpt", "value": "a"},
    ).turns[0]
    assert (turn.output, [(span.name, span.input, span.output) for span in turn.spans]) == ("a", [("f", {"a": 1}, "r")])


def test_a_function_call_that_is_no_json_is_kept_as_text() -> None:
    turn = read({"from": "function_call", "value": "f(1)"}).turns[0]
    assert [(span.name, span.input) for span in turn.spans] == [("tool", "f(1)")]


@pytest.mark.parametrize(
    "result", [{"role": "tool", "tool_call_id": "c9", "content": "r"}, {"role": "tool", "content": "r"}]
)
def test_a_result_without_a_call_is_a_span_of_its_own(result: dict[str, Any]) -> None:
    turn = read(user("q"), result, assistant("a")).turns[0]
    assert [(span.type, span.output) for span in turn.spans] == [("TOOL", "r")]


def test_span_ids_are_unique_where_call_ids_are_not() -> None:
    ask, answer = assistant(None, tool_calls=[call("f")]), {"role": "tool", "tool_call_id": "c1", "content": "r"}
    conversation = read(user("q"), ask, answer, assistant("a"), user("q"), ask, answer, assistant("a"))
    assert [span.id for turn in conversation.turns for span in turn.spans] == ["c1", "c1~2"]
    assert [span.output for turn in conversation.turns for span in turn.spans] == ["r", "r"]


def test_an_absent_function_call_of_parquet_is_no_call() -> None:
    nothing = {"name": None, "arguments": None}
    assert read(user("q"), assistant("a", function_call=nothing, tool_calls=None)).turns[0].spans == ()


def test_times_of_messages_are_the_times_of_the_turn() -> None:
    turn = read(user("q", timestamp="2026-01-01 08:00:00"), assistant("a", timestamp=1767254460)).turns[0]
    assert (turn.started_at, turn.ended_at) == ("2026-01-01T08:00:00.000000Z", "2026-01-01T08:01:00.000000Z")


def test_an_answer_that_was_spoken_is_its_transcript() -> None:
    audio = {"id": "audio_1", "transcript": "hello", "data": "UklG"}
    conversation = read(user("q"), assistant(None, audio=audio))
    assert said(conversation) == [("q", "hello")]
    assert conversation.message_fields == [{"index": 1, "audio": audio}]


@pytest.mark.parametrize(
    "unusual",
    [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "signature": "s"},
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}", "parsed": {"a": 1}}},
        {"id": 7, "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x"}},
    ],
)
def test_a_call_that_holds_more_than_a_span_tells_is_kept_whole(unusual: dict[str, Any]) -> None:
    conversation = read(user("q"), assistant(None, tool_calls=[call("g", id="c0"), unusual]))
    assert [span.name for span in conversation.turns[0].spans] == ["g", "f"]
    assert conversation.message_fields == [{"index": 1, "tool_calls": [unusual]}]


def test_a_system_prompt_in_parts_that_say_more_than_their_text_is_kept_too() -> None:
    content = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    conversation = read({"role": "system", "content": content}, user("q"))
    assert (conversation.system, conversation.message_fields) == ("Be brief.", [{"index": 0, "content": content}])


def test_both_names_of_a_field_are_kept_where_both_are_there() -> None:
    conversation = read({"role": "user", "content": "q", "from": "human", "value": "Q"}, assistant("a"))
    assert conversation.message_fields == [{"index": 0, "from": "human", "value": "Q"}]


def test_other_fields_of_a_message_are_kept_with_its_number() -> None:
    conversation = read(user("q", country="BE", toxic=False, note=None), assistant("a"))
    assert conversation.message_fields == [{"index": 0, "country": "BE", "toxic": False}]


def test_a_list_of_messages_may_be_json_in_a_text() -> None:
    assert said(read_messages('[{"role": "user", "content": "q"}]', "messages")) == [("q", None)]


@pytest.mark.parametrize(
    ("messages", "kind", "words"),
    [
        ("hello", "bad_field", "messages must be a list of messages, not a text"),
        ({"role": "user"}, "bad_field", "messages must be a list of messages, not an object"),
        ([], "empty_conversation", "messages is an empty list"),
        ([system("s")], "empty_conversation", "only system messages"),
        ([user("q"), "a"], "bad_field", r"messages\[1\] must be an object with role and content, not a text"),
        ([user("q"), {"content": "a"}], "bad_field", r"messages\[1\].role is missing"),
        ([{"from": None, "value": "a"}], "bad_field", r"messages\[0\].from is missing"),
        ([{"role": 3, "content": "a"}], "bad_field", r"messages\[0\].role must be a text, not a number"),
        ([{"role": "critic", "content": "a"}], "unknown_role", r'messages\[0\].role is "critic"'),
        ([{"role": "user"}], "bad_field", r"messages\[0\] has neither content nor tool_calls"),
        ([assistant("a", tool_calls="f()")], "bad_field", r"messages\[0\].tool_calls must be a list"),
        ([assistant("a", tool_calls=[1])], "bad_field", r"messages\[0\].tool_calls\[0\] must be an object"),
    ],
)
def test_what_is_no_conversation_is_rejected_with_the_field(messages: Any, kind: str, words: str) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        read_messages(messages, "messages")
    assert caught.value.kind == kind
