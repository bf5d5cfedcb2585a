"""What headers tell about the limit, and what they do not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.uploader.hints import policy_text, quota_per_second, wait_of
from pipeline.uploader.retry import parse_retry_after
from tests.fake_clock import START

NOW = int(START.timestamp())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7", "x-ratelimit-reset": "99"}, 7.0),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "12"}, 12.0),
        ({"ratelimit": '"default";r=0;t=9', "ratelimit-policy": '"default";q=100;w=60'}, 9.0),
        ({"ratelimit": "limit=100, remaining=0, reset=8"}, 8.0),
        ({"x-ratelimit-reset": "5"}, 5.0),
        ({"x-ratelimit-reset": str(NOW + 5)}, 5.0),
        ({"x-ratelimit-reset": str((NOW + 5) * 1000)}, 5.0),
        ({"x-ratelimit-reset": str(NOW - 500)}, 0.0),
        ({"x-ratelimit-reset": "Sat Aug 22"}, None),
        ({"ratelimit-reset": "-4"}, None),
        ({"ratelimit": "garbage;;;=,"}, None),
        ({}, None),
    ],
)
def test_how_long_a_refusal_says_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(wait_of(headers), now=START, longest_seconds=300) == seconds


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ('"default";q=100;w=60', 100 / 60),
        ('"burst";q=20;w=1, "hour";q=3600;w=3600', 1.0),
        ("100;w=60", 100 / 60),
        ("10, 10;w=1, 50;w=60", 50 / 60),
        ("100", None),
        ('"default";q=0;w=60', None),
        ('"default";q=5;w=0', None),
        ("q=1;w", None),
    ],
)
def test_a_policy_is_a_rate_where_it_names_a_window(text: str, per_second: float | None) -> None:
    assert quota_per_second(text) == (pytest.approx(per_second) if per_second is not None else None)


@given(st.text(max_size=600), st.text(max_size=600))
def test_garbage_says_nothing_and_breaks_nothing(text: str, other: str) -> None:
    rate = quota_per_second(text)
    assert rate is None or 0 < rate < float("inf")
    headers = {"ratelimit": text, "x-ratelimit-reset": other, "ratelimit-reset": text}
    wait = parse_retry_after(wait_of(headers), now=START, longest_seconds=300)
    assert wait is None or 0 <= wait <= 300


def test_an_answer_without_hints_costs_less_than_a_microsecond() -> None:
    headers = {f"x-header-{number}": "value" for number in range(15)}
    started = time.process_time()
    for _ in range(100_000):
        policy_text(headers)
    assert time.process_time() - started < 0.1
