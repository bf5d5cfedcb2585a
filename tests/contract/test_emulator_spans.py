"""/traces: spans, one at a time and in batches with partial success."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from emulator_client import new_session, new_turn, post_spans

from pipeline.emulator import RunningEmulator


def span(turn_id: str, **changes: Any) -> dict[str, Any]:
    return {"inferenceResultId": turn_id, "name": "step", **changes}


def names(emulator: RunningEmulator) -> list[str]:
    return [
        span["name"]
        for session in emulator.sessions(with_turns=True)
        for turn in session["turns"]
        for span in turn["spans"]
    ]


def test_a_span_is_answered_with_all_that_is_stored(api: httpx.Client, turn_id: str) -> None:
    sent = span(
        turn_id,
        id="trace_0123456789abcdef",
        parentTraceId="trace_parent",
        type="TOOL",
        description="d",
        inputData={"a": [1, None]},
        outputData="text",
        metadata=[1],
        error="e",
        latencyMs=1.5,
        startTime="2026-01-02T03:04:05.678Z",
        endTime="2026-01-02T03:04:06.000Z",
    )
    answer = api.post("/traces", json=sent)
    assert answer.status_code == 201
    assert answer.json() == {**sent, "createdAt": answer.json()["createdAt"], "deletedAt": None}
    assert api.get(f"/traces/{sent['id']}").json() == answer.json()
    assert api.get(f"/traces?inferenceResultIds[]={turn_id}").json() == [answer.json()]


def test_what_is_left_out_is_null_and_the_id_given(api: httpx.Client, turn_id: str) -> None:
    created = api.post("/traces", json=span(turn_id)).json()
    assert created.pop("id").startswith("trace_")
    given = {"inferenceResultId", "name", "type", "createdAt"}
    assert created["type"] == "SPAN"
    assert {value for name, value in created.items() if name not in given} == {None}
    batch = {"id": "", "type": None, "metadata": None, "startTime": None, "latencyMs": None}
    assert post_spans(api, span(turn_id, **batch)).json()["spans"][0]["type"] == "SPAN"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2026-01-02T03:04:05.678901234Z", "2026-01-02T03:04:05.678Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05.000Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05.000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_kept_to_the_millisecond_in_utc(api: httpx.Client, turn_id: str, sent: str, stored: str) -> None:
    created = api.post("/traces", json=span(turn_id, startTime=sent, endTime=sent)).json()
    assert (created["startTime"], created["endTime"]) == (stored, stored)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        *((kind, kind) for kind in ("SPAN", "EVENT", "CHAIN", "RETRIEVER", "EVALUATOR", "GUARDRAIL")),
        ("LLM", "GENERATION"),
        ("CHAT_MODEL", "GENERATION"),
        ("chat", "GENERATION"),
        ("text_completion", "GENERATION"),
        ("generate_content", "GENERATION"),
        ("embeddings", "EMBEDDING"),
        ("create_agent", "AGENT"),
        ("invoke_agent", "AGENT"),
        ("handoff", "AGENT"),
        ("transfer-to-agent", "AGENT"),
        ("execute_tool", "TOOL"),
        ("whatever", "SPAN"),
    ],
)
def test_no_type_is_refused_and_another_label_is_kept(api: httpx.Client, turn_id: str, label: str, kind: str) -> None:
    created = post_spans(api, span(turn_id, type=label, metadata={"a": 1})).json()["spans"][0]
    original = {} if label == kind else {"galtea.span.original_type": label}
    assert (created["type"], created["metadata"]) == (kind, {"a": 1, **original})


def test_a_label_is_kept_without_metadata_but_not_in_a_list(api: httpx.Client, turn_id: str) -> None:
    created = post_spans(api, span(turn_id, type="LLM"), span(turn_id, type="LLM", metadata=[1])).json()["spans"]
    assert [one["metadata"] for one in created] == [{"galtea.span.original_type": "LLM"}, [1]]


WRONG: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "  "},
    {"name": None},
    {"name": 1},
    {"inferenceResultId": None},
    {"inferenceResultId": "ir_x"},
    {"inferenceResultId": 1},
    {"id": 1},
    {"type": 1},
    {"parentTraceId": 1},
    {"description": {}},
    {"error": {}},
    {"latencyMs": -1},
    {"latencyMs": "1"},
    {"latencyMs": True},
    {"startTime": "yesterday"},
    {"startTime": "2026-01-02"},
    {"endTime": 1},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_span_alone_is_a_400(
    api: httpx.Client, turn_id: str, emulator: RunningEmulator, wrong: dict[str, Any]
) -> None:
    for answer in (api.post("/traces", json=span(turn_id, **wrong)), post_spans(api, span(turn_id, **wrong))):
        assert (answer.status_code, answer.json().keys()) == (400, {"message"})
    assert names(emulator) == []


@pytest.mark.parametrize("wrong", [*WRONG, "no object"])
def test_a_bad_span_is_dropped_and_the_others_stored(
    api: httpx.Client, turn_id: str, emulator: RunningEmulator, wrong: Any
) -> None:
    bad = span(turn_id, **wrong) if isinstance(wrong, dict) else wrong
    answer = post_spans(api, span(turn_id, name="a"), bad, span(turn_id, name="b"))
    assert answer.status_code == 201
    assert [one["name"] for one in answer.json()["spans"]] == ["a", "b"]
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == 1
    (error,) = partial["errors"]
    assert (error["index"], error.keys()) == (1, {"index", "name", "reason"})
    assert error["reason"]
    assert names(emulator) == ["a", "b"]
    assert {**emulator.log()[-1], "time": 0}["rejected_spans"] == 1


def test_without_the_flag_a_drop_is_not_told(api: httpx.Client, turn_id: str) -> None:
    answer = post_spans(api, span(turn_id, name="a"), span(turn_id, name=""), query="")
    assert answer.status_code == 201
    assert [one["name"] for one in answer.json()] == ["a"]
    assert isinstance(post_spans(api, span(turn_id), query="?includeRejected=false").json(), list)


def test_without_a_drop_there_is_no_partial_success(api: httpx.Client, turn_id: str) -> None:
    assert post_spans(api, span(turn_id)).json().keys() == {"spans"}


def test_an_older_body_is_a_bare_array(api: httpx.Client, turn_id: str) -> None:
    answer = api.post("/traces/batch", json=[span(turn_id, name="old")])
    assert (answer.status_code, [one["name"] for one in answer.json()]) == (201, ["old"])


@pytest.mark.parametrize("body", [{}, [], {"traces": []}, {"traces": {}}, {"spans": []}, "x"])
def test_a_batch_without_spans_is_a_400(api: httpx.Client, body: Any) -> None:
    assert api.post("/traces/batch", json=body).status_code == 400


def test_a_batch_may_have_a_hundred_spans(api: httpx.Client, turn_id: str, emulator: RunningEmulator) -> None:
    assert post_spans(api, *[span(turn_id)] * 101).status_code == 400
    assert len(post_spans(api, *[span(turn_id)] * 100).json()["spans"]) == 100
    assert [entry["spans"] for entry in emulator.log()][-2:] == [0, 100]


def test_one_span_of_others_forbids_the_whole_call(api: httpx.Client, turn_id: str, emulator: RunningEmulator) -> None:
    assert post_spans(api, span(turn_id), span("foreign_ir_1")).status_code == 403
    assert api.post("/traces", json=span("foreign_ir_1")).status_code == 403
    assert names(emulator) == []


def test_an_id_that_is_there_already_is_dropped(api: httpx.Client, turn_id: str) -> None:
    answer = post_spans(api, span(turn_id, id="s1"), span(turn_id, id="s1", name="again"))
    assert [one["name"] for one in answer.json()["spans"]] == ["step"]
    assert "with the same id: 's1'" in answer.json()["partialSuccess"]["errors"][0]["reason"]
    assert post_spans(api, span(turn_id, id="s1")).status_code == 400
    assert api.post("/traces", json=span(turn_id, id="s1")).status_code == 400


def test_spans_are_listed_by_filters_sorted_and_paged(api: httpx.Client, session_id: str, turn_id: str) -> None:
    other = new_turn(api, new_session(api))
    post_spans(
        api,
        span(turn_id, id="a", type="TOOL", startTime="2026-01-03T00:00:00Z"),
        span(turn_id, id="b", name="other", startTime="2026-01-02T00:00:00Z"),
        span(other, id="c", startTime="2026-01-01T00:00:00Z"),
    )

    def listed(query: str) -> str:
        answer = api.get(f"/traces?{query}")
        assert answer.status_code == 200, answer.text
        return "".join(one["id"] for one in answer.json())

    assert listed("sort=createdAt,asc") == "abc"
    assert listed("sort[]=startTime&sort[]=asc") == "cba"
    assert listed("sort=startTime,desc&limit=1&offset=1") == "b"
    assert listed(f"inferenceResultIds={turn_id}&sort=createdAt,asc") == "ab"
    assert listed(f"sessionIds={session_id}&sort=createdAt,asc") == "ab"
    assert listed("types=TOOL&types=EVENT") == "a"
    assert listed("names=other&names=x") == "b"
    assert listed("fromStartTime=2026-01-02T00:00:00Z&sort=createdAt,asc") == "ab"
    assert listed("toStartTime=2026-01-02T00:00:00Z&sort=createdAt,asc") == "bc"
    assert listed("ids=a&ids=c&sort=createdAt,asc") == "ac"
    assert listed("inferenceResultIds=ir_x") == ""
    assert api.get("/traces?types=LLM").status_code == 400
    assert api.get("/traces?ids=a&ids=x").json() == {"message": "Span x not found"}
    assert api.get("/traces?ids=x&ids=y").json() == {"message": "Spans not found: x, y"}


def test_a_deleted_span_is_gone(api: httpx.Client, turn_id: str) -> None:
    api.post("/traces", json=span(turn_id, id="a"))
    assert api.delete("/traces/a").status_code == 204
    assert api.get("/traces/a").json() == {"message": "Span a not found"}
    assert api.delete("/traces/a").status_code == 404
    assert api.get("/traces").json() == []


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/traces/a"), ("PUT", "/traces/batch"), ("POST", "/inferenceResults/ir_x")]
)
def test_what_is_not_documented_is_no_route(api: httpx.Client, method: str, path: str) -> None:
    answer = api.request(method, path, json={})
    assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html")
