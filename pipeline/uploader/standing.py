"""How the turns on the server stand against those of the trace. No requests are made here."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple, TypeVar

from pipeline.models import TurnImport
from pipeline.prints import PRINT_BYTES, SAID_BYTES
from pipeline.uploader.content_api import StoredTurn

Turn = TypeVar("Turn")


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
    prints: bytes
    """What those of `ids` say by now, SAID_BYTES each."""

    def said(self, place: int) -> bytes:
        """What the turn in this place says by now."""
        return self.prints[SAID_BYTES * place : SAID_BYTES * (place + 1)]


class StoredTurns:
    """The turns of a session as they are read, page by page, in little memory: there may be very many."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._indexes = array("q")
        self._times: list[str] = []
        self._prints = bytearray()

    def add(self, page: Sequence[StoredTurn]) -> None:
        """Note a page of them."""
        for turn in page:
            index, time = turn.rank
            self._ids.append(turn.id)
            self._indexes.append(index)
            self._times.append(time)
            self._prints += turn.print + turn.figures

    def in_order(self, known: Mapping[str, int], wanted: Sequence[TurnImport]) -> Iterator[tuple[str, bytes, bytes]]:
        """Id and both prints, in the order of the server, which two machines see alike.

        The places that are known, and then those of the wanted turns, decide only where that says nothing. A turn
        that stands on two pages, because the list changed in between, is one turn: it must not look doubled.
        """
        ids, indexes = self._ids, self._indexes
        places: Sequence[int] = range(len(ids))
        if len(set(ids)) < len(ids):
            places = list({ids[place]: place for place in places}.values())
        if any(indexes[place] >= indexes[after] for place, after in pairwise(places)):

            def rank(place: int) -> tuple[int, str, int]:
                return indexes[place], self._times[place], known.get(ids[place], len(known))

            places = aligned(
                sorted(places, key=lambda place: (rank(place), ids[place])), rank, self._said, (t.print for t in wanted)
            )
        for place in places:
            start = PRINT_BYTES * place
            middle = start + SAID_BYTES
            yield ids[place], bytes(self._prints[start:middle]), bytes(self._prints[middle : start + PRINT_BYTES])

    def _said(self, place: int) -> bytes:
        return bytes(self._prints[PRINT_BYTES * place : PRINT_BYTES * place + SAID_BYTES])


def aligned(
    turns: Sequence[Turn], rank: Callable[[Turn], object], said: Callable[[Turn], bytes], wanted: Iterable[bytes]
) -> Sequence[Turn]:
    """Turns that are sorted by rank; those of one rank, which the API tells no order of, in the order of `wanted`.

    (`index` may be null, and `createdAt` have whole seconds only: api-contract 11.8 and 11.13.)
    """
    if all(rank(turn) != rank(after) for turn, after in pairwise(turns)):
        return turns
    places: dict[bytes, deque[int]] = {}
    for place, one in enumerate(wanted):
        places.setdefault(one, deque()).append(place)
    in_order: list[Turn] = []
    for _, group in groupby(turns, key=rank):
        placed = [(free.popleft() if (free := places.get(said(turn))) else sys.maxsize, turn) for turn in group]
        in_order += [turn for _, turn in sorted(placed, key=itemgetter(0))]
    return in_order


def standing_of(
    stored: StoredTurns, wanted: Sequence[TurnImport], *, known: Sequence[str] = (), rewrites: int = 0
) -> Standing:
    """Turn by turn in the order of the server; of two that are alike, the one that was stored first counts.

    `known`: the ids of the first ones, as the API gave them; these are ours whatever they say there. `rewrites`: in so
    many places a turn that says something else is an older state of the wanted one, or is shown otherwise than sent.
    """
    ids: list[str] = []
    prints = bytearray()
    stale: list[int] = []
    doubles: list[str] = []
    others: list[str] = []
    order = {id: place for place, id in enumerate(known)}
    taken: set[bytes] | None = None
    """What those of `ids` say, once somebody asks."""
    for id, said, figures in stored.in_order(order, wanted):
        place = len(ids)
        next_one = wanted[place] if place < len(wanted) and not others else None
        if next_one is not None and (said == next_one.print or order.get(id) == place):
            if (said, figures) != (next_one.print, next_one.figures):
                stale.append(place)
        else:
            if taken is None:
                taken = {bytes(prints[start : start + SAID_BYTES]) for start in range(0, len(prints), SAID_BYTES)}
            if said in taken:
                doubles.append(id)
                continue
            if next_one is None or not len(known) <= place < rewrites or id in order:
                others.append(id)
                continue
            stale.append(place)
        ids.append(id)
        prints += said
        if taken is not None:
            taken.add(said)
    return Standing(ids, stale, doubles, others, bytes(prints))
