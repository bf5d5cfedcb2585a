"""A turn is known again by what it says, however a database writes its numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.prints import figures_print, tell, turn_print


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"cost": 0.001}, {"cost": "0.0010"}),
        ({"cost": 3}, {"cost": "3.00"}),
        ({"latency": 120, "inputTokens": 7}, {"latency": 120.0, "inputTokens": "7", "tokens": None}),
    ],
)
def test_figures_are_the_same_as_numbers_and_as_texts(sent: dict[str, Any], shown: dict[str, Any]) -> None:
    assert figures_print(sent) == figures_print(shown)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [({"cost": 0.001}, {"cost": "0.0011"}), ({"error": "404"}, {"error": 404}), ({"cost": 0.1}, {"cost": "a lot"})],
)
def test_other_figures_are_others(sent: dict[str, Any], shown: dict[str, Any]) -> None:
    assert figures_print(sent) != figures_print(shown)


@pytest.mark.parametrize(
    ("shown", "is_told"),
    [
        ({"status": "GENERATED", "latency": 90, "inputTokens": 7}, True),
        ({"status": "GENERATED", "latency": 90, "inputTokens": 7, "tokens": 9, "cost": 0.0, "outputTokens": 0}, True),
        ({"status": "GENERATED", "latency": 91, "inputTokens": 7, "tokens": 9}, False),
        ({"status": "GENERATED", "latency": 90}, False),
        ({"status": "FAILED", "latency": 90, "inputTokens": 7}, False),
    ],
)
def test_what_the_server_reckons_by_itself_is_no_other_figure(shown: dict[str, Any], is_told: bool) -> None:
    sent = figures_print({"status": "GENERATED", "latency": 90, "inputTokens": 7})
    assert tell(shown, sent) is is_told


@pytest.mark.parametrize("levels", [3, 250])
def test_a_whole_number_is_the_same_however_it_is_written(levels: int) -> None:
    assert turn_print(nested(levels, 1.0), "yes") == turn_print(nested(levels, 1), "yes")


@pytest.mark.parametrize("levels", [300, 700, 900])
def test_what_is_nested_deeper_than_anything_that_is_sent_is_something_else(levels: int) -> None:
    deep = nested(levels, 1.0)
    assert turn_print(deep, "yes") != turn_print(nested(250, 1.0), "yes")
    assert figures_print({"status": deep}) != figures_print({"status": "GENERATED"})


def nested(levels: int, value: Any) -> Any:
    for _ in range(levels):
        value = {"a": value}
    return value
