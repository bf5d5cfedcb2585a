from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.detect import detect_format
from pipeline.mappers.langsmith_fetch import MAPPER
from pipeline.models import Span, Status, Trace, Turn

ASKED = {"type": "human", "content": "Is it raining?", "id": "m-1", "additional_kwargs": {}, "example": False}
CALLED = {
    "type": "ai", "content": "", "id": "m-2",
    "tool_calls": [{"name": "weather", "args": {"in": "Bergen"}, "id": "c-1", "type": "tool_call"}],
}  # fmt: skip
LOOKED = {"type": "tool", "content": "rain", "tool_call_id": "c-1", "name": "weather", "status": "success"}
ANSWERED = {"type": "ai", "content": "It is.", "id": "m-3", "tool_calls": []}
RUN = {
    "status": "success", "start_time": "2026-08-22T08:00:00.250000", "end_time": "2026-08-22T08:00:02+00:00",
    "duration_ms": 1750, "first_token_time": None, "feedback_stats": {},
    "custom_metadata": {"thread_id": "th-1", "user_id": "u-1", "ls_model_name": "m", "plan": "free"},
    "token_usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    "costs": {"prompt_cost": None, "completion_cost": None, "total_cost": 0.25},
}  # fmt: skip


def fetched(**changes: Any) -> dict[str, Any]:
    messages = [{"type": "system", "content": "be brief"}, ASKED, CALLED, LOOKED, ANSWERED]
    return {"trace_id": "tr-1", "messages": messages, "metadata": RUN, "feedback": []} | changes


def test_a_trace_becomes_turns_with_what_its_run_says() -> None:
    calls = [{"index": 2, "id": "m-2", "tool_calls": CALLED["tool_calls"]}]
    trace = MAPPER.map_trace(fetched(feedback=[{"key": "tone", "score": 1}]))
    assert trace == Trace(
        id="tr-1",
        conversation_id="th-1",
        started_at="2026-08-22T08:00:00.250000Z",
        ended_at="2026-08-22T08:00:02.000000Z",
        user_id="u-1",
        system="be brief",
        turns=(
            Turn(
                input="Is it raining?",
                output="It is.",
                spans=(Span(id="c-1", name="weather", type="TOOL", input={"in": "Bergen"}, output="rain"),),
            ),
        ),
        models=("m",),
        tokens={"input": 9, "output": 3, "total": 12},
        cost=0.25,
        metadata={
            "thread_id": "th-1",
            "plan": "free",
            "langsmith": {
                "feedback": [{"key": "tone", "score": 1}],
                "duration_ms": 1750,
                "costs": {"total_cost": 0.25},
                "message_fields": [
                    {"index": 1, "id": "m-1", "example": False},
                    *calls,
                    {"index": 3, "name": "weather", "status": "success"},
                    {"index": 4, "id": "m-3"},
                ],
            },
        },
        origin={"format": "langsmith-fetch"},
    )


def test_of_a_trace_that_repeats_its_thread_the_last_turn_is_its_own() -> None:
    system = {"type": "system", "content": "be brief"}
    first = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    again = [{"type": "human", "content": "So:"}, ASKED, CALLED, LOOKED, ANSWERED]
    trace = MAPPER.map_trace(fetched(messages=[system, *first, *again], metadata={}))
    assert trace is not None
    assert [(turn.input, turn.output) for turn in trace.turns] == [("So:\n\nIs it raining?", "It is.")]
    assert trace.system == "be brief"
    assert trace.metadata["langsmith"]["earlier_messages"] == first
    thread = MAPPER.map_trace({"thread_id": "th-1", "messages": [system, *first, *again], "metadata": {}})
    assert thread is not None
    assert [turn.output for turn in thread.turns] == ["hi", "It is."]


def test_what_is_said_beside_a_thread_is_of_its_last_trace() -> None:
    trace = MAPPER.map_trace({"thread_id": "th-1", **{k: v for k, v in fetched().items() if k != "trace_id"}})
    assert trace is not None
    assert (trace.id, trace.conversation_id, trace.ended_at) == ("th-1", "th-1", "2026-08-22T08:00:02.000000Z")
    assert (trace.started_at, trace.tokens, trace.cost, trace.models) == (None, {}, None, ())
    assert trace.metadata["langsmith"]["token_usage"] == RUN["token_usage"]
    assert trace.metadata["langsmith"]["start_time"] == RUN["start_time"]


@pytest.mark.parametrize(("stated", "status"), [("error", Status.FAILED), ("pending", Status.PENDING)])
def test_the_status_is_that_of_the_run(stated: str, status: Status) -> None:
    trace = MAPPER.map_trace(fetched(metadata={"status": stated}))
    assert trace is not None
    assert trace.status is status


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trace_id": None}, "trace_id or thread_id is missing"),
        ({"messages": []}, "messages is an empty list"),
        ({"metadata": ["x"]}, "metadata must be an object"),
        ({"metadata": {"costs": {"total_cost": "much"}}}, r"metadata\.costs\.total_cost must be a number"),
    ],
)
def test_what_cannot_be_mapped_says_where(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        MAPPER.map_trace(fetched(**changes))


def test_its_files_are_recognised_and_chats_with_an_id_of_their_own_are_not() -> None:
    assert detect_format([fetched()]).mapper is MAPPER
    assert detect_format([fetched()]).is_sure
    chat = detect_format([{"thread_id": "th-1", "messages": [ASKED, ANSWERED]}])
    assert (chat.is_sure, chat.mapper and chat.mapper.name) == (True, "chat")
