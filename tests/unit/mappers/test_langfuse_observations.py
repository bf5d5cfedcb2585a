from __future__ import annotations

from typing import Any

import pytest

from pipeline.mappers.langfuse_observations import Spans, read, turn_values
from pipeline.models import Span, Status


def observation(id: str = "o", *, second: int = 0, seconds: int | None = 1, **changes: Any) -> dict[str, Any]:
    """An observation that starts at `second` and lasts `seconds`; None: it has not ended."""
    end = None if seconds is None else f"2026-08-22T08:00:{second + seconds:02}.000Z"
    row = {
        "id": id, "traceId": "t", "projectId": "p", "type": "SPAN", "name": id, "parentObservationId": None,
        "startTime": f"2026-08-22T08:00:{second:02}.000Z", "endTime": end, "level": "DEFAULT",
    }  # fmt: skip
    return row | changes


def only(**changes: Any) -> Span:
    return read([observation(**changes)]).spans[0]


def test_an_observation_becomes_a_span() -> None:
    row = observation(
        type="GENERATION", parentObservationId="p-1", input='{"q": 1}', output='"a"', model="m",
        usageDetails={"input": "380", "output": 20}, totalCost="0.5", metadata='{"k": 1}', promptName="greeting",
        createdAt="2026-08-22T08:00:00Z", statusMessage=None, latency=1.0,
    )  # fmt: skip
    assert read([row]).spans == (
        Span(
            id="o",
            name="o",
            type="GENERATION",
            parent_id="p-1",
            started_at="2026-08-22T08:00:00.000000Z",
            ended_at="2026-08-22T08:00:01.000000Z",
            input={"q": 1},
            output="a",
            model="m",
            tokens={"input": 380, "output": 20},
            cost=0.5,
            metadata={"k": 1, "langfuse": {"promptName": "greeting", "latency": 1.0}},
        ),
    )


def test_both_spellings_give_the_same_span() -> None:
    snake = {
        "id": "o", "trace_id": "t", "project_id": "p", "type": "GENERATION", "name": "o", "parent_observation_id": "",
        "start_time": "2026-08-22 08:00:00.000000", "end_time": "2026-08-22 08:00:01.000000", "level": "ERROR",
        "status_message": "no", "provided_model_name": "m", "usage_details": {"input": 1}, "total_cost": 0.5,
    }  # fmt: skip
    camel = observation(
        type="GENERATION", level="ERROR", statusMessage="no", model="m", usageDetails={"input": 1}, totalCost=0.5
    )
    assert read([snake]) == read([camel])


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"usageDetails": {"input": 1}, "inputUsage": 5}, {"input": 1}),
        ({"usage": {"input": 1, "output": 2, "total": 3, "unit": "TOKENS"}}, {"input": 1, "output": 2, "total": 3}),
        ({"inputUsage": 1, "outputUsage": 2, "totalUsage": 3}, {"input": 1, "output": 2, "total": 3}),
        ({"promptTokens": 1, "completionTokens": 2, "totalTokens": 3}, {"input": 1, "output": 2, "total": 3}),
        ({"inputUsage": 0, "outputUsage": 0, "totalUsage": 0}, {}),
    ],
)
def test_tokens_come_from_whatever_field_the_version_of_langfuse_has(fields: Any, tokens: dict[str, int]) -> None:
    assert (only(**fields).tokens, only(**fields).metadata) == (tokens, {})


def test_a_usage_in_characters_is_no_tokens_and_is_kept() -> None:
    span = only(usage={"input": 400, "unit": "CHARACTERS"})
    assert (span.tokens, span.metadata) == ({}, {"langfuse": {"usage": {"input": 400, "unit": "CHARACTERS"}}})


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        ({"totalCost": 0}, None),
        ({"totalCost": 0, "costDetails": {"total": 0}}, 0.0),
        ({"costDetails": {"total": 0.25}}, 0.25),
    ],
)
def test_a_cost_of_nought_counts_only_where_langfuse_worked_it_out(fields: Any, cost: float | None) -> None:
    assert only(**fields).cost == cost


def test_a_type_that_we_do_not_know_is_a_span_and_is_kept() -> None:
    span = only(type="DREAM")
    assert (span.type, span.metadata) == ("SPAN", {"langfuse": {"type": "DREAM"}})


def test_a_warning_is_no_error_and_is_kept() -> None:
    span = only(level="WARNING", statusMessage="slow")
    assert (span.error, span.metadata) == (None, {"langfuse": {"level": "WARNING", "statusMessage": "slow"}})


def test_spans_stand_in_order_of_start_whatever_the_order_of_the_export() -> None:
    rows = [observation("b", second=2), observation("c", second=2), observation("a", second=5)]
    assert read(rows) == read(rows[::-1])
    assert [span.id for span in read(rows).spans] == ["b", "c", "a"]


def test_of_two_observations_with_one_id_the_newest_counts() -> None:
    old = observation(updatedAt="2026-08-22T08:00:01Z", output="old")
    new = observation(updatedAt="2026-08-22T08:00:02Z", output="new")
    assert read([new, old]).spans[0].output == read([old, new]).spans[0].output == "new"


def test_sums_are_over_all_observations() -> None:
    spans = read(
        [
            observation("a", model="m", usageDetails={"input": 1, "output": 2}, totalCost=0.1),
            observation("b", model="n", usageDetails={"input": 3}, totalCost=0.2),
            observation("c", model="m"),
        ]
    )
    assert (spans.models, spans.tokens, spans.cost) == (("m", "n"), {"input": 4, "output": 2}, pytest.approx(0.3))


class TestStatus:
    def state(self, *rows: dict[str, Any]) -> tuple[Status, str | None]:
        spans = read(list(rows))
        return spans.status, spans.error

    def test_ended_well_is_completed(self) -> None:
        assert self.state(observation()) == (Status.COMPLETED, None)

    def test_an_outer_observation_without_end_is_pending(self) -> None:
        assert self.state(observation("a"), observation("b", second=1, seconds=None)) == (Status.PENDING, None)

    def test_an_inner_observation_without_end_is_not(self) -> None:
        rows = observation("a"), observation("b", seconds=None, parentObservationId="a")
        assert self.state(*rows) == (Status.COMPLETED, None)

    def test_an_event_never_ends(self) -> None:
        assert self.state(observation("a"), observation("e", seconds=None, type="EVENT")) == (Status.COMPLETED, None)

    def test_an_outer_error_is_failed(self) -> None:
        assert self.state(observation(level="ERROR", statusMessage="boom")) == (Status.FAILED, "boom")

    def test_an_outer_error_without_end_is_failed(self) -> None:
        assert self.state(observation(level="ERROR", statusMessage="boom", seconds=None)) == (Status.FAILED, "boom")

    def test_an_inner_error_is_a_step_that_the_trace_got_over(self) -> None:
        rows = observation("a"), observation("b", parentObservationId="a", level="ERROR", statusMessage="boom")
        assert self.state(*rows) == (Status.COMPLETED, None)

    def test_an_outer_error_that_was_tried_again_is_completed(self) -> None:
        rows = observation("a", level="ERROR", statusMessage="boom"), observation("b", second=3)
        assert self.state(*rows) == (Status.COMPLETED, None)

    def test_a_message_from_inside_explains_an_outer_error_without_one(self) -> None:
        rows = (
            observation("a", level="ERROR"),
            observation("b", parentObservationId="a", level="ERROR", statusMessage="cause"),
        )
        assert self.state(*rows) == (Status.FAILED, "cause")

    def test_an_observation_whose_parent_was_not_exported_is_outer(self) -> None:
        assert self.state(observation(parentObservationId="elsewhere", seconds=None)) == (Status.PENDING, None)

    def test_a_pending_trace_has_no_end(self) -> None:
        rows = [observation("a"), observation("b", seconds=None)]
        assert read(rows).ended_at is None


class TestTurnValues:
    def spans(self, *rows: dict[str, Any]) -> Spans:
        return read(list(rows))

    def test_the_values_of_the_trace_come_first(self) -> None:
        assert turn_values("q", "a", self.spans(observation(input="x", output="y"))) == ("q", "a")

    def test_then_those_of_the_outer_observation(self) -> None:
        rows = (
            observation("a", input="x", output="y"),
            observation("g", parentObservationId="a", type="GENERATION", output="2"),
        )
        assert turn_values(None, None, self.spans(*rows)) == ("x", "y")

    def test_then_of_the_first_and_the_last_generation(self) -> None:
        rows = (
            observation("root"),
            observation("g1", second=1, parentObservationId="root", type="GENERATION", input="q1", output="a1"),
            observation("t", second=2, parentObservationId="root", type="TOOL", input="no", output="no"),
            observation("g2", second=3, parentObservationId="root", type="GENERATION", input="q2", output="a2"),
        )
        assert turn_values(None, None, self.spans(*rows)) == ("q1", "a2")
