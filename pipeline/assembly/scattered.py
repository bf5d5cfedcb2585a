"""Pieces of traces, scattered over lines, files and days: each trace with all of its pieces, and each piece once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from pipeline import json_text
from pipeline.assembly.spill import MEMORY_BYTES, Spill, Stored
from pipeline.mappers.mapper import Mapper, Piece
from pipeline.models import Part, Record, Trace

KEPT_RECORDS_BYTES = 16 << 20
"""Of a larger trace the records are not held for the rejects; their positions are."""
_NO_REPAIRS: Mapping[str, int] = {}


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
    parts: tuple[Part, ...]
    """The records of this run that count, in input order; empty where all that came in was known before."""
    ignored: tuple[tuple[Part, str], ...]
    ordinals: Mapping[str, list[int]]
    """By source, all records of this run."""
    repairs: Mapping[str, int]
    last_moment: str | None
    has_earlier_parts: bool

    def assembled(self) -> Trace | None:
        """All of its records as one trace; None: they are none. Raises what the mapper raises."""
        assert self.mapper.assemble is not None  # a mapper whose records are pieces has it
        return self.mapper.assemble(self.values())


class Scattered:
    """Keeps pieces on disk until all are there."""

    def __init__(self, folder: Path, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._spill = Spill(folder, memory_bytes=memory_bytes)
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
            piece.is_whole,
            is_earlier,
            len(self._sources) - 1,
            record.ordinal,
            record.position,
            dict(record.repairs) or None,
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
        void: list[tuple[_Item, str]] = []
        for same in states.values():
            counting, not_counting = self._newest(same, mapper) if len(same) > 1 else (same, [])
            chosen.append(counting)
            void += not_counting
        if len(chosen) > 1:
            chosen.sort(key=_by_start)
        counting = sorted((item for piece in chosen for item in piece if not item.head.is_earlier), key=_by_place)
        new = [item for item in items if not item.head.is_earlier]
        is_kept = sum(item.stored.length or len(item.stored.body or b"") for item in new) <= KEPT_RECORDS_BYTES
        ordinals: dict[str, list[int]] = {}
        repairs: Counter[str] = Counter()
        for item in new:
            ordinals.setdefault(self._sources[item.head.source], []).append(item.head.ordinal)
            repairs.update(item.head.repairs or _NO_REPAIRS)
        moments = [moment for item in items if (moment := item.head.ended_at or item.head.started_at)]
        return Gathered(
            key=key,
            mapper=mapper,
            trace_id=items[0].head.trace_id,
            values=lambda: (self._value(piece, mapper) for piece in chosen),
            whole=len(chosen) == 1 and chosen[0][-1].head.is_whole,
            parts=tuple([self._part(item, is_kept=is_kept) for item in counting]),
            ignored=tuple([(self._part(item, is_kept=False), why) for item, why in void if not item.head.is_earlier]),
            ordinals=ordinals,
            repairs=dict(repairs),
            last_moment=max(moments, default=None),
            has_earlier_parts=len(new) < len(items),
        )

    def _newest(self, same: list[_Item], mapper: Mapper) -> tuple[list[_Item], list[tuple[_Item, str]]]:
        """Which of several states of one piece count, and why the others do not."""
        # What was read in an earlier run came first; among equals the later one is the newer.
        ordered = sorted(same, key=lambda item: (item.head.revision, not item.head.is_earlier, item.number))
        distinct: list[tuple[_Item, bytes, Any]] = []
        void: list[tuple[_Item, str]] = []
        for item in ordered:
            raw = self._spill.body(item.stored)
            value = json_text.decode(raw).value
            again = next((kept for kept in distinct if kept[1] == raw or kept[2] == value), None)
            if again is None:
                distinct.append((item, raw, value))
            else:  # said once more, it is the newest
                distinct.remove(again)
                distinct.append(again)
                void.append((item, "same_span_again"))
        states = [item for item, _, _ in distinct]
        if mapper.merge is not None:
            return states, void
        return states[-1:], void + [(item, "superseded") for item in states[:-1]]

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


def _by_place(item: _Item) -> tuple[int, int]:
    return item.head.source, item.head.ordinal


def _by_start(piece: Iterable[_Item]) -> tuple[str, str]:
    heads = [item.head for item in piece]
    return min((head.started_at for head in heads if head.started_at), default=""), heads[0].id or ""
