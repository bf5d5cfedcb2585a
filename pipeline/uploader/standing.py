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
    stale: list[int]
    """Those among them that do not say all that the trace says."""
    doubles: list[str]
    """There once more."""
    others: list[str]
    """Neither: from here on it is another conversation."""
    prints: list[bytes]
    """What those of `ids` say by now."""


def standing_of(
    stored: Sequence[StoredTurn], wanted: Sequence[TurnImport], *, known: Sequence[str] = (), rewrites: int = 0
) -> Standing:
    """Turn by turn in the order of the server; of two that are alike, the one that was stored first counts.

    `known`: the ids of the first ones, as the API gave them; these are ours whatever they say there. `rewrites`: in so
    many places a turn that says something else is an older state of the wanted one, or is shown otherwise than sent.
    """
    order = {id: place for place, id in enumerate(known)}
    ids: list[str] = []
    prints: list[bytes] = []
    stale: list[int] = []
    doubles: list[str] = []
    others: list[str] = []
    taken: set[bytes] = set()
    # By the server's order, which two machines see alike; `known` decides only where that says nothing.
    for turn in sorted(stored, key=lambda one: (*one.place[:2], order.get(one.id, len(known)), one.id)):
        place = len(ids)
        next_one = wanted[place] if place < len(wanted) and not others else None
        if next_one is not None and (turn.print == next_one.print or order.get(turn.id) == place):
            if (turn.print, turn.figures) != (next_one.print, next_one.figures):
                stale.append(place)
        elif turn.print in taken:
            doubles.append(turn.id)
            continue
        elif next_one is not None and len(known) <= place < rewrites and turn.id not in order:
            stale.append(place)
        else:
            others.append(turn.id)
            continue
        ids.append(turn.id)
        prints.append(turn.print)
        taken.add(turn.print)
    return Standing(ids, stale, doubles, others, prints)
