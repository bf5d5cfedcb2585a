from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mappers.nested_json import unwrap

containers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
).filter(lambda value: isinstance(value, (list, dict)))


@given(containers, st.integers(1, 3))
def test_json_encoded_up_to_three_times_comes_back(value: Any, times: int) -> None:
    text = value
    for _ in range(times):
        text = json.dumps(text)
    assert unwrap(text) == value


@pytest.mark.parametrize("text", ["12", "null", "true", "", "hello", "{not json}", '"open', '{"a": NaN}', "[1e999]"])
def test_a_text_that_is_no_json_of_ours_stays_as_it_is(text: str) -> None:
    assert unwrap(text) == text


def test_space_before_json_does_not_hide_it() -> None:
    assert unwrap('\n\t {"a": 1}') == {"a": 1}


def test_integers_keep_all_their_digits() -> None:
    assert unwrap("[123456789012345678901234567890]") == [123456789012345678901234567890]


def test_only_as_many_levels_as_asked_for_are_decoded() -> None:
    assert unwrap(json.dumps(json.dumps({"a": 1})), levels=1) == '{"a": 1}'


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 5_000 + "]" * 5_000, '"\\ud83d"', '"\ud800"'])
def test_what_the_parser_cannot_take_stays_raw(text: str) -> None:
    assert unwrap(text) == text


@pytest.mark.parametrize(("depth", "is_decoded"), [(254, True), (255, False), (900, False)])
def test_what_is_nested_deeper_than_a_record_may_be_stays_raw(depth: int, is_decoded: bool) -> None:
    text = "[" * depth + "]" * depth
    assert (unwrap(text) != text) is is_decoded
    assert unwrap("[" + "[], " * 300 + "[]]") == [[]] * 301


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {"a": "{}"}])
def test_other_values_are_left_alone(value: Any) -> None:
    assert unwrap(value) is value
