"""Members of archives, read as files."""

from __future__ import annotations

import gzip
import io
import os
import resource
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import load_config
from pipeline.errors import UsageError
from pipeline.finding import Found, find_again, find_sources
from pipeline.models import Record
from pipeline.readers import read_records

Make = Callable[[Path, Mapping[str, bytes]], Path]


def make_zip(path: Path, content: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path.with_suffix(".zip")


def tar_bytes(content: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def make_tar(path: Path, content: Mapping[str, bytes]) -> Path:
    path.with_suffix(".tar").write_bytes(tar_bytes(content))
    return path.with_suffix(".tar")


def make_tar_gz(path: Path, content: Mapping[str, bytes]) -> Path:
    path.with_suffix(".tgz").write_bytes(gzip.compress(tar_bytes(content)))
    return path.with_suffix(".tgz")


def make_tar_zst(path: Path, content: Mapping[str, bytes]) -> Path:
    path.with_suffix(".tar.zst").write_bytes(zstandard.compress(tar_bytes(content)))
    return path.with_suffix(".tar.zst")


every_kind = pytest.mark.parametrize("make", [make_zip, make_tar, make_tar_gz, make_tar_zst])


def find(path: Path, **source: Any) -> Found:
    overrides = {"source.paths": [str(path)], "state_dir": path.parent / "state"}
    return find_sources(load_config(overrides=overrides | {f"source.{k}": v for k, v in source.items()}, environ={}))


def read_all(found: Found) -> dict[str, list[Record]]:
    """By what follows the archive's name in the name of the source."""
    return {
        str(place).partition("!")[2]: list(read_records(place, name=str(place), max_record_bytes=1 << 20))
        for place in found.places
    }


def values(found: Found) -> dict[str, list[Any]]:
    read = read_all(found)
    return {
        name: [record.data if record.problem is None else record.problem.kind for record in records]
        for name, records in read.items()
    }


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["p"]}), file)
    return file.getvalue()


@every_kind
def test_members_are_read_as_files_are(tmp_path: Path, make: Make) -> None:
    content = {
        "z/first.jsonl": b'{"id": 1}\n{"id": 2}\n',
        "a.json.gz": gzip.compress(b'[{"id": 3}]'),
        "./b.csv": b"id\n4\n",
        "c.parquet": parquet(),
        "empty.jsonl": b"",
        "readme.txt": b"hello",
        "__MACOSX/._a.json": b"junk",
        ".hidden/d.jsonl": b"{}",
    }
    path = make(tmp_path / "exports", content)
    found = find(path)
    expected = {
        "z/first.jsonl": [{"id": 1}, {"id": 2}],
        "a.json.gz": [{"id": 3}],
        "b.csv": [{"id": "4"}],
        "c.parquet": [{"id": "p"}],
        "empty.jsonl": [],
    }
    assert values(found) == expected
    assert list(values(found)) == list(expected)  # in the order of the archive, again and again
    assert found.left_out == [f"{path}!readme.txt"]
    again = find_again([str(place) for place in reversed(found.places)], load_config(overrides={"source.paths": "a"}))
    assert list(again) == [str(place) for place in found.places]
    assert [record.data for record in read_records(again[f"{path}!b.csv"], name="", max_record_bytes=99)] == [
        {"id": "4"}
    ]


@every_kind
def test_many_members_are_read_in_one_pass_whatever_was_looked_at_before(tmp_path: Path, make: Make) -> None:
    found = find(make(tmp_path / "a", {f"{n}.jsonl": b'{"id": %d}\n' % n for n in range(300)}))
    for place in found.places[::7]:  # a glance at the beginning of some
        next(read_records(place, name="", max_record_bytes=99))
    assert values(found) == {f"{n}.jsonl": [{"id": n}] for n in range(300)}


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """So many files may be opened that a process can work, and not one for each archive."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def many_archives(folder: Path, make: Make) -> Found:
    for n in range(40):
        make(folder / str(n), {"a.jsonl": b'{"id": %d}' % n, "b.jsonl": b'{"id": %d}' % -n})
    return find(folder)


@every_kind
@pytest.mark.usefixtures("few_descriptors")
def test_archives_that_were_read_hold_neither_descriptors_nor_memory(tmp_path: Path, make: Make) -> None:
    tracemalloc.start()
    try:
        found = many_archives(tmp_path, make)
        for place in found.places:
            assert [record.problem for record in read_records(place, name="", max_record_bytes=99)] == [None]
        assert tracemalloc.get_traced_memory()[0] < 4 << 20
    finally:
        tracemalloc.stop()


@every_kind
@pytest.mark.usefixtures("few_descriptors")
def test_an_archive_that_is_left_before_its_last_member_is_closed_for_the_next(tmp_path: Path, make: Make) -> None:
    found = many_archives(tmp_path, make)
    firsts = [next(read_records(place, name="", max_record_bytes=99)).data for place in found.places[::2]]
    assert sorted(data["id"] for data in firsts) == list(range(40))


@every_kind
def test_a_member_that_went_after_the_archive_was_listed_is_a_reject(tmp_path: Path, make: Make) -> None:
    found = find(make(tmp_path / "a", {"a.jsonl": b'{"id": 1}', "b.jsonl": b'{"id": 2}'}))
    make(tmp_path / "a", {"a.jsonl": b'{"id": 1}'})
    assert values(found) == {"a.jsonl": [{"id": 1}], "b.jsonl": ["corrupt"]}


@every_kind
def test_an_archive_in_an_archive_is_refused_in_words(tmp_path: Path, make: Make) -> None:
    inner = make_zip(tmp_path / "inner", {"a.jsonl": b"{}"}).read_bytes()
    found = find(make(tmp_path / "a", {"inner.zip": inner, "disguised.json": inner, "ok.jsonl": b"{}"}))
    assert values(found) == {"inner.zip": ["not_an_export"], "disguised.json": ["not_an_export"], "ok.jsonl": [{}]}


@every_kind
def test_a_bomb_is_a_reject_and_what_stands_before_is_read(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path / "a", {"ok.jsonl": b"{}", "bomb.jsonl": b"0" * 5_000_000})
    found = find(path, max_archive_bytes=1_000_000)
    assert values(found)["ok.jsonl"] == [{}]
    assert values(found)[""] == ["too_much"]
    assert [str(place) for place in found.places][-1] == str(path)
    problem = next(read_records(found.places[-1], name="", max_record_bytes=99)).problem
    assert problem is not None
    assert "more than 1,000,000 bytes of content, and what follows was not read; raise source.max_ar" in problem.error


@pytest.mark.parametrize("make", [make_tar, make_tar_gz, make_tar_zst])
def test_a_tar_that_was_cut_off_gives_what_is_there_and_says_so(tmp_path: Path, make: Make) -> None:
    def lines(prime: int) -> bytes:
        return b"".join(b'{"id": %d}\n' % (n * prime % 100_003) for n in range(20_000))

    path = make(tmp_path / "a", {"a.jsonl": lines(7_919), "b.jsonl": lines(6_961), "c.jsonl": lines(5_087)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = values(find(path))
    assert len(found["a.jsonl"]) == 20_000
    assert found["b.jsonl"][-1] in ("corrupt", "truncated")
    assert found[""][0] in ("corrupt", "truncated")


def test_a_tar_that_ends_between_members_or_goes_on_with_garbage_says_so(tmp_path: Path) -> None:
    whole = tar_bytes({"a.jsonl": b"{}", "b.jsonl": b"{}"})
    for content, kind in (
        (whole[:1024], "truncated"),
        (whole[:1024] + b"x" * 5_000, "corrupt"),
        (whole * 2, "corrupt"),
    ):
        (tmp_path / "a.tar").write_bytes(content)
        found = values(find(tmp_path / "a.tar"))
        assert (found["a.jsonl"], found[""]) == ([{}], [kind])


def test_a_damaged_member_of_a_zip_is_rejected_with_its_place_and_the_others_are_read(tmp_path: Path) -> None:
    lines = b"".join(b'{"id": %d}\n' % n for n in range(1_000))
    path = make_zip(tmp_path / "a", {"a.jsonl": lines, "b.jsonl": lines})
    content = bytearray(path.read_bytes())
    content[1_000:1_010] = b"0123456789"
    path.write_bytes(content)
    found = values(find(path))
    assert found["a.jsonl"][-1] == "corrupt"
    assert len(found["b.jsonl"]) == 1_000


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no more", b"{}\n" * 1_000])
def test_what_is_no_archive_is_a_reject(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (records,) = read_all(find(tmp_path / name)).values()
    assert [record.problem and record.problem.kind for record in records] == ["corrupt"]


def test_an_encrypted_member_says_the_way_out(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a", {"a.jsonl": b"{}", "b.jsonl": b"{}"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # its flag in the directory
    path.write_bytes(content)
    assert values(find(path)) == {"a.jsonl": ["encrypted"], "b.jsonl": [{}]}


def test_members_of_the_same_name_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes({"a.jsonl": b'{"id": 1}'})[:1024] + tar_bytes({"a.jsonl": b'{"id": 2}'}))
    assert values(find(tmp_path / "a.tar")) == {"a.jsonl": [{"id": 1}], "a.jsonl (2)": [{"id": 2}]}


@every_kind
def test_an_archive_without_exports_is_left_out_of_a_folder_and_an_error_by_name(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path / "a", {"readme.txt": b""})
    (tmp_path / "b.jsonl").touch()
    assert [str(place) for place in find(tmp_path).places] == [str(tmp_path / "b.jsonl")]
    with pytest.raises(UsageError, match="no export in this archive"):
        find(path)


def test_windows_of_a_blob_export_in_an_archive_count_as_in_a_folder(tmp_path: Path) -> None:
    stamps = ["2026-08-22T08-00-00", "2026-08-22T09-00-00"]
    content = {f"traces/{stamp}.jsonl": b"{}" for stamp in stamps} | {f"manifests/{stamps[0]}.json": b'{"files": []}'}
    found = find(make_zip(tmp_path / "a", content))
    assert [str(place)[-32:] for place in found.places] == ["!traces/2026-08-22T08-00-00.jsonl"[-32:]]
    assert len(found.incomplete) == 1


@every_kind
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=20), end=st.integers(0, 9_999))
def test_any_damage_gives_records_or_rejects(
    tmp_path: Path, make: Make, changes: list[tuple[int, int]], end: int
) -> None:
    path = make(tmp_path / "a", {"a.jsonl": b'{"id": 1}\n' * 50, "ä" * 80 + ".csv": b"id\n4\n", "c.parquet": parquet()})
    content = bytearray(path.read_bytes())
    for at, byte in changes:
        content[at % len(content)] = byte
    path.write_bytes(content[: end % len(content)] if end % 3 else content)
    values(find(path, allow_empty=True, max_archive_bytes=1 << 20))
