"""How the turns on the server stand against those of the trace. No requests are made here."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise, repeat
from operator import itemgetter
from typing import NamedTuple, TypeVar

from pipeline.ledger.settling import Before
from pipeline.models import TurnImport
from pipeline.prints import PRINT_BYTES, SAID_BYTES, said_of
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
    late: list[str]
    """Known ones that show, while one that comes before them does not."""
    prints: bytes
    """What those of `ids` say by now, SAID_BYTES each."""

    def said(self, place: int) -> bytes:
        """What the turn in this place says by now."""
        return self.prints[SAID_BYTES * place : SAID_BYTES * (place + 1)]

    def not_shown(self, known: Sequence[str]) -> list[str]:
        """Those of these that the list did not show at all."""
        shown = {*self.ids, *self.doubles, *self.others, *self.late}
        return [turn_id for turn_id in known if turn_id not in shown]


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

    def in_order(
        self, known: Mapping[str, int], wanted: Sequence[TurnImport], before: bytes
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """Id and both prints, in the order of the server, which two machines see alike.

        The places that are known, and then what was said there before or is wanted there, decide only where that says
        nothing. A turn that stands on two pages, because the list changed in between, is one turn: it must not look
        doubled.
        """
        ids, indexes = self._ids, self._indexes
        places: Sequence[int] = range(len(ids))
        if len(set(ids)) < len(ids):
            places = list({ids[place]: place for place in places}.values())
        if any(indexes[place] >= indexes[after] for place, after in pairwise(places)):

            def rank(place: int) -> tuple[int, str, int]:
                return indexes[place], self._times[place], known.get(ids[place], len(known))

            in_order = sorted(places, key=lambda place: (rank(place), ids[place]))
            places = aligned(in_order, rank, self._said, said_of(before), (turn.print for turn in wanted))
        for place in places:
            start = PRINT_BYTES * place
            middle = start + SAID_BYTES
            yield ids[place], bytes(self._prints[start:middle]), bytes(self._prints[middle : start + PRINT_BYTES])

    def _said(self, place: int) -> bytes:
        return bytes(self._prints[PRINT_BYTES * place : PRINT_BYTES * place + SAID_BYTES])


def aligned(
    turns: Sequence[Turn], rank: Callable[[Turn], object], said: Callable[[Turn], bytes], *expected: Iterable[bytes]
) -> Sequence[Turn]:
    """Turns that are sorted by rank; those of one rank, which the API tells no order of, as they are expected.

    (`index` may be null, and `createdAt` have whole seconds only: api-contract 11.8 and 11.13.) `expected`: what may
    be said in each place, the first one counts most. Those that are not expected take the places that are left.
    """
    if all(rank(turn) != rank(after) for turn, after in pairwise(turns)):
        return turns
    places: dict[bytes, dict[int, None]] = {}
    for conversation in expected:
        for place, one in enumerate(conversation):
            places.setdefault(one, {})[place] = None
    left_of = {one: iter(its_places) for one, its_places in places.items()}
    free = set(range(len(turns)))
    in_order: list[Turn] = []
    for _, group in groupby(turns, key=rank):
        placed: list[tuple[int, Turn]] = []
        others: list[Turn] = []
        for turn in group:
            its_own = next((place for place in left_of.get(said(turn), ()) if place in free), None)
            if its_own is None:
                others.append(turn)
            else:
                free.remove(its_own)
                placed.append((its_own, turn))
        first = len(in_order)
        left = [place for place in range(first, first + len(placed) + len(others)) if place in free]
        for turn, place in zip(others, chain(left, repeat(len(turns)))):  # noqa: B905  (the second has no end)
            free.discard(place)
            placed.append((place, turn))
        in_order += [turn for _, turn in sorted(placed, key=itemgetter(0))]
    return in_order


def standing_of(
    stored: StoredTurns,
    wanted: Sequence[TurnImport],
    *,
    known: Sequence[str] = (),
    rewrites: int = 0,
    before: bytes = b"",
) -> Standing:
    """Turn by turn in the order of the server; of two that are alike, the one that was stored first counts.

    `known`: the ids of the first ones, as the API gave them; these are ours whatever they say there. `rewrites`: in so
    many places a turn that says something else is an older state of the wanted one, or is shown otherwise than sent.
    `before`: the prints of what was there when it was last known to be whole.
    """
    ids: list[str] = []
    prints = bytearray()
    stale: list[int] = []
    doubles: list[str] = []
    others: list[str] = []
    late: list[str] = []
    order = {id: place for place, id in enumerate(known)}
    taken: set[bytes] | None = None
    """What those of `ids` say, once somebody asks."""
    for id, said, figures in stored.in_order(order, wanted, before):
        place = len(ids)
        if order.get(id, place) > place or (late and id in order):
            late.append(id)
            continue
        next_one = wanted[place] if place < len(wanted) and not (others or late) else None
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
    return Standing(ids, stale, doubles, others, late, bytes(prints))


def to_rewrite(standing: Standing, before: Before, prints: bytes) -> list[int]:
    """Of the stale ones those that were not sent as `prints` say it; the others the API shows in its own way.

    One that was sent so, and says by now what another wanted one says (or where turns are gone: anything else), has
    moved into the place of one that is gone.
    """
    if not standing.stale:
        return []
    wanted = said_of(prints)
    all_show = len(standing.ids) >= min(before.turns, len(wanted))
    said = frozenset(wanted)

    def has_moved(place: int) -> bool:
        there = standing.said(place)
        return there != wanted[place] and (there in said or not all_show)

    return [place for place in standing.stale if has_moved(place) or not before.is_as_sent(place, prints)]
