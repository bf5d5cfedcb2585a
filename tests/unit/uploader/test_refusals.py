"""Which reasons are one and the same."""

from __future__ import annotations

import time

import pytest

from pipeline.uploader.refusals import ALIKE_LIMIT, Alike


@pytest.mark.parametrize(
    "reason",
    ["no language 'x{}'", 'no "{}" there', "session_{} is closed", "{} is too long", "at ({}, {}): no", "no `a {} b`"],
)
def test_ids_numbers_and_what_is_quoted_make_no_other_reason(reason: str) -> None:
    alike = Alike()
    assert [alike.see(reason.format(number, number)) for number in range(ALIKE_LIMIT)] == [False] * 49 + [True]


def test_other_words_are_another_reason() -> None:
    alike = Alike()
    assert not any(alike.see(f"no {word} there") for _ in range(ALIKE_LIMIT) for word in ("name", "input"))


@pytest.mark.parametrize("part", ["x", "'", "x'", '"`', " x"])
def test_a_long_reason_takes_no_time(part: str) -> None:
    started = time.process_time()
    Alike().see(part * 100_000)
    assert time.process_time() - started < 0.2
