"""Compressed, framed and broken streams."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.readers.opening import BrokenStreamError, open_blocks
from tests.unit.readers.reading import outline, read, read_path

Compress = Callable[[bytes], bytes]
CODECS: dict[str, Compress] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
each_codec = pytest.mark.parametrize("compress", CODECS.values(), ids=CODECS)


def some_lines(count: int = 400) -> bytes:
    """Lines that do not compress well, so that a stream can break at many places."""
    chance = random.Random(7)
    return b"".join(b'{"id": %d, "text": "%x"}\n' % (number, chance.getrandbits(800)) for number in range(count))


@each_codec
def test_what_a_file_holds_decides_and_not_its_name(compress: Compress) -> None:
    assert read(compress(some_lines()), "a.jsonl") == read(some_lines(), "a.jsonl.xz")


@each_codec
def test_members_one_after_the_other_are_one_stream(compress: Compress) -> None:
    content = some_lines()
    parts = [content[:10_000], content[10_000:10_003], b"", content[10_003:]]
    assert read(b"".join(compress(part) for part in parts)) == read(content)


@each_codec
def test_zeros_after_the_end_are_padding(compress: Compress) -> None:
    content = some_lines(3)
    padded = compress(content) + b"\0" * 10_000 + compress(content) + b"\0" * 3
    assert read(padded) == read(content * 2)


@each_codec
def test_anything_else_after_the_end_is_a_reject(compress: Compress) -> None:
    records = read(compress(b"1\n2\n") + b"\0\0garbage")
    assert outline(records) == [("line 1", 1), ("line 2", 2), ("line 3", "corrupt")]


@each_codec
def test_a_compressed_empty_file_holds_no_records(compress: Compress) -> None:
    assert read(compress(b"")) == []
    assert read(compress(b"\n \n")) == []


@each_codec
@settings(deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_of_a_truncated_stream_all_that_can_be_had_is_read(compress: Compress, share: float) -> None:
    content = some_lines(60)
    whole = read(content)
    packed = compress(content)
    records = read(packed[: max(int(len(packed) * share), 8)])
    *read_well, last = records
    assert read_well == whole[: len(read_well)]
    assert last.problem
    assert last.problem.kind == "truncated"
    assert last.position == f"line {len(records)}"
    if last.raw:
        assert whole[len(read_well)].raw.startswith(last.raw)


def test_a_truncated_gzip_loses_only_its_end() -> None:
    content = some_lines()
    packed = gzip.compress(content)
    assert len(read(packed[: len(packed) // 2])) > 190
    assert len(read(packed[:-8])) == 401  # all of it is there, but not its checksum


@each_codec
def test_a_corrupt_stream_yields_what_stands_before(compress: Compress) -> None:
    content = some_lines(3_000)
    packed = bytearray(compress(content))
    for at in range(len(packed) // 2, len(packed) // 2 + 40):
        packed[at] ^= 0x5A
    *read_well, last = read(bytes(packed))
    assert last.problem
    assert last.problem.kind == "corrupt"
    sound = 0 if compress is bz2.compress else 1_000  # bzip2's blocks are whole or not at all
    assert read_well[:sound] == read(content)[:sound]


def test_of_a_small_stream_with_a_wrong_checksum_all_is_read() -> None:
    packed = bytearray(gzip.compress(b"1\n2\n3\n"))
    packed[-6] ^= 0xFF
    assert outline(read(bytes(packed))) == [("line 1", 1), ("line 2", 2), ("line 3", 3), ("line 4", "corrupt")]


def test_an_array_in_a_truncated_stream() -> None:
    packed = gzip.compress(b"[" + some_lines().replace(b"\n", b",")[:-1] + b"]")
    *read_well, last = read(packed[: len(packed) // 2], "a.json.gz")
    assert len(read_well) > 190
    assert (last.position, last.problem and last.problem.kind) == (f"item {last.ordinal}", "truncated")


def test_highly_compressed_lines_are_passed_over_in_little_memory() -> None:
    packed = zstandard.compress(b'"' + b"x" * 40_000_000 + b'"\n1\n')
    assert outline(read(packed, max_record_bytes=1_000_000)) == [("line 1", "too_long"), ("line 2", 1)]


# --- the collector's framed form ------------------------------------------------------------------------


def frames(*messages: bytes) -> bytes:
    packed = [zstandard.ZstdCompressor(write_checksum=True).compress(message) for message in messages]
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in packed)


def test_each_frame_is_one_line() -> None:
    content = frames(b'{"a": 1}', b'{"b":\n 2}', b"[" + b"1," * 100_000 + b"1]")
    assert outline(read(content, "data.json"))[:2] == [("line 1", {"a": 1}), ("line 2", {"b": 2})]
    assert len(read(content, "data.json")) == 3


def test_a_corrupt_frame_is_one_reject_and_the_next_ones_are_read() -> None:
    good = frames(b'{"a": 1}')
    bad = bytearray(frames(b'{"b": 2}'))
    bad[-2] ^= 0xFF
    cut = frames(b'{"c": 3}')
    cut = (len(cut) - 9).to_bytes(4, "big") + cut[4:-5]
    assert outline(read(good + bytes(bad) + cut + good)) == [
        ("line 1", {"a": 1}),
        ("line 2", "not_json"),
        ("line 3", "not_json"),
        ("line 4", {"a": 1}),
    ]


@pytest.mark.parametrize("keep", range(25, 42))
def test_truncated_frames(keep: int) -> None:
    content = frames(b'{"a": 1}', b'{"b": 2}')[:keep]
    first, *rest = outline(read(content))
    assert first == ("line 1", {"a": 1})
    assert rest in ([], [("line 2", "truncated")])


# --- the file system ---------------------------------------------------------------------------------


def test_what_cannot_be_opened_is_a_usage_error_that_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.jsonl: no such file; check"):
        read_path(tmp_path / "missing.jsonl")
    with pytest.raises(UsageError, match="is a folder; name its files"):
        read_path(tmp_path)


def test_a_read_that_fails_midway_is_a_broken_stream() -> None:
    path = Path("/proc/self/mem")  # opens, and fails to be read at 0
    with pytest.raises(BrokenStreamError, match="reading failed: Input/output error"), open_blocks(path) as blocks:
        next(blocks)
    assert outline(read_path(path)) == [("line 1", "unreadable")]
