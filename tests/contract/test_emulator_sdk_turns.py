"""The unmodified `galtea` SDK brings past conversations: sessions, turns, spans, the end; and reads them back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from galtea import CostInfoProperties, Galtea, SpanBase, UsageInfoProperties

from pipeline.emulator import RunningEmulator

CONVERSATION = [
    {"role": "user", "content": "Where is my order?"},
    {"role": "assistant", "content": "On its way.", "retrieval_context": "order 7: shipped"},
    {"role": "user", "content": "¿Y la factura? 🧾"},
    {"role": "assistant", "content": ""},
]


@pytest.fixture
def galtea(emulator: RunningEmulator) -> Iterator[Galtea]:
    client = Galtea(api_key="gsk_sdk", base_url=emulator.url, suppress_updatable_version_message=True)
    yield client
    client.shutdown()
    client._Galtea__client.close()  # the SDK leaves its connections to the garbage collector


@pytest.fixture
def session_id(galtea: Galtea) -> str:
    created = galtea.sessions.create(version_id="ver_123", custom_id="conversation-1", is_production=False)
    return str(created.id)


def test_a_past_conversation_is_brought_whole_and_read_back(galtea: Galtea, session_id: str) -> None:
    created = galtea.traces.create_batch(session_id=session_id, conversation_turns=CONVERSATION)
    spans = galtea.spans.create_batch(
        [
            SpanBase(
                trace_id=created[0].id,
                id="trace_0123456789abcdef",
                name="agent",
                type="AGENT",
                start_time="2026-01-02T03:04:05.000Z",
                end_time="2026-01-02T03:04:07.500Z",
            ),
            SpanBase(
                trace_id=created[0].id,
                name="look-up",
                type="TOOL",
                parent_span_id="trace_0123456789abcdef",
                input_data={"order": 7},
                output_data=["shipped"],
                latency_ms=12.5,
                metadata={"try": 1},
                description="d",
                error="slow",
                start_time="2026-01-02T03:04:06.000Z",
            ),
        ]
    )
    finished = galtea.sessions.finish(session_id, stopping_reason="GOAL_ACHIEVED")
    assert (finished.status, finished.stopping_reason) == ("COMPLETED", "GOAL_ACHIEVED")

    listed = galtea.traces.list(session_id=session_id, sort_by_created_at="asc")
    assert listed == created
    assert [(turn.index, turn.input, turn.actual_output, turn.status) for turn in listed] == [
        (0, "Where is my order?", "On its way.", "GENERATED"),
        (1, "¿Y la factura? 🧾", "", "GENERATED"),
    ]
    assert [turn.id for turn in galtea.traces.list(id=[created[1].id])] == [created[1].id]
    stored = galtea.spans.list(session_id=session_id, sort_by_start_time="asc", types=["AGENT", "TOOL"])
    assert stored == spans
    sent = {"name": "look-up", "type": "TOOL", "input_data": {"order": 7}, "output_data": ["shipped"]}
    sent |= {"latency_ms": 12.5, "metadata": {"try": 1}, "description": "d", "error": "slow"}
    sent |= {"parent_span_id": stored[0].id, "trace_id": created[0].id, "start_time": "2026-01-02T03:04:06.000Z"}
    assert {name: getattr(stored[1], name) for name in sent} == sent
    (context,) = galtea.spans.list(trace_id=created[0].id, types=["RETRIEVER"])
    assert context.output_data == "order 7: shipped"


def test_single_turns_carry_latency_tokens_and_costs(galtea: Galtea, session_id: str) -> None:
    usage = {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 5, "tokens": 35}
    cost = {"cost_per_input_token": 0.001, "cost_per_output_token": 0.002, "cost": 0.05}
    structured = {"user_message": "q", "channel": "mail"}
    envelope = {"assistant_message": "a", "content": [{"type": "text", "text": "a"}]}
    galtea.traces.create(session_id=session_id, input="plain", output="text", latency=1234.5)
    galtea.traces.create(
        session_custom_id="conversation-1",
        version_id="ver_123",
        input=structured,
        output=envelope,
        usage_info=UsageInfoProperties(**usage),
        cost_info=CostInfoProperties(**cost),
        status="FAILED",
    )
    first, second = galtea.traces.list(session_id=session_id, sort_by_created_at="asc")
    assert (first.input, first.actual_output, first.latency, first.status) == ("plain", "text", 1234.5, "GENERATED")
    assert (second.input_data, second.actual_output_data, second.status) == (structured, envelope, "FAILED")
    assert {name: getattr(second, name) for name in (*usage, *cost)} == {**usage, **cost}
    assert galtea.traces.get(second.id) == second


def test_the_old_names_still_work(galtea: Galtea, session_id: str) -> None:
    with pytest.warns(DeprecationWarning):
        created = galtea.inference_results.create_batch(session_id=session_id, conversation_turns=CONVERSATION)
    assert len(created) == 2


def test_a_turn_is_updated_and_deleted(galtea: Galtea, session_id: str) -> None:
    turn = galtea.traces.create(session_id=session_id, input="q", status="PENDING")
    updated = galtea.traces.update(turn.id, output="a", latency=5, status="GENERATED", index=3)
    assert (updated.input, updated.actual_output, updated.latency, updated.index) == ("q", "a", 5, 3)
    galtea.traces.delete(turn.id)
    assert galtea.traces.list(session_id=session_id) == []
    with pytest.raises(Exception, match="not found"):
        galtea.traces.list(session_id="session_x")


def test_a_batch_finds_its_session_by_custom_id_or_fails(galtea: Galtea, session_id: str) -> None:
    named = {"version_id": "ver_123", "conversation_turns": CONVERSATION}
    assert galtea.traces.create_batch(session_custom_id="conversation-1", **named)[0].session_id == session_id
    with pytest.raises(requests.HTTPError, match="400"):
        galtea.traces.create_batch(session_custom_id="conversation-2", **named)


def test_dropped_spans_are_told(galtea: Galtea, session_id: str, caplog: pytest.LogCaptureFixture) -> None:
    turn = galtea.traces.create(session_id=session_id, input="q")
    good = SpanBase(trace_id=turn.id, name="good", type="LLM")
    bad: dict[str, Any] = {"trace_id": turn.id, "name": "bad", "latency_ms": -1}
    with caplog.at_level(logging.WARNING):
        (created,) = galtea.spans.create_batch([good, SpanBase(**bad)])
    assert "span 1 (bad)" in caplog.text
    assert (created.type, created.metadata) == ("GENERATION", {"galtea.span.original_type": "LLM"})
    caplog.clear()
    assert galtea.spans.create(trace_id=turn.id, name="one").trace_id == turn.id
    galtea.spans.create_batch([good])
    assert caplog.text == ""
    galtea.spans.delete(created.id)
    with pytest.raises(Exception, match="not found"):
        galtea.spans.get(created.id)


def test_a_closed_session_follows_its_product(galtea: Galtea, session_id: str, emulator: RunningEmulator) -> None:
    galtea.sessions.finish(session_id)
    emulator.set_product("prod_123", closedSessionInferenceCreationPolicy="IGNORE")
    assert len(galtea.traces.create_batch(session_id=session_id, conversation_turns=CONVERSATION)) == 2
    assert galtea.traces.list(session_id=session_id) == []
    emulator.set_product("prod_123", closedSessionInferenceCreationPolicy="REJECT")
    with pytest.raises(requests.HTTPError, match="400"):
        galtea.traces.create(session_id=session_id, input="q")
    emulator.set_product("prod_123", closedSessionInferenceCreationPolicy="REOPEN_AND_REEVALUATE")
    galtea.traces.create(session_id=session_id, input="q")
    assert galtea.sessions.get(session_id).status == "PENDING"
