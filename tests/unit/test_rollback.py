"""The custom id that a session is given before it is deleted."""

from __future__ import annotations

from pipeline.mappers.session import MAX_CUSTOM_ID
from pipeline.rollback import deleted_id

RUN = "20260822T080000Z-1a2b3c"


def test_it_says_of_which_run_it_was() -> None:
    assert deleted_id("langfuse:t1", RUN) == f"langfuse:t1~deleted-{RUN}"


def test_long_ids_that_begin_alike_stay_two() -> None:
    ids = {deleted_id("x" * 199 + end, RUN) for end in "ab"}
    assert len(ids) == 2
    assert {len(one) for one in ids} == {MAX_CUSTOM_ID}


def test_a_second_session_of_one_id_gets_another_one() -> None:
    assert deleted_id("t1", RUN, session_id="s1") != deleted_id("t1", RUN, session_id="s2") != deleted_id("t1", RUN)
