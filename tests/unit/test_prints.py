"""A turn is known again by what it says, however a database writes its numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.prints import figures_print


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
