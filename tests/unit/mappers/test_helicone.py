from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers import MAPPERS
from pipeline.mappers.detect import detect_format, doubt
from pipeline.mappers.helicone import MAPPER
from pipeline.models import Span, Status, Trace, Turn

NO_CACHE = "00000000-0000-0000-0000-000000000000"
PLACEHOLDER = {"helicone_message": "fetching body from signed_url... contact engineering@helicone.ai for more …"}
WEATHER = {"name": "get_weather", "arguments": '{"city": "Ghent"}'}
CALL = {"id": "c-1", "type": "function", "function": WEATHER}
QUESTION = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hi"}]}


def answer(message: Any = None, **changes: Any) -> dict[str, Any]:
    """The response of OpenAI's chat completions."""
    message = {"role": "assistant", "content": "hello"} if message is None else message
    return {"id": "r", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]} | changes


def row(**changes: Any) -> dict[str, Any]:
    """The columns that the API's query over request_response_rmt gives, with both bodies put in."""
    known = {
        "response_id": "a-1", "response_body": answer(), "response_created_at": "2026-08-22 08:00:01.500",
        "response_status": 200, "request_id": "r-1", "request_body": QUESTION, "provider": "OPENAI",
        "request_created_at": "2026-08-22 08:00:00.250", "request_user_id": "u", "delay_ms": 1250,
        "request_properties": {"Helicone-Session-Id": "s-1", "Helicone-Session-Name": "Planner",
                               "Helicone-Session-Path": "/plan/ask", "Environment": "staging", "plan": "free"},
        "request_model": "gpt-4.1", "ai_gateway_body_mapping": "", "time_to_first_token": None, "total_tokens": 12,
        "completion_tokens": 3, "reasoning_tokens": 0, "prompt_tokens": 9, "prompt_cache_read_tokens": 4,
        "prompt_cache_write_tokens": 0, "country_code": "BE", "scores": {}, "asset_ids": [], "cost": 0.25,
        "target_url": "https://api.openai.com/v1/chat/completions", "cache_reference_id": NO_CACHE,
        "request_referrer": None, "cache_enabled": False, "prompt_id": "", "prompt_version": "",
        "updated_at": "2026-08-22 08:00:02.000", "storage_location": "s3", "size_bytes": 512,
        "signed_body_url": "https://s3.test/organizations/o/requests/r-1/request_response_body?X-Amz-Signature=secret",
    }  # fmt: skip
    known["properties"] = known["request_properties"]
    if "request_properties" in changes:
        known["properties"] = changes["request_properties"]
    return known | changes


def turn_of(request: Any, response: Any) -> Turn:
    return MAPPER.map_trace(row(request_body=request, response_body=response)).turns[0]


def kept(**changes: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = MAPPER.map_trace(row(**changes)).metadata["helicone"]
    return metadata


def test_a_request_becomes_a_trace_of_one_turn_with_one_span() -> None:
    tokens = {"input": 9, "output": 3, "total": 12, "prompt_cache_read_tokens": 4}
    shared: dict[str, Any] = {
        "input": "hi",
        "output": "hello",
        "started_at": "2026-08-22T08:00:00.250000Z",
        "ended_at": "2026-08-22T08:00:01.500000Z",
        "tokens": tokens,
        "cost": 0.25,
    }
    assert MAPPER.map_trace(row()) == Trace(
        id="r-1",
        conversation_id="s-1",
        name="Planner",
        started_at=shared["started_at"],
        ended_at=shared["ended_at"],
        user_id="u",
        environment="staging",
        status=Status.COMPLETED,
        turns=(
            Turn(
                latency_ms=1250,
                spans=(Span(id="r-1", name="gpt-4.1", type="GENERATION", model="gpt-4.1", **shared),),
                **shared,
            ),
        ),
        models=("gpt-4.1",),
        tokens=tokens,
        cost=0.25,
        metadata={
            "plan": "free",
            "helicone": {
                "response_id": "a-1",
                "response_status": 200,
                "provider": "OPENAI",
                "country_code": "BE",
                "target_url": "https://api.openai.com/v1/chat/completions",
                "cache_enabled": False,
                "storage_location": "s3",
                "size_bytes": 512,
                "signed_body_url": "https://s3.test/organizations/o/requests/r-1/request_response_body",
                "request_properties": {"Helicone-Session-Path": "/plan/ask"},
                "request_body": {"model": "gpt-4.1"},
                "response_body": {"id": "r", "choices": [{"index": 0, "finish_reason": "stop"}]},
            },
        },
        origin={"format": "helicone"},
        revision="2026-08-22T08:00:02.000000Z",
    )


def test_a_second_export_of_a_request_is_the_same_trace() -> None:
    url = row()["signed_body_url"].replace("secret", "another")
    again = row(signed_body_url=url, asset_urls={"a": "https://s3.test/a?X=2"})
    assert MAPPER.map_trace(again) == MAPPER.map_trace(row(asset_urls={"a": "https://s3.test/a?X=1"}))


# --- what a request and its response say ------------------------------------------------------------------


def test_of_a_repeated_history_the_turn_is_the_end_and_the_rest_is_kept() -> None:
    earlier = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1", "name": "bot"}]
    messages = [{"role": "system", "content": "be brief"}, *earlier, {"role": "user", "content": "two"}]
    trace = MAPPER.map_trace(row(request_body={"messages": messages}))
    assert (trace.system, trace.turns[0].input, trace.turns[0].output) == ("be brief", "two", "hello")
    assert trace.metadata["helicone"]["earlier_messages"] == earlier


def test_several_user_messages_in_a_row_are_one_input() -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert turn_of({"messages": messages}, answer()).input == "one\n\ntwo"


def test_calls_of_tools_since_the_last_user_message_are_spans() -> None:
    messages = [
        {"role": "user", "content": "rain?"},
        {"role": "assistant", "content": "let me see", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c-1", "content": "yes"},
    ]
    turn = turn_of({"messages": messages}, answer())
    assert [(span.id, span.type, span.input, span.output) for span in turn.spans] == [
        ("message-1", "GENERATION", None, "let me see"),
        ("c-1", "TOOL", {"city": "Ghent"}, "yes"),
        ("r-1", "GENERATION", "rain?", "hello"),
    ]
    assert turn.output == "hello"


def test_what_the_history_says_is_never_the_output() -> None:
    messages = [{"role": "user", "content": "rain?"}, {"role": "assistant", "content": "let me see"}]
    assert turn_of({"messages": messages}, None).output is None


def test_an_answer_that_calls_tools_is_its_content_and_calls() -> None:
    calls = turn_of(QUESTION, answer({"role": "assistant", "content": None, "tool_calls": [CALL]}))
    both = turn_of(QUESTION, answer({"role": "assistant", "content": "so", "tool_calls": [CALL]}))
    assert (calls.output, both.output) == ({"tool_calls": [CALL]}, {"content": "so", "tool_calls": [CALL]})


def test_a_refusal_is_the_output() -> None:
    assert turn_of(QUESTION, answer({"role": "assistant", "content": None, "refusal": "no"})).output == "no"


def test_fields_of_messages_and_other_choices_are_kept() -> None:
    request = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi", "name": "ann"}]}
    note = {"role": "assistant", "content": "hello", "annotations": [{"type": "url"}]}
    response = answer(note)
    response["choices"].append({"index": 1, "message": {"content": "hey"}})
    helicone = kept(request_body=request, response_body=response)
    assert helicone["message_fields"] == [
        {"index": 1, "name": "ann"},
        {"index": "response", "annotations": [{"type": "url"}]},
    ]
    assert helicone["response_body"]["choices"][1] == {"index": 1, "message": {"content": "hey"}}


def test_what_a_call_of_a_tool_holds_besides_is_kept() -> None:
    signed = CALL | {"extra_content": {"google": {"thought_signature": "x"}}}
    messages = [{"role": "user", "content": "rain?"}, {"role": "assistant", "content": None, "tool_calls": [signed]}]
    assert kept(request_body={"messages": messages})["message_fields"] == [{"index": 1, "tool_calls": [signed]}]


def test_a_request_of_the_responses_api_is_read() -> None:
    request = {
        "model": "gpt-5",
        "instructions": "be brief",
        "tools": [{"type": "function", "name": "get_weather"}],
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "rain?"}]},
            {"type": "reasoning", "id": "rs-1", "encrypted_content": "…"},
            {"type": "function_call", "call_id": "c-1", **WEATHER},
            {"type": "function_call_output", "call_id": "c-1", "output": "yes"},
        ],
    }
    thought = {"type": "reasoning", "id": "rs-2", "summary": [{"type": "summary_text", "text": "hm"}]}
    said = [{"type": "output_text", "text": "It will rain.", "annotations": [], "logprobs": []}]
    message = {"type": "message", "id": "m-1", "status": "completed", "role": "assistant", "content": said}
    response = {"object": "response", "error": None, "output": [thought, message], "usage": {"input_tokens": 5}}
    trace = MAPPER.map_trace(row(request_body=request, response_body=response))
    turn = trace.turns[0]
    assert (trace.system, turn.input, turn.output, trace.status) == (
        "be brief", "rain?", "It will rain.", Status.COMPLETED,
    )  # fmt: skip
    assert [(span.name, span.input, span.output) for span in turn.spans[:-1]] == [
        ("get_weather", {"city": "Ghent"}, "yes")
    ]
    helicone = trace.metadata["helicone"]
    assert helicone["earlier_messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]
    assert helicone["request_body"]["items"] == [{"index": 3, **request["input"][3]}]
    assert helicone["response_body"] == {
        "object": "response", "usage": {"input_tokens": 5}, "items": [{"index": 0, **thought}],
    }  # fmt: skip
    assert helicone["message_fields"] == [
        {"index": "response", "items": [{"output": 1, "id": "m-1", "status": "completed"}]}
    ]


def test_an_item_of_a_response_with_an_empty_role_is_what_was_said() -> None:
    item = {"type": "message", "role": None, "content": [{"type": "output_text", "text": "hello"}]}
    assert turn_of(QUESTION, {"output": [item]}).output == "hello"


def test_a_response_that_only_calls_a_function_is_that_call() -> None:
    output = [{"type": "function_call", "call_id": "c-1", **WEATHER}]
    turn = turn_of({"input": "rain?"}, {"object": "response", "output": output})
    assert (turn.input, turn.output) == ("rain?", {"tool_calls": [CALL]})


def test_a_request_of_anthropic_is_read() -> None:
    use = {"type": "tool_use", "id": "c-1", "name": "get_weather", "input": {"city": "Ghent"}}
    request = {
        "model": "claude",
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "rain?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "let me see"}, use]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c-1", "content": "yes"}]},
        ],
    }
    response = {
        "id": "msg-1", "type": "message", "role": "assistant", "model": "claude-4", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "It will rain."}], "usage": {"input_tokens": 5, "output_tokens": 2},
    }  # fmt: skip
    changes = dict.fromkeys(("total_tokens", "prompt_tokens", "completion_tokens", "prompt_cache_read_tokens"), 0)
    changes |= {"request_body": request, "response_body": response, "request_model": ""}
    trace = MAPPER.map_trace(row(**changes))
    assert (trace.system, trace.turns[0].input, trace.turns[0].output) == ("be brief", "rain?", "It will rain.")
    assert [(span.name, span.output) for span in trace.turns[0].spans] == [
        ("assistant", "let me see"),
        ("get_weather", "yes"),
        ("claude-4", "It will rain."),
    ]
    assert (trace.models, trace.tokens) == (("claude-4",), {"input": 5, "output": 2})
    assert trace.metadata["helicone"]["response_body"]["stop_reason"] == "end_turn"


def test_an_answer_of_anthropic_that_uses_a_tool_is_that_call() -> None:
    use = {"type": "tool_use", "id": "c-1", "name": "f", "input": {}}
    output = turn_of(QUESTION, {"type": "message", "role": "assistant", "content": [use]}).output
    call = {"id": "c-1", "type": "function", "function": {"name": "f", "arguments": {}}}
    assert output == {"tool_calls": [call]}


def test_what_stands_beside_the_texts_of_a_system_prompt_is_kept() -> None:
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    trace = MAPPER.map_trace(row(request_body={**QUESTION, "system": system}))
    assert trace.system == "be brief"
    assert trace.metadata["helicone"]["request_body"]["system"] == system


def test_a_legacy_completion_is_read() -> None:
    turn = turn_of({"prompt": "once"}, {"choices": [{"text": " upon a time", "index": 0}]})
    assert (turn.input, turn.output) == ("once", " upon a time")


@pytest.mark.parametrize(
    ("request_body", "response_body"),
    [
        ({"contents": [{"parts": [{"text": "hi"}]}]}, {"candidates": [{"content": {"parts": []}}]}),
        ({"_type": "tool", "toolName": "f", "input": "x"}, {"_type": "tool", "status": "success"}),
        ({"input": ["a", "b"], "model": "e"}, {"data": [{"embedding": [0.5]}]}),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "plain text"),
    ],
)
def test_bodies_of_other_shapes_are_the_input_and_the_output_as_they_are(request_body: Any, response_body: Any) -> None:
    turn = turn_of(request_body, response_body)
    assert (turn.input, turn.output) == (request_body, response_body)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"target_url": "https://api.openai.com/v1/embeddings"}, "EMBEDDING"),
        ({"request_body": {"_type": "tool", "toolName": "f", "input": 1}}, "TOOL"),
        ({"request_body": {"_type": "vector_db", "operation": "search"}}, "RETRIEVER"),
    ],
)
def test_what_is_no_call_of_a_model_has_another_type(changes: dict[str, Any], kind: str) -> None:
    assert MAPPER.map_trace(row(**changes)).turns[0].spans[-1].type == kind


def test_bodies_as_json_in_a_text_are_decoded() -> None:
    turn = turn_of('{"messages": [{"role": "user", "content": "hi"}]}', '{"choices": [{"message": {"content": "a"}}]}')
    assert (turn.input, turn.output) == ("hi", "a")


@pytest.mark.parametrize("body", [PLACEHOLDER, None, "", {}])
def test_without_bodies_the_turn_has_no_content_and_says_so(body: Any) -> None:
    trace = MAPPER.map_trace(row(request_body=body, response_body=body))
    turn = trace.turns[0]
    assert (turn.input, turn.output, trace.status, trace.tokens["total"]) == (None, None, Status.COMPLETED, 12)
    missing = trace.metadata["helicone"]["missing"]
    assert missing.keys() == {"request_body", "response_body"}
    assert all("--include-body" in reason for reason in missing.values())


def test_bodies_that_helicone_did_not_store_are_told_apart() -> None:
    missing = kept(request_body=PLACEHOLDER, response_body=None, storage_location="not_stored_exceeded_free")["missing"]
    assert set(missing.values()) == {"Helicone did not store it (not_stored_exceeded_free)"}


# --- how it ended -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "response", "error"),
    [
        (429, {"error": {"message": "slow down", "type": "rate"}}, "slow down"),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "Overloaded"),
        (400, {"error": "bad model"}, "bad model"),
        (400, [{"error": {"code": 400, "message": "bad key"}}], "bad key"),
        (502, "<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (500, {"code": 7}, "response status 500, without a message"),
        (500, None, "response status 500, without a message"),
        (-3, None, "response status -3, without a message"),
        (200, {"error": {"message": "broke off"}}, "broke off"),
    ],
)
def test_a_request_in_error_has_failed_with_the_error_s_words(status: int, response: Any, error: str) -> None:
    trace = MAPPER.map_trace(row(response_status=status, response_body=response))
    assert (trace.status, trace.error, trace.turns[0].error) == (Status.FAILED, error, error)
    assert trace.turns[0].output is None
    assert response is None or trace.metadata["helicone"]["response_body"] == response


@pytest.mark.parametrize("status", [0, None])
def test_a_request_without_status_and_response_is_pending(status: int | None) -> None:
    trace = MAPPER.map_trace(row(response_status=status, response_body=None, response_created_at=None))
    assert (trace.status, trace.ended_at) == (Status.PENDING, None)
    assert "missing" not in trace.metadata["helicone"]


# --- fields of the row ------------------------------------------------------------------------------------


def test_without_a_session_there_is_no_conversation() -> None:
    trace = MAPPER.map_trace(row(request_properties={}))
    assert (trace.conversation_id, trace.name, trace.environment) == (None, None, None)


def test_without_a_session_name_the_path_is_the_name() -> None:
    trace = MAPPER.map_trace(row(request_properties={"helicone-session-path": "/a/b"}))
    assert trace.name == "/a/b"
    assert trace.metadata["helicone"]["request_properties"] == {"helicone-session-path": "/a/b"}


def test_the_user_may_stand_in_three_places() -> None:
    nobody = {"request_user_id": "", "helicone_user": None}
    properties = {"Helicone-User-Id": "w"}
    assert MAPPER.map_trace(row(**nobody | {"helicone_user": "v"})).user_id == "v"
    assert MAPPER.map_trace(row(**nobody, request_properties=properties)).user_id == "w"


def test_properties_that_differ_from_their_copy_are_both_kept() -> None:
    trace = MAPPER.map_trace(row() | {"properties": {"plan": "paid"}})
    assert (trace.metadata["plan"], trace.metadata["helicone"]["properties"]) == ("free", {"plan": "paid"})


def test_models_that_differ_are_all_kept() -> None:
    trace = MAPPER.map_trace(row(response_model="gpt-4.1-2026", model="gpt-4.1-2026"))
    assert trace.models == ("gpt-4.1-2026",)
    assert trace.metadata["helicone"]["request_model"] == "gpt-4.1"


@pytest.mark.parametrize(("changes", "cost"), [({"costUSD": 0.5, "cost": None}, 0.5), ({"cost": 0}, None)])
def test_the_cost_has_several_names_and_zero_is_not_known(changes: dict[str, Any], cost: float | None) -> None:
    assert MAPPER.map_trace(row(**changes)).cost == cost


def test_times_may_be_milliseconds_since_1970() -> None:
    assert MAPPER.map_trace(row(request_created_at=1787385600250)).started_at == "2026-08-22T08:00:00.250000Z"


def test_scores_feedback_and_whatever_we_do_not_know_are_kept() -> None:
    helicone = kept(scores={"tone": 5}, feedback_rating=True, news="x", missing="mine", request_body=None)
    assert (helicone["scores"], helicone["feedback_rating"], helicone["news"]) == ({"tone": 5}, True, "x")
    assert helicone["row.missing"] == "mine"


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (7, "not_an_object", "a number, not an object"),
        ({"id": 1}, "no_id", "there is no request_id"),
        ({"data": [row()], "error": None}, "not_a_whole_trace", "a page of Helicone's API"),
        (row(request_id=""), "no_id", "request_id is missing"),
        (row(request_created_at="soon"), "bad_time", "request_created_at"),
        (row(response_status="fine"), "bad_field", "response_status must be a number"),
        (row(prompt_tokens=1.5), "bad_field", "prompt_tokens must be a whole number"),
        (row(cost="cheap"), "bad_field", "cost must be a number"),
        (row(request_properties="x"), "bad_field", "request_properties must be an object"),
        (row(request_properties={"Helicone-Session-Id": []  , "Helicone-Session-Name": {"a": 1}}), "bad_field",
         "Helicone-Session-Name must be a text"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_mapped_is_rejected_with_the_field_and_the_way_out(
    record: Any, kind: str, words: str
) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        MAPPER.map_trace(record)
    assert caught.value.kind == kind
    assert any(way_out in str(caught.value) for way_out in ("format: custom", "@helicone/export", "jq -c"))


# --- detection --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [PLACEHOLDER, QUESTION])
def test_rows_are_recognised_with_and_without_bodies(body: Any) -> None:
    guess = detect_format([row(request_body=body)])
    assert guess.is_sure
    assert guess.mapper is MAPPERS["helicone"]


@pytest.mark.parametrize(
    "record",
    [
        {"request_id": "1", "ask": "q", "reply": "a"},
        {"request_id": "tr-1", "trace": "{}", "timestamp_ms": 1, "status": "OK", "execution_time_ms": 1, "spans": []},
        {"request_id": "1", "response_status": 200, "delay_ms": 1, "timestamp": "2026-01-01"},
    ],
)
def test_other_logs_with_a_request_id_are_not_taken_for_helicone(record: Any) -> None:
    guess = detect_format([record])
    assert not guess.is_sure


def test_a_page_of_the_api_is_named() -> None:
    assert "a page of Helicone's API" in doubt(detect_format([{"data": [row()], "error": None}]))


def test_its_csv_has_no_answers_and_says_which_export_has() -> None:
    header = (
        "response_id response_created_at response_status request_created_at request_body request_properties "
        "request_user_id model prompt_tokens completion_tokens latency cost"
    )
    row = dict.fromkeys(header.split(), "1")
    guess = detect_format([row])
    assert not guess.is_sure
    assert "--format jsonl --include-body" in doubt(guess)
    with pytest.raises(RejectedError, match="holds neither the answers nor the ids"):
        MAPPER.map_trace(row)
