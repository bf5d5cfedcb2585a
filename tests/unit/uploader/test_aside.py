"""The custom id of a session that makes way."""

from __future__ import annotations

import pytest

from pipeline.mappers.session import MAX_CUSTOM_ID
from pipeline.uploader.aside import aside_id

END = "replaced-20260822T080000Z-1a2b3c"


@pytest.mark.parametrize("session_id", [None, "s1"])
@pytest.mark.parametrize("length", [1, 150, 151, 199, MAX_CUSTOM_ID - 1])
def test_ids_that_begin_alike_stay_two(length: int, session_id: str | None) -> None:
    ids = {aside_id("x" * length + end, END, session_id=session_id) for end in "ab"}
    assert len(ids) == 2
    assert all(len(one) <= MAX_CUSTOM_ID and one.endswith(f"~{END}") for one in ids)


def test_sessions_of_one_id_stay_two() -> None:
    assert aside_id("t1", END, session_id="s1") != aside_id("t1", END, session_id="s2")
