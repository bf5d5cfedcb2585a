"""Pieces of traces, scattered over lines, files and days: each trace with all of its pieces, and each piece once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import orjson

from pipeline import json_text
from pipeline.assembly.spill import MEMORY_BYTES, Spill, Stored
from pipeline.ledger.parts import identity
from pipeline.mappers.mapper import Mapper, Piece
from pipeline.models import Origin, Part, Record, Trace

KEPT_RECORDS_BYTES = 16 << 20
"""Of a larger trace the records are not held for the rejects; their positions are."""


class _Head(msgspec.Struct, array_like=True):
    """What must be known of a piece before its record is read again."""

    mapper: int
    trace_id: str
    id: str | None
    revision: str
    started_at: str | None
    ended_at: str | None
    is_whole: bool
    is_earlier: bool
    """Its file was done in an earlier run, and charged there."""
    source: int
    ordinal: int
    position: str
    repairs: dict[str, int] | None
    is_mended: bool
    """It comes from the rejects, where somebody may have corrected it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Head).decode


class _Item(NamedTuple):
    number: int
    """In order of arrival."""
    head: _Head
    stored: Stored


def trace_key(mapper_name: str, trace_id: str) -> bytes:
    """What the pieces of a trace are found by: 16 bytes."""
    return hashlib.blake2b(f"{mapper_name}\0{trace_id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Gathered(NamedTuple):
    """A trace with its pieces: those that count, in order of start, and those that another one makes void."""

    key: bytes
    mapper: Mapper
    trace_id: str
    values: Callable[[], Iterator[Any]]
    """The records that count, decoded one by one; an item of several states merged is one."""
    whole: bool
    """One record only, that is a trace by itself."""
    origin: Origin
    """Of several states of one piece, the newest that came in."""
    ignored: tuple[tuple[Part, str], ...]
    places: Mapping[str, dict[int, int]]
    """By source, all records of this run, and which pieces they are."""
    present: frozenset[int]
    """Which pieces are there, of whatever run."""
    last_moment: str | None

    def assembled(self) -> Trace | None:
        """All of its records as one trace; None: they are none. Raises what the mapper raises."""
        assert self.mapper.assemble is not None  # a mapper whose records are pieces has it
        return self.mapper.assemble(self.values())


class Scattered:
    """Keeps pieces on disk until all are there."""

    def __init__(self, folder: Path, *, name: str = "spill", memory_bytes: int = MEMORY_BYTES) -> None:
        self._spill = Spill(folder, name=name, memory_bytes=memory_bytes)
        self._mappers: list[Mapper] = []
        self._numbers: dict[str, int] = {}
        """By name, the place in that list."""
        self._sources: list[str] = []
        self.newest_moment: str | None = None
        """Of all pieces that this run read."""

    def __enter__(self) -> Scattered:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spill.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return len(self._spill)

    def add(self, piece: Piece, mapper: Mapper, record: Record, *, is_earlier: bool = False) -> None:
        """Keep a record as a piece of a trace."""
        number = self._numbers.get(mapper.name)
        if number is None:
            number = self._numbers[mapper.name] = len(self._mappers)
            self._mappers.append(mapper)
        if not self._sources or self._sources[-1] != record.source:
            self._sources.append(record.source)
        moment = piece.ended_at or piece.started_at
        if moment is not None and not is_earlier and (self.newest_moment is None or moment > self.newest_moment):
            self.newest_moment = moment
        head = _Head(
            number,
            piece.trace_id,
            piece.id,
            piece.revision,
            piece.started_at,
            piece.ended_at,
            mapper.is_whole(record.data),
            is_earlier,
            len(self._sources) - 1,
            record.ordinal,
            record.position,
            dict(record.repairs) or None,
            record.format is not None,
        )
        self._spill.add(trace_key(mapper.name, piece.trace_id), _encode(head), record.raw)

    def distinct_keys(self) -> Iterator[list[bytes]]:
        """The keys of all traces that have a piece here, in lists."""
        return self._spill.distinct_keys()

    def gathered(self) -> Iterator[Gathered]:
        """Every trace, once all pieces are there."""
        for key, stored in self._spill.groups():
            items = [_Item(number, _decode(each.head), each) for number, each in enumerate(stored)]
            yield self._gather(key, items)

    def _gather(self, key: bytes, items: list[_Item]) -> Gathered:
        mapper = self._mappers[items[0].head.mapper]
        states: dict[str | int, list[_Item]] = {}
        for item in items:
            states.setdefault(item.head.id if item.head.id is not None else item.number, []).append(item)
        chosen: list[list[_Item]] = []
        """Each a piece: the records that make it, older ones first; more than one only where states are merged."""
        counting: list[_Item] = []
        void: list[tuple[_Item, str]] = []
        for same in states.values():
            if len(same) == 1:
                chosen.append(same)
                counting += same
            else:
                made_of, in_parts, not_counting = self._newest(same, mapper)
                chosen.append(made_of)
                counting += in_parts
                void += not_counting
        if len(chosen) > 1:
            chosen.sort(key=_by_start)
        counting = sorted((item for item in counting if not item.head.is_earlier), key=_by_place)
        new = [item for item in items if not item.head.is_earlier]
        is_kept = sum([item.stored.length or len(item.stored.body or b"") for item in new]) <= KEPT_RECORDS_BYTES
        places: dict[str, dict[int, int]] = {}
        repairs: Counter[str] = Counter()
        present: set[int] = set()
        for item in items:
            which = self._identity(item)
            present.add(which)
            if not item.head.is_earlier:
                places.setdefault(self._sources[item.head.source], {})[item.head.ordinal] = which
                if item.head.repairs:
                    repairs.update(item.head.repairs)
        moments = [moment for item in items if (moment := item.head.ended_at or item.head.started_at)]
        return Gathered(
            key=key,
            mapper=mapper,
            trace_id=items[0].head.trace_id,
            values=lambda: (self._value(piece, mapper) for piece in chosen),
            whole=len(chosen) == 1 and chosen[0][-1].head.is_whole,
            origin=Origin(
                tuple([self._part(item, is_kept=is_kept) for item in counting]), dict(repairs), len(new) < len(items)
            ),
            ignored=tuple([(self._part(item, is_kept=False), why) for item, why in void]),
            places=places,
            present=frozenset(present),
            last_moment=max(moments, default=None),
        )

    def _identity(self, item: _Item) -> int:
        return identity(item.head.id if item.head.id is not None else self._spill.body(item.stored))

    def _newest(self, same: list[_Item], mapper: Mapper) -> tuple[list[_Item], list[_Item], list[tuple[_Item, str]]]:
        """Of several states of one piece: those it is made of, those that its session is charged, and the void ones.

        What was read in an earlier run is charged there. It makes no record of this one void: whether the session is
        settled, and so whether this record is news, the ledger knows.
        """
        ordered = sorted(same, key=self._by_age)
        states: dict[bytes, _Item] = {}
        charged: dict[bytes, _Item] = {}
        void: list[tuple[_Item, str]] = []
        for item in ordered:
            content = _content(self._spill.body(item.stored))
            states.pop(content, None)  # said once more, it is the newest
            states[content] = item
            if item.head.is_earlier:
                continue
            first = charged.pop(content, None)
            charged[content] = first or item
            if first is not None:
                void.append((item, "same_span_again"))
        made_of, in_parts = list(states.values()), list(charged.values())
        if mapper.merge is not None:
            return made_of, in_parts, void
        return made_of[-1:], in_parts[-1:], void + [(item, "superseded") for item in in_parts[:-1]]

    def _by_age(self, item: _Item) -> tuple[str, bool, str, int, int]:
        """Of equal revisions a mended one is the newer, else the later in the input, in whatever run it is read."""
        head = item.head
        return head.revision, head.is_mended, self._sources[head.source], head.ordinal, item.number

    def _value(self, piece: list[_Item], mapper: Mapper) -> Any:
        values = [json_text.decode(self._spill.body(item.stored)).value for item in piece]
        value = values[0]
        for newer in values[1:]:
            assert mapper.merge is not None  # or there is only one
            value = mapper.merge(value, newer)
        return value

    def _part(self, item: _Item, *, is_kept: bool) -> Part:
        head = item.head
        raw = self._spill.body(item.stored) if is_kept else b""
        return Part(self._sources[head.source], head.ordinal, head.position, raw)


def _content(raw: bytes) -> bytes:
    """The same for records that say the same, whatever the order of their keys."""
    value = json_text.decode(raw).value
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits
        text = json_text.encode(value)
    return hashlib.blake2b(text, digest_size=16).digest()


def _by_place(item: _Item) -> tuple[int, int]:
    return item.head.source, item.head.ordinal


def _by_start(piece: list[_Item]) -> tuple[str, str]:
    first = piece[0].head
    if len(piece) == 1:
        return first.started_at or "", first.id or ""
    return min((item.head.started_at for item in piece if item.head.started_at), default=""), first.id or ""
