"""JSON text to values and back: what is strict, what is replaced, what is refused."""

from __future__ import annotations

import json
import math
import tracemalloc
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.json_text import MAX_DEPTH, NotJsonError, clean, decode, encode, encode_counted

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4),
    max_leaves=20,
)


def nested(depth: int, opening: bytes = b"[", middle: bytes = b"1", closing: bytes = b"]") -> bytes:
    return opening * depth + middle + closing * depth


@given(json_values)
def test_what_is_written_is_read_back(value: Any) -> None:
    cleaned, _ = clean(value)
    assert decode(json.dumps(cleaned).encode()).value == cleaned


@given(json_values)
def test_the_encoded_form_is_canonical_and_stable(value: Any) -> None:
    out = encode(value)
    assert encode(json.loads(out)) == out
    assert decode(out).repairs == {}


@pytest.mark.parametrize("digits", [16, 19, 20, 39, 300, 4299, 4301, 20_000])
def test_integers_keep_all_their_digits(digits: int) -> None:
    text = b"9" * digits
    value = decode(b'{"id":' + text + b"}").value["id"]
    assert not isinstance(value, float)
    assert encode(value) == b'"' + text + b'"'


@pytest.mark.parametrize(
    ("raw", "value", "repairs"),
    [
        (b"NaN", None, {"nan_to_null": 1}),
        (b"[Infinity,-Infinity]", [None, None], {"nan_to_null": 2}),
        (b"1e400", None, {"nan_to_null": 1}),
        (b"-1e400", None, {"nan_to_null": 1}),
        (b'"\\ud83d"', "\ufffd", {"lone_surrogate": 1}),
        (b'"\\ud83d\\ude00"', "😀", {}),
        (b'"\\ude00\\ud83d"', "\ufffd\ufffd", {"lone_surrogate": 2}),
        (b'{"a\\u0000":"\\u0000b\\u0000"}', {"a\ufffd": "\ufffdb\ufffd"}, {"nul": 3}),
        (b'"\\\\u0000"', "\\u0000", {}),
        (b"\xef\xbb\xbf[1]", [1], {}),
        (b" [1]\r", [1], {}),
        (b"1.5e-400", 0.0, {}),
        (b"-0", 0, {}),
        (b'{"a":1,"a":2}', {"a": 2}, {}),
    ],
)
def test_what_strict_parsers_refuse_is_replaced_and_counted(raw: bytes, value: Any, repairs: dict[str, int]) -> None:
    assert decode(raw) == (value, repairs)


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        (b"", "not_json", "not JSON (expecting value) at column 1"),
        (b'{"a": "b', "not_json", "not JSON (unterminated string) at column 7"),
        (b"[1 2]", "not_json", "not JSON (expecting ',' delimiter) at column 4"),
        (b'{"a":1\n,\nb}', "not_json", "at line 3 column 1"),
        (b"{} {}", "not_json", "not JSON (extra data) at column 4"),
        (b'"\x00"', "not_json", "not JSON (invalid control character) at column 2"),
        (b'"a\tb"', "not_json", "not JSON (invalid control character) at column 3"),
        (b"{'a':1}", "not_json", "not JSON"),
        (b"[1,]", "not_json", "not JSON"),
        (b"01", "not_json", "not JSON"),
        (b'"\xff"', "not_utf8", "not UTF-8 (byte 0xff) at column 2"),
        (b'{"\xff":NaN}', "not_utf8", "not UTF-8"),
        (b'"\xed\xa0\x80"', "not_utf8", "not UTF-8"),
        (nested(10_000), "too_deep", "nested deeper than 254 levels"),
        (b"[" * 10_000, "too_deep", "nested deeper"),
        (nested(10_000, b'{"a":', b"NaN", b"}"), "too_deep", "nested deeper"),
    ],
)
def test_what_is_no_json_says_why_and_where(raw: bytes, kind: str, message: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        decode(raw)
    assert caught.value.kind == kind
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("opening", "middle", "closing"),
    [
        (b"[", b"1", b"]"),
        (b"[", b"", b"]"),
        (b"[0,", b"2", b",1]"),
        (b'{"a":', b'"]}"', b',"b":"{"}'),
        (b"[", b"1" * 30, b"]"),
        (b"[", b"NaN", b"]"),
        (b"[", b'"\\ud800"', b"]"),
    ],
)
def test_the_depth_limit_is_the_same_on_every_path(opening: bytes, middle: bytes, closing: bytes) -> None:
    value = decode(nested(MAX_DEPTH, opening, middle, closing)).value
    assert encode({"metadata": {"wrapped": [value]}})
    with pytest.raises(NotJsonError) as caught:
        decode(nested(MAX_DEPTH + 1, opening, middle, closing))
    assert caught.value.kind == "too_deep"


def test_a_wide_record_is_not_a_deep_one() -> None:
    assert decode(b"[" + b",".join([b'[{"a":{}}]'] * 2_000) + b"]").repairs == {}


def test_any_depth_can_be_written() -> None:
    value: Any = "core"
    for _ in range(3_000):
        value = [value]
    assert encode(value) == b"[" * 3_000 + b'"core"' + b"]" * 3_000


def test_integers_that_javascript_rounds_are_written_as_strings() -> None:
    value = {"b": [2**53 - 1, 2**53, -(2**53)], "a": {"c": 2**70}, "d": True}
    assert encode_counted(value) == (
        b'{"a":{"c":"1180591620717411303424"},"b":[9007199254740991,"9007199254740992","-9007199254740992"],"d":true}',
        {"big_integer": 3},
    )


def test_what_only_mappers_can_make_is_written_too() -> None:
    value = {"z": math.nan, 1: "a\0", "s\ud800": ("x", {2}), "t": datetime(2026, 1, 2, tzinfo=UTC)}
    text, repairs = encode_counted(value)
    assert json.loads(text) == {
        "z": None,
        "1": "a\ufffd",
        "s\ufffd": ["x", [2]],
        "t": "2026-01-02T00:00:00.000000Z",
    }
    assert repairs["nul"] == 1
    assert repairs["lone_surrogate"] == 1


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (datetime(2026, 8, 22, 8), "2026-08-22T08:00:00.000000Z"),
        (datetime(2026, 8, 22, 8, tzinfo=timezone(timedelta(hours=2))), "2026-08-22T06:00:00.000000Z"),
        (datetime(33, 1, 1), "0033-01-01T00:00:00.000000Z"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=2))), "9999-12-31T23:59:59.999999-02:00"),
        (date(2026, 8, 22), "2026-08-22"),
        (time(1, 2, 3), "01:02:03"),
        (timedelta(milliseconds=1500), 1.5),
        (Decimal("3.00"), 3),
        (Decimal("1.10"), 1.1),
        (Decimal("0.1000000000000000000001"), "0.1000000000000000000001"),
        (Decimal("1e5000"), "1E+5000"),
        (Decimal("NaN"), None),
        (b"text", "text"),
        (b"\xff", "/w=="),
        (math.inf, None),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (2**80, 2**80),
    ],
)
def test_richer_types_become_json(value: Any, cleaned: Any) -> None:
    assert clean(value)[0] == cleaned


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:1 \\n\\u0', max_size=40).map(str.encode))
def test_any_bytes_are_a_value_or_a_reason(raw: bytes) -> None:
    try:
        value, _ = decode(raw)
    except NotJsonError as error:
        assert error.kind in {"not_json", "not_utf8", "too_deep"}
    else:
        encode(value)


def test_what_is_encoded_takes_no_more_memory_than_it_is_long() -> None:
    """Thousands of these wait to be sent; orjson alone leaves each in a block of eight times its size."""
    values = [{"text": "x" * 3_000, "number": number} for number in range(300)]
    tracemalloc.start()
    try:
        kept = [encode(value) for value in values]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.5 * sum(map(len, kept))
