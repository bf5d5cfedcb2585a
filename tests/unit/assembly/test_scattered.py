from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from pipeline import json_text
from pipeline.assembly import spill
from pipeline.assembly.scattered import Scattered
from pipeline.assembly.spill import Spill
from pipeline.mappers.mapper import Detection, Mapper, Piece
from pipeline.models import Record, Trace
from tests.unit.mappers.assembling import traces_of


def piece_of(row: dict[str, Any]) -> Piece:
    return Piece(row["trace"], row.get("id"), str(row.get("revision", "")), row.get("start"), row.get("end"))


def assemble(rows: Any) -> Trace:
    rows = list(rows)
    return Trace(id=rows[0]["trace"], metadata={"rows": rows})


TOY = Mapper(
    name="toy",
    family="toy",
    detect=lambda sample: Detection(0.0, "never"),
    map_trace=lambda row: None,
    piece_of=piece_of,
    assemble=assemble,
)
MERGING = replace(TOY, merge=lambda older, newer: {**older, **newer})


def records_of(rows: list[dict[str, Any]], source: str = "a.jsonl") -> list[Record]:
    return [Record(source, number, f"line {number}", row, json_text.encode(row)) for number, row in enumerate(rows, 1)]


def gathered(folder: Path, mapper: Mapper, records: list[Record], **memory: int) -> tuple[list[Trace], Any]:
    with Scattered(folder, **memory) as scattered:
        for record in records:
            scattered.add(piece_of(record.data), mapper, record)
        groups = list(scattered.gathered())
        traces = [assemble(group.values()) for group in groups]
    return traces, groups


ROWS = st.lists(
    st.fixed_dictionaries(
        {"trace": st.sampled_from(["t1", "t2", "t3"]), "value": st.integers(0, 3)},
        optional={
            "id": st.sampled_from(["a", "b"]),
            "revision": st.integers(0, 2),
            "start": st.sampled_from(["2026-08-22T08:00:00.000000Z", "2026-08-22T09:00:00.000000Z"]),
            "blob": st.text("ab é\n", max_size=300),
        },
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, on_disk=st.booleans(), merges=st.booleans())
def test_what_comes_back_is_what_a_plain_assembly_in_memory_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], on_disk: bool, merges: bool
) -> None:
    mapper = MERGING if merges else TOY
    memory = {"memory_bytes": 300} if on_disk else {}
    traces, groups = gathered(tmp_path_factory.mktemp("scratch"), mapper, records_of(rows), **memory)
    expected = {trace.id: trace for trace in traces_of(mapper, rows)}
    assert {trace.id: trace for trace in traces} == expected
    charged = sum(len(group.origin.parts) + len(group.ignored) for group in groups)
    assert charged == len(rows), "every record counts once, or is ignored for a reason"


def test_a_file_with_more_heads_than_fit_is_gone_through_in_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "MAX_HEADS", 7)
    chance = random.Random(3)
    keys = [b"\x01" + chance.randbytes(15) for _ in range(40)]
    with Spill(tmp_path, memory_bytes=1_000) as kept:
        for number in range(200):
            kept.add(keys[number % 40], str(number).encode(), b"body %d" % number)
        found = {key: [(each.head, kept.body(each)) for each in stored] for key, stored in kept.groups()}
        assert sorted(key for some in kept.distinct_keys() for key in some) == sorted(keys)
    assert found == {
        key: [(str(n).encode(), b"body %d" % n) for n in range(index, 200, 40)] for index, key in enumerate(keys)
    }
    assert not list(tmp_path.iterdir()), "nothing stays behind"


def test_what_a_killed_process_left_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "spill.scratch").mkdir()
    (tmp_path / "spill.scratch" / "00").write_bytes(b"left behind")
    with Spill(tmp_path, memory_bytes=0) as kept:
        kept.add(b"\0" * 16, b"head", b"body")
        assert [[each.head for each in stored] for _, stored in kept.groups()] == [[b"head"]]


def test_of_states_of_one_span_the_newest_counts_and_the_others_say_why(tmp_path: Path) -> None:
    row = {"trace": "t", "id": "a", "revision": 1, "value": 1}
    records = records_of([row | {"revision": 2, "value": 2}, row, row])
    _, [group] = gathered(tmp_path, TOY, records)
    assert [part.position for part in group.origin.parts] == ["line 1"]
    assert sorted((part.position, why) for part, why in group.ignored) == [
        ("line 2", "superseded"),
        ("line 3", "same_span_again"),
    ]


def test_pieces_of_earlier_runs_count_for_the_trace_and_are_charged_to_nobody(tmp_path: Path) -> None:
    old, again, new = records_of([{"trace": "t", "id": "a", "start": "1"}] * 2 + [{"trace": "t", "id": "b"}])
    with Scattered(tmp_path) as scattered:
        scattered.add(piece_of(again.data), TOY, again)
        scattered.add(piece_of(new.data), TOY, new)
        scattered.add(piece_of(old.data), TOY, structs.replace(old, source="yesterday.jsonl"), is_earlier=True)
        [group] = scattered.gathered()
        assert [row["id"] for row in group.values()] == ["b", "a"]
    assert [part.position for part in group.origin.parts] == ["line 2", "line 3"], (
        "whether they are news the ledger knows"
    )
    assert group.ignored == ()
    assert {source: list(places) for source, places in group.places.items()} == {"a.jsonl": [2, 3]}
    assert len(group.present) == 2


def test_the_records_of_a_huge_trace_are_not_held_and_their_positions_are(tmp_path: Path) -> None:
    rows = [{"trace": "t", "id": str(n), "blob": "x" * 1_000_000} for n in range(18)]
    with Scattered(tmp_path, memory_bytes=2_000_000) as scattered:
        for record in records_of(rows):
            scattered.add(piece_of(record.data), TOY, record)
        [group] = scattered.gathered()
        assert {part.raw for part in group.origin.parts} == {b""}
        assert [part.position for part in group.origin.parts] == [f"line {n}" for n in range(1, 19)]
        assert sum(1 for _ in group.values()) == 18
