"""Brings the records of scattered traces together as the import does, but in memory and in the plainest words."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from pipeline.mappers.mapper import Mapper, Piece
from pipeline.models import Trace


def traces_of(mapper: Mapper, records: Iterable[Any]) -> list[Trace]:
    """The traces in these records, in order of their first one."""
    found: dict[str, list[tuple[Piece, Any]]] = {}
    whole: list[Trace | None] = []
    for record in records:
        for value in [value for _, value in mapper.split(record)] if mapper.split else [record]:
            piece = mapper.piece_of(value) if mapper.piece_of else None
            if piece is None:
                whole.append(mapper.map_trace(value))
            else:
                found.setdefault(piece.trace_id, []).append((piece, value))
    assembled: list[Trace | None] = []
    for pieces in found.values():
        if len(pieces) == 1 and mapper.is_whole(pieces[0][1]):
            assembled.append(mapper.map_trace(pieces[0][1]))
        else:
            assert mapper.assemble is not None
            assembled.append(mapper.assemble(iter(_distinct(mapper, pieces))))
    return [trace for trace in [*whole, *assembled] if trace is not None]


def _distinct(mapper: Mapper, pieces: list[tuple[Piece, Any]]) -> list[Any]:
    """Each id once, in its newest state, in order of start; what has no id stays."""
    states: dict[str, list[tuple[Piece, Any]]] = {}
    for number, (piece, value) in enumerate(pieces):
        states.setdefault(piece.id if piece.id is not None else f"\0{number}", []).append((piece, value))
    kept: list[tuple[Piece, Any]] = []
    for same in states.values():
        ordered = sorted(same, key=lambda pair: pair[0].revision)  # of equal ones the later in the input is the newer
        newest, data = ordered[-1]
        if mapper.merge is not None:
            starts = [piece.started_at for piece, _ in ordered if piece.started_at is not None]
            newest = replace(newest, started_at=min(starts, default=None))
            data = functools.reduce(mapper.merge, [value for _, value in ordered])
        kept.append((newest, data))
    kept.sort(key=lambda pair: (pair[0].started_at or "", pair[0].id or ""))
    return [value for _, value in kept]
