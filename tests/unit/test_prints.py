"""A turn is known again by what it says, however a database writes its numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.prints import figures_print, tell


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
