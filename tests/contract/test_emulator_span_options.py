"""/traces: sizes, and what is unknown about spans is an option."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from emulator_client import client_of, new_session, new_turn, post_spans

from pipeline.emulator import RunningEmulator, running_emulator

SMALL = {"max_description_bytes": 20, "max_span_value_bytes": 20, "max_batch_spans": 3}


def span(turn_id: str, **changes: Any) -> dict[str, Any]:
    return {"inferenceResultId": turn_id, "name": "step", **changes}


def names(emulator: RunningEmulator) -> list[str]:
    return [
        span["name"]
        for session in emulator.sessions(with_turns=True)
        for turn in session["turns"]
        for span in turn["spans"]
    ]


@pytest.mark.parametrize(
    ("changes", "is_stored"),
    [
        ({"description": "é" * 10}, True),
        ({"description": "é" * 10 + "x"}, False),
        ({"inputData": "x" * 18}, True),  # with its quotes, 20 bytes of JSON
        ({"inputData": "x" * 19}, False),
        ({"outputData": {"k": "x" * 19}}, False),
        ({"metadata": list(range(9))}, True),
        ({"metadata": list(range(11))}, False),
    ],
)
def test_sizes_are_limited(changes: dict[str, Any], is_stored: bool) -> None:
    with running_emulator(options=SMALL) as emulator, client_of(emulator) as api:
        turn_id = new_turn(api, new_session(api))
        assert post_spans(api, span(turn_id, **changes)).status_code == (201 if is_stored else 400)
        assert post_spans(api, *[span(turn_id)] * 4).status_code == 400
        assert len(names(emulator)) == is_stored


def test_a_megabyte_of_description_and_ten_of_data_are_the_limits(api: httpx.Client, turn_id: str) -> None:
    at_limit = span(turn_id, description="x" * 2**20, inputData="x" * (10 * 2**20 - 2))
    assert api.post("/traces", json=at_limit).status_code == 201
    for name in ("description", "inputData"):
        assert api.post("/traces", json={**at_limit, name: at_limit[name] + "x"}).status_code == 400


def twice(turn_id: str) -> list[dict[str, Any]]:
    return [span(turn_id, id="s", name="first"), span(turn_id, id="s", name="second")]


def child_first(turn_id: str) -> list[dict[str, Any]]:
    return [span(turn_id, name="child", parentTraceId="p"), span(turn_id, id="p", name="parent")]


@pytest.mark.parametrize(
    ("options", "sent", "status", "stored"),
    [
        ({"taken_span_id": "refuse_all"}, twice, 400, []),
        ({"taken_span_id": "keep_first"}, twice, 201, ["first"]),
        ({}, child_first, 201, ["child", "parent"]),
        ({"unknown_parent": "reject"}, child_first, 201, ["child", "parent"]),
        ({"unknown_parent": "reject_unless_before"}, child_first, 201, ["parent"]),
        ({"unknown_parent": "reject_unless_before"}, lambda turn: child_first(turn)[::-1], 201, ["parent", "child"]),
        ({"unknown_parent": "reject"}, lambda turn: child_first(turn)[:1], 400, []),
        ({"span_created_status": 200}, child_first, 200, ["child", "parent"]),
        ({"unknown_turn_status": 404}, lambda turn: [span("ir_x"), span(turn)], 201, ["step"]),
        ({"unknown_fields": "refuse"}, lambda turn: [span(turn, colour=1), span(turn)], 201, ["step"]),
        ({"foreign_turn_prefix": ""}, lambda turn: [span("foreign_x"), span(turn)], 201, ["step"]),
    ],
)
def test_the_unknown_behaviours_of_spans_are_options(
    options: dict[str, object], sent: Any, status: int, stored: list[str]
) -> None:
    with running_emulator(options=options) as emulator, client_of(emulator) as api:
        answer = post_spans(api, *sent(new_turn(api, new_session(api))))
        assert (answer.status_code, names(emulator)) == (status, stored)


def test_a_known_span_is_answered_as_it_was_stored_first() -> None:
    with running_emulator(options={"taken_span_id": "keep_first"}) as emulator, client_of(emulator) as api:
        turn_id = new_turn(api, new_session(api))
        first = api.post("/traces", json=span(turn_id, id="s", name="first"))
        again = api.post("/traces", json=span(turn_id, id="s", name="second"))
        assert (again.status_code, again.json()) == (201, first.json())
        assert api.post("/traces", json=span("ir_x")).status_code == 400
