from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RejectedError
from pipeline.mappers.chat import MAPPER
from pipeline.mappers.detect import detect_format, doubt
from pipeline.models import Status, Trace, Turn

QUESTION = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def test_a_fine_tuning_line_has_no_id() -> None:
    assert MAPPER.map_trace({"messages": QUESTION}) == Trace(
        id=None,
        turns=(Turn(input="q", output="a"),),
        status=Status.COMPLETED,
        origin={"format": "chat", "shape": "openai"},
    )


def test_the_fields_beside_the_messages_are_taken() -> None:
    trace = MAPPER.map_trace(
        {
            "id": 17, "created": 1787400000, "model": "m", "user": "u", "session_id": "s", "metadata": {"k": 1},
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, "tools": [{"type": "function"}],
            "messages": QUESTION,
        }
    )  # fmt: skip
    assert trace == Trace(
        id="17",
        conversation_id="s",
        started_at="2026-08-22T12:00:00.000000Z",
        user_id="u",
        turns=(Turn(input="q", output="a"),),
        models=("m",),
        tokens={"input": 3, "output": 2, "total": 5},
        metadata={"k": 1, "chat": {"tools": [{"type": "function"}]}},
        origin={"format": "chat", "shape": "openai"},
    )


def test_a_usage_that_says_more_is_kept_whole() -> None:
    usage = {"prompt_tokens": 3, "prompt_tokens_details": {"cached": 1}}
    trace = MAPPER.map_trace({"messages": QUESTION, "usage": usage})
    assert (trace.tokens, trace.metadata) == ({"input": 3}, {"chat": {"usage": usage}})


@pytest.mark.parametrize("field", [{"created": "long ago"}, {"model": {"name": "m"}}, {"user": [1]}])
def test_a_field_that_cannot_be_read_is_kept_as_it_is(field: dict[str, Any]) -> None:
    assert MAPPER.map_trace({"messages": QUESTION, **field}).metadata == {"chat": field}


def test_a_sharegpt_id_is_not_unique() -> None:
    trace = MAPPER.map_trace({"id": "identity_0", "conversations": SHAREGPT})
    assert (trace.id, trace.id_is_unique, trace.origin["shape"]) == ("identity_0", False, "sharegpt")


@pytest.mark.parametrize(
    "record",
    [
        {"id": "x", "conversation": SHAREGPT},
        {"conversations": SHAREGPT},
        {"id": "x", "conversation": QUESTION},
        {"conversations": json.dumps(QUESTION)},
    ],
)
def test_the_variants_of_sharegpt_are_read(record: dict[str, Any]) -> None:
    trace = MAPPER.map_trace(record)
    assert (trace.turns, trace.id_is_unique) == ((Turn(input="q", output="a"),), False)


def test_the_system_field_of_sharegpt_comes_before_system_messages() -> None:
    messages = [{"from": "system", "value": "inner"}, *SHAREGPT]
    assert MAPPER.map_trace({"system": "outer", "conversations": messages}).system == "outer\n\ninner"


def test_an_lmsys_conversation_id_is_the_id() -> None:
    row = {"conversation_id": "abc", "model": "vicuna-13b", "conversation": QUESTION, "turn": 1, "language": "English",
           "openai_moderation": [{"flagged": False}], "redacted": False}  # fmt: skip
    trace = MAPPER.map_trace(row)
    assert (trace.id, trace.id_is_unique, trace.conversation_id, trace.models) == ("abc", True, "abc", ("vicuna-13b",))
    assert trace.metadata == {
        "chat": {"turn": 1, "language": "English", "openai_moderation": [{"flagged": False}], "redacted": False}
    }


def wildchat(*identifiers: int | None) -> dict[str, Any]:
    messages = [
        {"role": role, "content": role, "turn_identifier": identifier, "timestamp": None, "country": "BE"}
        for identifier in identifiers
        for role in ("user", "assistant")
    ]
    return {"conversation_hash": "h", "timestamp": "2026-01-01T00:00:00Z", "conversation": messages, "toxic": False}


def test_a_wildchat_id_is_the_hash_with_the_last_turn_identifier() -> None:
    trace = MAPPER.map_trace(wildchat(41, 42))
    assert (trace.id, trace.id_is_unique, trace.conversation_id) == ("h-42", True, None)


def test_a_wildchat_hash_alone_is_not_unique() -> None:
    trace = MAPPER.map_trace(wildchat(None))
    assert (trace.id, trace.id_is_unique) == ("h", False)


def test_the_first_wildchat_calls_its_hash_conversation_id() -> None:
    row = {"conversation_id": "h", "timestamp": "2026-01-01T00:00:00Z", "conversation": QUESTION, "turn": 1,
           "detoxify_moderation": [{"toxicity": 0.5}]}  # fmt: skip
    trace = MAPPER.map_trace(row)
    assert (trace.id, trace.id_is_unique, trace.conversation_id, trace.origin["shape"]) == (
        "h",
        False,
        None,
        "wildchat",
    )


def tau_bench(**changes: Any) -> dict[str, Any]:
    info = {"task": {"user_id": "u", "instruction": "You want to fly."}, "source": "user", "user_cost": 0.5}
    return {"task_id": 7, "reward": 0.0, "info": info, "trial": 1, "traj": QUESTION} | changes


def test_a_run_of_tau_bench_is_named_after_its_task_and_trial_which_every_run_has() -> None:
    trace = MAPPER.map_trace(tau_bench())
    assert (trace.id, trace.id_is_unique, trace.conversation_id) == ("7-1", False, None)
    assert (trace.turns, trace.status) == ((Turn(input="q", output="a"),), Status.COMPLETED)
    assert trace.metadata == {"chat": {key: value for key, value in tau_bench().items() if key != "traj"}}


def test_a_run_of_tau_bench_that_crashed_has_failed() -> None:
    trace = MAPPER.map_trace(tau_bench(info={"error": "no answer", "traceback": "Traceback"}))
    assert (trace.status, trace.error) == (Status.FAILED, "no answer")


def test_the_time_of_a_wildchat_row_is_that_of_its_last_turn() -> None:
    trace = MAPPER.map_trace(wildchat(1))
    assert (trace.started_at, trace.ended_at) == (None, "2026-01-01T00:00:00.000000Z")


def test_fields_of_messages_are_kept() -> None:
    kept = MAPPER.map_trace(wildchat(1)).metadata["chat"]["message_fields"]
    assert kept[0] == {"index": 0, "turn_identifier": 1, "country": "BE"}


def test_an_unanswered_question_does_not_make_a_trace_pending() -> None:
    assert MAPPER.map_trace({"messages": QUESTION[:1]}).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (7, "not_an_object", "a number, not an object"),
        ({"text": "q"}, "no_messages", "mapping.trace.messages"),
        ({"messages": None}, "bad_field", "messages must be a list of messages, not null"),
        ({"conversations": []}, "empty_conversation", "conversations is an empty list"),
        (tau_bench(traj=[]), "empty_conversation", "traj is an empty list"),
        ({"messages": QUESTION, "id": True}, "bad_field", "id must be a string or an integer"),
        ({"messages": [*QUESTION, {"content": "x"}]}, "bad_field", r"messages\[2\].role is missing"),
    ],
)
def test_a_record_that_cannot_be_mapped_is_rejected(record: Any, kind: str, words: str) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        MAPPER.map_trace(record)
    assert caught.value.kind == kind


texts = st.text(min_size=1).filter(lambda text: not text.isspace())
messages = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant", "tool", "developer"]), texts), min_size=1, max_size=12
).filter(lambda pairs: any(role in ("user", "assistant", "tool") for role, _ in pairs))


@given(messages)
def test_no_text_is_lost(pairs: list[tuple[str, str]]) -> None:
    trace = MAPPER.map_trace({"messages": [{"role": role, "content": text} for role, text in pairs]})
    found = [trace.system or ""]
    for turn in trace.turns:
        found += [turn.input or "", *(span.output for span in turn.spans), turn.output or ""]
    assert all(any(text in place for place in found) for _, text in pairs)
    assert sum(map(len, found)) >= sum(len(text) for _, text in pairs)


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "human", "content": "q"}, {"type": "ai", "content": "a"}],
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    ],
)
def test_a_list_of_messages_is_a_conversation_too(messages: list[Any]) -> None:
    assert detect_format([messages]).is_sure
    trace = MAPPER.map_trace(messages)
    assert trace is not None
    assert trace.turns == (Turn(input="q", output="a"),)
    assert trace.metadata == {}


def test_a_type_that_is_no_role_stays_with_its_message() -> None:
    trace = MAPPER.map_trace({"messages": [{"role": "user", "type": "message", "content": "q"}]})
    assert trace is not None
    assert trace.metadata["chat"]["message_fields"] == [{"index": 0, "type": "message"}]


def test_files_of_one_message_a_record_say_the_way_out() -> None:
    for message in ({"role": "user", "content": "q"}, {"type": "human", "content": "q"}):
        guess = detect_format([message, message])
        assert not guess.is_sure
        assert "jq -c '{id: input_filename, messages: .}'" in doubt(guess)
