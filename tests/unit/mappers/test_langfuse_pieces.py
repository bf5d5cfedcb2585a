from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.langfuse_pieces import is_whole, piece_of, split
from pipeline.mappers.mapper import Piece


def v2_row(id: str = "o-1", **changes: Any) -> dict[str, Any]:
    """A row of observations_v2 that tells nothing but what each row tells."""
    row = {
        "id": id, "trace_id": "t-9", "project_id": "p", "parent_observation_id": "", "type": "SPAN", "name": id,
        "start_time": "2026-08-22 08:00:00.250000", "end_time": "2026-08-22 08:00:09.250000", "level": "DEFAULT",
        "status_message": "", "version": "", "environment": "default", "user_id": "", "session_id": "", "tags": [],
        "release": "", "trace_name": "", "bookmarked": False, "public": False, "is_root_observation": True,
        "updated_at": "2026-08-22 08:00:10.000000", "input": "", "output": "", "metadata": {}, "usage_details": {},
    }  # fmt: skip
    return row | changes


def legacy_row(id: str = "o-1", **changes: Any) -> dict[str, Any]:
    """A row of the legacy table of observations."""
    row = {
        "id": id, "trace_id": "t-9", "project_id": "p", "environment": "default", "type": "SPAN", "name": id,
        "parent_observation_id": None, "start_time": "2026-08-22 08:00:00.250000", "latency": 9.0, "level": "DEFAULT",
        "end_time": "2026-08-22 08:00:09.250000", "metadata": {}, "input": '{"q": 1}', "output": "a",
        "prompt_name": "greeting", "cost_details": {"total": 0.5}, "model_parameters": '{"top_p": 1}',
        "updated_at": "2026-08-22 08:00:10.000000",
    }  # fmt: skip
    return row | changes


def api_observation(id: str = "o-1", **changes: Any) -> dict[str, Any]:
    """The same, as the API embeds it in a trace."""
    row = {
        "id": id, "traceId": "t-9", "projectId": "p", "environment": "default", "type": "SPAN", "name": id,
        "parentObservationId": None, "startTime": "2026-08-22T08:00:00.250Z", "latency": 9.0, "level": "DEFAULT",
        "endTime": "2026-08-22T08:00:09.250Z", "metadata": {}, "input": {"q": 1}, "output": "a",
        "promptName": "greeting", "costDetails": {"total": 0.5}, "modelParameters": {"top_p": 1},
        "updatedAt": "2026-08-22T08:00:10.000Z",
    }  # fmt: skip
    return row | changes


def trace_row(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "t-9", "timestamp": "2026-08-22 08:00:00.000000", "name": "chat", "environment": "default",
        "project_id": "p", "user_id": "u", "session_id": "s", "release": "r", "version": None, "tags": ["a"],
        "public": False, "bookmarked": False, "input": "hi", "output": "hello", "metadata": {"k": 1},
        "updated_at": "2026-08-22 08:00:05.000000",
    }  # fmt: skip
    return row | changes


def score(id: str = "sc-1", **changes: Any) -> dict[str, Any]:
    row = {
        "id": id, "timestamp": "2026-08-22 09:00:00.000000", "project_id": "p", "environment": "default",
        "trace_id": "t-9", "observation_id": None, "session_id": None, "dataset_run_id": None, "name": "quality",
        "value": 0, "source": "API", "comment": "", "data_type": "NUMERIC", "string_value": None,
        "updated_at": "2026-08-22 09:00:00.000000",
    }  # fmt: skip
    return row | changes


class TestPieces:
    def test_an_observation_names_its_trace_and_when(self) -> None:
        assert piece_of(v2_row()) == Piece(
            trace_id="t-9",
            id="observation o-1",
            revision="2026-08-22T08:00:10.000000Z",
            started_at="2026-08-22T08:00:00.250000Z",
            ended_at="2026-08-22T08:00:09.250000Z",
        )

    def test_without_an_update_the_end_is_the_revision(self) -> None:
        piece = piece_of({"id": 7, "traceId": "t", "type": "SPAN", "endTime": "2026-08-22 08:00:01"})
        assert piece is not None
        assert (piece.id, piece.revision) == ("observation 7", "2026-08-22T08:00:01.000000Z")

    def test_both_tables_of_observations_hold_the_same_pieces(self) -> None:
        assert piece_of(legacy_row()) == piece_of(v2_row()) == piece_of(api_observation())

    def test_a_row_of_a_trace_is_whole(self) -> None:
        piece = Piece("t-9", "trace", "2026-08-22T08:00:05.000000Z", started_at="2026-08-22T08:00:00.000000Z")
        for whole in (trace_row(), {"trace": trace_row(), "observations": []}):
            assert (is_whole(whole), piece_of(whole)) == (True, piece)

    def test_a_trace_that_holds_observations_does_not_take_the_place_of_its_row(self) -> None:
        for whole in (trace_row(observations=[api_observation()]), {"trace": trace_row(), "observations": [{}]}):
            piece = piece_of(whole)
            assert piece is not None
            assert (piece.id, is_whole(whole)) == ("trace with observations", True)

    @pytest.mark.parametrize(
        "record",
        [
            score(),
            {"id": "sc-1", "traceId": "t-9", "name": "q", "value": 1, "source": "API", "updatedAt": "2026-08-22 09:00"},
            {
                "id": "sc-1", "name": "q", "value": 1, "source": "EVAL", "timestamp": "2026-08-22T09:00:00Z",
                "subject": {"kind": "trace", "id": "t-9"},
            },
            {
                "id": "sc-1", "name": "q", "value": 1, "source": "EVAL", "timestamp": "2026-08-22T09:00:00Z",
                "subject": {"kind": "observation", "id": "o-1", "traceId": "t-9"},
            },
        ],
    )  # fmt: skip
    def test_a_score_is_a_piece_of_its_trace(self, record: Any) -> None:
        assert piece_of(record) == Piece("t-9", "score sc-1", "2026-08-22T09:00:00.000000Z")

    @pytest.mark.parametrize("record", [None, 7, [v2_row()], {}, {"foo": 1}, trace_row(id=None)])
    def test_what_is_none_is_left_to_map_trace(self, record: Any) -> None:
        assert piece_of(record) is None

    @pytest.mark.parametrize(
        ("record", "words"),
        [
            (v2_row(trace_id=""), "trace_id of this observation is missing or empty"),
            (v2_row(id=None), "id of this observation is missing or empty"),
            (api_observation(traceId=[1]), "traceId must be a string or an integer"),
            (v2_row(start_time="soon"), 'start_time: "soon" is not a time'),
            (api_observation(updatedAt={}), "updatedAt: dict is not a time"),
            (trace_row(timestamp="soon"), 'timestamp: "soon" is not a time'),
            (score(updated_at="soon"), 'updated_at: "soon" is not a time'),
        ],
    )
    def test_a_piece_that_cannot_be_placed_is_rejected_with_the_field(self, record: Any, words: str) -> None:
        with pytest.raises(RejectedError, match=words):
            piece_of(record)


class TestPages:
    def test_a_page_is_split_into_its_records(self) -> None:
        items = [trace_row(), api_observation(), score(), {"id": "s", "createdAt": "", "projectId": "p"}, 7]
        page = {"data": items, "meta": {"page": 1, "limit": 50, "totalItems": 5, "totalPages": 1}}
        places = ["trace 1", "observation 2", "score 3", "session 4", "item 5"]
        assert list(split(page)) == list(zip(places, items, strict=True))

    def test_an_empty_page_holds_nothing(self) -> None:
        assert list(split({"data": [], "meta": {"cursor": None}})) == []

    def test_a_session_with_its_traces_is_split_into_these(self) -> None:
        session = {"id": "s", "createdAt": "2026-08-22", "projectId": "p", "traces": [trace_row(), trace_row(id="t-8")]}
        assert list(split(session)) == [("trace 1", trace_row()), ("trace 2", trace_row(id="t-8"))]

    @pytest.mark.parametrize("record", [None, [1], trace_row(), v2_row(), {"id": "s", "countTraces": 1, "traces": []}])
    def test_any_other_record_stays_as_it_is(self, record: Any) -> None:
        assert list(split(record)) == [("", record)]
