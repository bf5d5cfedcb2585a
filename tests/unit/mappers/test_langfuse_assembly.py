from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.facts import contains, facts
from pipeline.mappers.langfuse import MAPPER
from pipeline.mappers.langfuse_assembly import assemble
from pipeline.models import Span, Status, Trace, Turn
from tests.unit.mappers.assembling import traces_of
from tests.unit.mappers.test_langfuse_pieces import api_observation, legacy_row, score, trace_row, v2_row

KEPT = {
    "id": "sc-1", "timestamp": "2026-08-22 09:00:00.000000", "environment": "default", "name": "quality", "value": 0,
    "source": "API", "dataType": "NUMERIC", "updatedAt": "2026-08-22 09:00:00.000000",
}  # fmt: skip
"""What is kept of `score()` where it is kept with what it is of."""


def one(*records: Any) -> Trace:
    [trace] = traces_of(MAPPER, records)
    return trace


class TestObservationsAlone:
    def test_the_root_tells_the_trace(self) -> None:
        root = v2_row(
            user_id="u", session_id="s", trace_name="chat", tags=["a"], release="r", version="v", input='{"q": 1}',
            output="hello", metadata={"plan": "pro"},
        )  # fmt: skip
        call = v2_row(
            "o-2", parent_observation_id="o-1", is_root_observation=False, type="GENERATION", user_id="u",
            session_id="s", tags=["a"], release="r", version="v", start_time="2026-08-22 08:00:01.000000",
            end_time="2026-08-22 08:00:02.000000", provided_model_name="m", usage_details={"input": 3, "output": 2},
            total_cost=0.25, cost_details={"total": 0.25}, model_parameters='{"top_p": 1}',
            input='[{"role": "system", "content": "Be brief."}]', output="hello", prompt_name="greeting", latency=1.0,
        )  # fmt: skip
        spans = (
            Span(
                id="o-1",
                name="o-1",
                started_at="2026-08-22T08:00:00.250000Z",
                ended_at="2026-08-22T08:00:09.250000Z",
                input={"q": 1},
                output="hello",
                metadata={"plan": "pro"},
            ),
            Span(
                id="o-2",
                name="o-2",
                type="GENERATION",
                parent_id="o-1",
                started_at="2026-08-22T08:00:01.000000Z",
                ended_at="2026-08-22T08:00:02.000000Z",
                input=[{"role": "system", "content": "Be brief."}],
                output="hello",
                model="m",
                tokens={"input": 3, "output": 2},
                cost=0.25,
                metadata={
                    "langfuse": {
                        "costDetails": {"total": 0.25},
                        "modelParameters": {"top_p": 1},
                        "promptName": "greeting",
                        "latency": 1.0,
                    }
                },
            ),
        )
        assert one(call, root) == Trace(
            id="t-9",
            conversation_id="s",
            name="chat",
            started_at="2026-08-22T08:00:00.250000Z",
            ended_at="2026-08-22T08:00:09.250000Z",
            user_id="u",
            tags=("a",),
            environment="default",
            release="r",
            version="v",
            status=Status.COMPLETED,
            system="Be brief.",
            turns=(
                Turn(
                    input={"q": 1},
                    output="hello",
                    started_at="2026-08-22T08:00:00.250000Z",
                    ended_at="2026-08-22T08:00:09.250000Z",
                    latency_ms=9000.0,
                    tokens={"input": 3, "output": 2},
                    cost=0.25,
                    spans=spans,
                ),
            ),
            models=("m",),
            tokens={"input": 3, "output": 2},
            cost=0.25,
            metadata={"plan": "pro"},
            origin={"format": "langfuse", "project": "p"},
            revision="2026-08-22T08:00:10.000000Z",
        )

    def test_rows_of_texts_only_are_the_same(self) -> None:
        typed = v2_row(
            bookmarked=True, tags=["a"], metadata={"k": "v"}, usage_details={"input": 3}, total_cost=0.5,
            cost_details={"total": 0.5}, tool_call_names=["f"],
        )  # fmt: skip
        texts = v2_row(
            bookmarked=True, tags='["a"]', metadata='{"k": "v"}', usage_details='{"input": 3}', total_cost="0.5",
            cost_details='{"total": 0.5}', tool_call_names='["f"]', is_root_observation="true",
        )  # fmt: skip
        assert one(texts) == one(typed)

    def test_what_another_row_says_of_the_trace_stays_with_it(self) -> None:
        trace = one(v2_row(user_id="u"), v2_row("o-2", parent_observation_id="o-1", user_id="v", session_id="s"))
        assert (trace.user_id, trace.conversation_id) == ("u", "s")
        assert trace.turns[0].spans[1].metadata["langfuse"] == {"userId": "v", "isRootObservation": True}

    def test_a_root_whose_parent_never_came_to_langfuse_is_a_root(self) -> None:
        trace = one(v2_row(parent_observation_id="http", input="q"))
        assert trace.partial is None
        assert trace.turns[0].spans[0].parent_id is None
        assert trace.turns[0].spans[0].metadata["langfuse"] == {"physicalParentObservationId": "http"}

    def test_those_of_the_legacy_table_are_partial_until_the_row_of_their_trace_comes(self) -> None:
        observation = legacy_row(input="by the root", output="by the root")
        alone = one(observation)
        whole = one(observation, trace_row(input="q", output="a"))
        assert alone.partial == "the trace's own row is not in the export"
        assert whole.partial is None
        assert contains(facts(whole), facts(alone))

    def test_a_missing_parent_marks_the_trace_as_partial(self) -> None:
        trace = one(v2_row(parent_observation_id="gone", is_root_observation=False))
        assert trace.partial == "1 parent span(s) not in the export: gone"

    def test_a_failed_root_without_a_message_is_explained_from_inside(self) -> None:
        inner = v2_row("o-2", parent_observation_id="o-1", level="ERROR", status_message="cause")
        trace = one(v2_row(level="ERROR"), inner)
        assert (trace.status, trace.error) == (Status.FAILED, "cause")

    def test_a_ui_row_of_observations_knows_when_its_trace_began(self) -> None:
        row = api_observation(traceName="chat", traceTags=["a"], traceTimestamp="2026-08-22 08:00:00.000000")
        trace = one(row)
        assert (trace.name, trace.tags, trace.started_at) == ("chat", ("a",), "2026-08-22T08:00:00.000000Z")
        assert one(row | {"traceTimestamp": "1970-01-01 00:00:00.000000"}).started_at == "2026-08-22T08:00:00.250000Z"

    def test_a_column_for_each_score_is_kept(self) -> None:
        trace = one(api_observation(quality=[0.5], my_score=[1], latencyMs="9000"))
        kept = trace.turns[0].spans[0].metadata["langfuse"]
        assert (kept["quality"], kept["my_score"], kept["latencyMs"]) == ([0.5], [1], "9000")

    def test_a_wrong_field_is_rejected_with_the_observation(self) -> None:
        with pytest.raises(RejectedError, match=r"observation o-1\.usageDetails\.input must be a whole number"):
            one(v2_row(usage_details={"input": "many"}))
        with pytest.raises(RejectedError, match="userId must be a string or an integer"):
            one(v2_row(user_id=["u"]))

    def test_of_two_states_the_newest_counts(self) -> None:
        old = v2_row(output="old", updated_at="2026-08-22 08:00:00")
        assert one(v2_row(output="new"), old) == one(old, v2_row(output="new")) == one(v2_row(output="new"))


class TestStandIn:
    """The span that observations_v2 holds for the trace itself where a project was written to both storages."""

    STAND_IN = v2_row(
        "t-t-9", name="chat", trace_name="chat", end_time=None, user_id="u", session_id="s", release="r", tags=["a"],
        start_time="2026-08-22 08:00:00.000000", input="hi", output="hello", metadata={"k": 1}, total_cost=0,
        updated_at="2026-08-22 08:00:05.000000",
    )  # fmt: skip

    def outer(self, **changes: Any) -> dict[str, Any]:
        of_trace = {"user_id": "u", "session_id": "s", "release": "r", "tags": ["a"], "trace_name": "chat"}
        same = {key: value for key, value in legacy_row().items() if key not in ("parent_observation_id",)}
        ours = of_trace | same | {"parent_observation_id": "t-t-9", "is_root_observation": False}
        return v2_row(**(ours | changes))

    def test_it_is_the_row_of_the_trace(self) -> None:
        trace = one(self.STAND_IN, self.outer())
        legacy = one(trace_row(), legacy_row())
        kept = {**trace.metadata, "langfuse": legacy.metadata["langfuse"]}
        assert [span.id for span in trace.turns[0].spans] == ["o-1"]
        assert (trace.status, kept, trace.turns) == (Status.COMPLETED, legacy.metadata, legacy.turns)

    def test_beside_the_row_of_the_trace_it_says_nothing(self) -> None:
        assert one(trace_row(), self.STAND_IN, self.outer()) == one(trace_row(), legacy_row())

    def test_alone_it_is_a_trace_of_one_turn(self) -> None:
        trace = one(self.STAND_IN)
        assert (trace.turns[0].input, trace.turns[0].output, trace.turns[0].spans) == ("hi", "hello", ())
        assert (trace.conversation_id, trace.cost, trace.status) == ("s", None, Status.COMPLETED)

    def test_where_it_is_not_there_the_trace_is_partial(self) -> None:
        trace = one(self.outer())
        assert trace.partial == "the trace's own row (t-t-9) is not in the export"
        assert trace.turns[0].spans[0].parent_id is None


class TestWithItsRow:
    def test_a_row_alone_is_what_it_was(self) -> None:
        assert one(trace_row()) == MAPPER.map_trace(trace_row()) == assemble([trace_row()])

    def test_rows_of_a_trace_and_its_observations_are_what_the_api_gives(self) -> None:
        rows = legacy_row(), legacy_row("o-2", parent_observation_id="o-1")
        whole = trace_row(observations=[api_observation(), api_observation("o-2", parentObservationId="o-1")])
        assert one(rows[1], trace_row(), rows[0]) == MAPPER.map_trace(whole)

    def test_both_tables_of_observations_are_one(self) -> None:
        enriched = v2_row(**legacy_row(), user_id="u", session_id="s", release="r", tags=["a"], trace_name="chat")
        assert one(trace_row(), enriched, legacy_row()) == one(trace_row(), legacy_row())

    def test_the_newest_row_counts_and_no_observation_is_lost(self) -> None:
        whole = trace_row(observations=[api_observation()], output="old", updated_at="2026-08-22 08:00:01")
        trace = one(whole, trace_row(), legacy_row("o-2"))
        assert trace.turns[0].output == "hello"
        assert [span.id for span in trace.turns[0].spans] == ["o-1", "o-2"]

    def test_a_download_and_rows_of_its_observations_are_one(self) -> None:
        download = {"trace": trace_row(), "observations": [api_observation(input=None)]}
        assert one(download, legacy_row()) == one(trace_row(), legacy_row())

    def test_ids_that_the_api_lists_are_left_out_where_the_observations_are_there(self) -> None:
        trace = one(trace_row(observations=["o-1", "t-t-9"]), legacy_row())
        assert trace == one(trace_row(), legacy_row())

    def test_ids_of_observations_that_are_not_there_are_kept(self) -> None:
        trace = one(trace_row(observations=["o-1", "o-2"]), legacy_row())
        assert trace.metadata["langfuse"]["observationIds"] == ["o-2"]
        assert trace.partial == "1 observation(s) not in the export"

    def test_a_missing_parent_marks_the_trace_as_partial(self) -> None:
        trace = one(trace_row(), legacy_row(parent_observation_id="gone"))
        assert trace.partial == "1 parent span(s) not in the export: gone"


class TestScores:
    def test_a_score_of_the_trace_is_kept_with_it(self) -> None:
        trace = one(score(), trace_row())
        assert trace.metadata["langfuse"]["scores"] == [KEPT]
        assert trace.revision == "2026-08-22T09:00:00.000000Z"
        assert one(score(), v2_row()).metadata == {"langfuse": {"scores": [KEPT]}}

    @pytest.mark.parametrize(
        "rows", [[v2_row()], [trace_row(), legacy_row()], [trace_row(observations=[api_observation()])]]
    )
    def test_a_score_of_an_observation_is_kept_with_its_span(self, rows: list[Any]) -> None:
        trace = one(score(observation_id="o-1"), *rows)
        assert trace.turns[0].spans[0].metadata["langfuse"]["scores"] == [KEPT]
        assert "scores" not in trace.metadata.get("langfuse", {})

    def test_a_score_of_an_observation_that_is_not_there_is_kept_with_the_trace(self) -> None:
        trace = one(score(observation_id="gone"), trace_row())
        assert trace.metadata["langfuse"]["scores"] == [KEPT | {"observationId": "gone"}]

    def test_a_score_takes_the_place_of_its_id_in_the_row(self) -> None:
        trace = one(score(), trace_row(scores=["sc-1", "sc-2"]))
        assert trace.metadata["langfuse"]["scores"] == ["sc-2", KEPT]

    def test_the_subject_of_a_score_says_where_it_belongs(self) -> None:
        named = {"id": "sc-1", "name": "q", "value": 1, "source": "EVAL"}
        subject = {"kind": "observation", "id": "o-1", "traceId": "t-9"}
        trace = one(named | {"subject": subject}, v2_row())
        assert trace.turns[0].spans[0].metadata["langfuse"]["scores"] == [named]

    def test_scores_alone_are_no_trace(self) -> None:
        assert traces_of(MAPPER, [score(), score("sc-2")]) == []


def test_any_order_and_any_repetition_give_the_same_trace() -> None:
    records = [trace_row(), legacy_row(), legacy_row("o-2", parent_observation_id="o-1"), score(), score("sc-2")]
    shuffled = [*records, *records[1:]]
    random.Random(3).shuffle(shuffled)
    assert one(*shuffled) == one(*records)
