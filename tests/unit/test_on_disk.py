"""A sequence on disk is read like a tuple, whatever is put into it."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import on_disk
from pipeline.errors import StoppedError
from pipeline.models import Part
from pipeline.on_disk import OnDisk, codec_of, filled, sequence_in

ITEMS = st.lists(st.none() | st.text(max_size=9) | st.dictionaries(st.text(max_size=2), st.integers()), max_size=12)
PLACES = st.none() | st.integers(-14, 14)


@pytest.fixture(params=[1, 20, 1 << 18], autouse=True, scope="module")
def buffer_bytes(request: pytest.FixtureRequest) -> Iterator[None]:
    """So many bytes wait before they are written: each item at once, some of them, all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_disk, "BUFFER_BYTES", request.param)
        yield


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


def kept(folder: Path, items: list[Any]) -> OnDisk[Any]:
    sequence: OnDisk[Any] = OnDisk(folder)
    sequence.extend(items)
    return sequence


@given(items=ITEMS, start=PLACES, stop=PLACES, step=st.none() | st.sampled_from([-3, -1, 1, 2]))
def test_it_reads_like_a_tuple(
    folder: Path, items: list[Any], start: int | None, stop: int | None, step: int | None
) -> None:
    sequence = kept(folder, items)
    assert len(sequence) == len(items)
    assert tuple(sequence) == tuple(items)
    assert sequence[start:stop:step] == tuple(items)[start:stop:step]
    assert [sequence[place] for place in range(-len(items), len(items))] == items + items
    assert list(reversed(sequence)) == items[::-1]
    for place in (len(items), -len(items) - 1):
        with pytest.raises(IndexError):
            sequence[place]


@given(items=ITEMS.filter(bool), changes=st.lists(st.tuples(st.integers(0, 11), st.text(max_size=30)), max_size=5))
def test_another_item_takes_the_place_of_one(folder: Path, items: list[Any], changes: list[tuple[int, str]]) -> None:
    sequence = kept(folder, items)
    for number, item in changes:
        sequence[number % len(items)] = items[number % len(items)] = item
        assert sequence[number % len(items)] == item
    assert list(sequence) == items


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=4)), max_size=12))
def test_sorted_it_is_as_stable_as_a_list(folder: Path, pairs: list[tuple[int, str]]) -> None:
    sequence = kept(folder, pairs)
    sequence.sort_by([key for key, _ in pairs])
    assert list(sequence) == sorted(pairs, key=lambda pair: pair[0])


def test_structs_come_back_as_they_were(folder: Path) -> None:
    parts = [Part("a.jsonl", number, f"line {number}", b"{}" * number) for number in range(5)]
    sequence = sequence_in(folder, codec_of(Part))
    sequence.extend(parts)
    assert list(filled(sequence)) == parts


def open_files() -> int:
    """How many, where the system tells."""
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.exists() else 0


def test_its_file_has_no_name_and_is_closed_with_it(folder: Path) -> None:
    before = open_files()
    sequence = kept(folder, ["a"] * 1_000)
    assert not list(folder.iterdir())
    del sequence
    gc.collect()
    assert open_files() == before


def test_a_full_disk_stops_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(StoppedError, match="No space left on device"):
        kept(folder, ["a" * (1 << 18)])
