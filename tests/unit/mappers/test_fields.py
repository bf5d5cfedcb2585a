from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers import fields


@pytest.mark.parametrize(
    ("value", "expected"), [("a", "a"), (7, "7"), (2**70, str(2**70)), (None, None), ("", None), (" ", None)]
)
def test_an_id_is_a_text_or_the_digits_of_an_integer(value: Any, expected: str | None) -> None:
    assert fields.id_of(value, "id") == expected


@pytest.mark.parametrize("value", [True, 1.5, [], {}, pytest.param(10**5000, id="huge")])
def test_any_other_id_is_rejected_by_name(value: Any) -> None:
    with pytest.raises(RejectedError, match=r"^traceId must be a string or an integer, not ") as caught:
        fields.id_of(value, "traceId")
    assert caught.value.kind == "bad_field"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"input": "380", "output": 2, "total": 3.0, "cached": None}, {"input": 380, "output": 2, "total": 3}),
        ({}, {}),
        (None, {}),
    ],
)
def test_counts_of_tokens_may_be_texts(value: Any, expected: dict[str, int]) -> None:
    assert fields.tokens_of(value, "usageDetails") == expected


@pytest.mark.parametrize("count", ["many", 1.5, True, [], float("inf")])
def test_a_count_that_is_no_whole_number_is_rejected_by_name(count: Any) -> None:
    with pytest.raises(RejectedError, match=r"usageDetails\.input must be a whole number"):
        fields.tokens_of({"input": count}, "usageDetails")


@pytest.mark.parametrize(("value", "expected"), [("0.5", 0.5), (1, 1.0), (None, None), ("", None)])
def test_a_number_may_be_a_text(value: Any, expected: float | None) -> None:
    assert fields.number_of(value, "cost") == expected


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", 10**400, "cheap", True])
def test_a_number_is_finite(value: Any) -> None:
    with pytest.raises(RejectedError, match="cost must be a number"):
        fields.number_of(value, "cost")


def test_metadata_that_has_our_key_already_keeps_it_under_another_name() -> None:
    own = {"langfuse": 1, "metadata.langfuse": 2}
    assert fields.beside(own, "langfuse", {"x": 3}) == {
        "langfuse": {"x": 3},
        "metadata.langfuse": 2,
        "metadata.metadata.langfuse": 1,
    }


def test_messages_say_what_was_found_but_not_what_it_says() -> None:
    assert [fields.found(value) for value in (None, True, 3, "secret", "", [1, 2], {"a": 1})] == [
        "null", "true", "a number", "a text", "an empty text", "a list of 2", "an object",
    ]  # fmt: skip


def test_any_json_can_be_written_as_text() -> None:
    assert fields.json_text({"big": 2**80, "half": "\ud83d"}) == '{"big":1208925819614629174706176,"half":"\\ud83d"}'
