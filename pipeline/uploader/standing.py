"""How the turns on the server stand against those of the trace. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.models import TurnImport
from pipeline.uploader.content_api import StoredTurn


class Standing(NamedTuple):
    """What is there of the turns that are wanted."""

    ids: list[str]
    """Of the wanted ones that are there, from the first one on."""
    doubles: list[str]
    """There once more."""
    others: list[str]
    """Neither: from here on it is another conversation."""


def standing_of(stored: Sequence[StoredTurn], wanted: Sequence[TurnImport]) -> Standing:
    """Turn by turn in the order of the server; of two that are alike, the one that was stored first counts."""
    ids: list[str] = []
    doubles: list[str] = []
    others: list[str] = []
    taken: set[bytes] = set()
    for turn in sorted(stored, key=lambda one: one.place):
        if not others and len(ids) < len(wanted) and turn.print == wanted[len(ids)].print:
            ids.append(turn.id)
            taken.add(turn.print)
        elif turn.print in taken:
            doubles.append(turn.id)
        else:
            others.append(turn.id)
    return Standing(ids, doubles, others)
