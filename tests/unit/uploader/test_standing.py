"""How the turns on the server stand against those of the trace, also where the API tells no order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ledger.settling import Before
from pipeline.models import TurnImport
from pipeline.prints import turn_print
from pipeline.uploader.content_api import StoredTurn
from pipeline.uploader.standing import Standing, StoredTurns, standing_of, to_rewrite


def turn(said: str) -> TurnImport:
    return TurnImport(b"{}", None, turn_print(said, "yes"), b"figures!", ())


def standing(
    stored: Sequence[tuple[str, int, str]],
    wanted: str,
    *,
    before: str = "",
    known: Sequence[str] = (),
    rewrites: int = 0,
) -> Standing:
    """`stored`: id, index and what is asked there; of the others each letter is a turn."""
    there = StoredTurns()
    there.add(
        [StoredTurn(id, "s", (index, ""), turn_print(said, "yes"), {"status": None}) for id, index, said in stored]
    )
    turns = [turn(said) for said in wanted]
    return standing_of(there, turns, known=known, rewrites=rewrites, before=prints_of(before))


@pytest.mark.parametrize("ids", list(permutations("xyz")))
def test_one_that_changed_in_the_middle_keeps_its_place_where_the_api_tells_no_order(ids: tuple[str, ...]) -> None:
    stored = sorted((id, 0, said) for id, said in zip(ids, "abc", strict=True))
    found = standing(stored, "aBc", before="abc", rewrites=3)
    assert (found.ids, found.others, found.doubles) == (list(ids), [], [])
    assert 1 in found.stale


@given(st.text("ab", max_size=6), st.randoms(use_true_random=False), st.integers(1, 3))
def test_turns_of_one_time_stand_as_they_were_sent(said: str, chance: random.Random, together: int) -> None:
    stored = [(f"{chance.random()}-{place}", place // together, one) for place, one in enumerate(said)]
    found = standing(stored, said)
    assert (len(found.ids), found.others, found.doubles) == (len(said), [], [])


def test_one_that_is_known_is_nobody_elses_while_one_before_it_does_not_show() -> None:
    found = standing([("y", 1, "b"), ("z", 2, "c")], "abc", known=["x", "y", "z"])
    assert (found.ids, found.others, found.late) == ([], [], ["y", "z"])
    assert found.not_shown(["x", "y", "z"]) == ["x"]
    found = standing([("y", 1, "b"), ("z", 2, "d")], "abc", known=["x", "y"])
    assert (found.others, found.late) == (["z"], ["y"])


def prints_of(said: str) -> bytes:
    return b"".join([turn_print(one, "yes") + b"figures!" for one in said])


@pytest.mark.parametrize(
    ("shown", "before", "wanted", "places"),
    [
        ("abc", "abc", "abc", []),  # only the figures look otherwise
        ("aXc", "abc", "abc", []),  # and so does a text
        ("abc", "abc", "aBc", [1]),
        ("ac", "abc", "abc", [1]),  # the second one is gone
        ("aX", "abc", "abc", [1]),
        ("acb", "abc", "abc", [1, 2]),
    ],
)
def test_what_is_shown_otherwise_than_it_was_sent_is_not_sent_again(
    shown: str, before: str, wanted: str, places: list[int]
) -> None:
    found = standing([(one, place, one) for place, one in enumerate(shown)], wanted, rewrites=3)
    assert to_rewrite(found, Before(prints=prints_of(before)), prints_of(wanted)) == places
