"""Objects in storage, read as files: from a real S3 API on loopback, the web, and memory."""

from __future__ import annotations

import functools
import gzip
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from pipeline import load_config
from pipeline.errors import StoppedError, UsageError
from pipeline.finding import Found, find_again, find_sources
from pipeline.readers import read_records
from pipeline.readers.places import fingerprint, fingerprint_or_gone
from pipeline.readers.storage import Remote, object_at
from tests.s3_server import running_s3, upload
from tests.unit.readers.test_archives import tar_bytes


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    """A server that the environment leads to."""
    with running_s3() as (server, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield server


def find(*urls: str, tmp_path: Path, **source: Any) -> Found:
    overrides = {"source.paths": list(urls), "state_dir": tmp_path / "state"}
    return find_sources(load_config(overrides=overrides | {f"source.{k}": v for k, v in source.items()}, environ={}))


def values(found: Found) -> dict[str, list[Any]]:
    return {
        str(place): [
            record.data if record.problem is None else record.problem.kind
            for record in read_records(place, name=str(place), max_record_bytes=1 << 20)
        ]
        for place in found.places
    }


def parquet(rows: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(
        pa.table({"id": list(map(str, range(rows))), "text": ["x" * 100] * rows}), file, row_group_size=10_000
    )
    return file.getvalue()


def zipped(content: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_a_prefix_is_read_as_a_folder_is(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    upload(
        {
            "exports/b/2.jsonl.gz": gzip.compress(b'{"id": 2}\n'),
            "exports/a/1.json": b'[{"id": 1}]',
            "exports/a/": b"",
            "exports/c.csv": b"id\n3\n",
            "exports/d.parquet": parquet(500),
            "exports/e.zip": zipped({"x/5.jsonl": b'{"id": 5}', "6.parquet": parquet(1)}),
            "exports/readme.txt": b"",
            "exports/.hidden/f.jsonl": b"{}",
            "other/g.jsonl": b"{}",
        }
    )
    for url in ("s3://bucket/exports", "s3://bucket/exports/"):
        found = find(url, tmp_path=tmp_path)
        read = values(found)
        assert [row["id"] for row in read.pop("s3://bucket/exports/d.parquet")] == list(map(str, range(500)))
        assert read == {
            "s3://bucket/exports/a/1.json": [{"id": 1}],
            "s3://bucket/exports/b/2.jsonl.gz": [{"id": 2}],
            "s3://bucket/exports/c.csv": [{"id": "3"}],
            "s3://bucket/exports/e.zip!x/5.jsonl": [{"id": 5}],
            "s3://bucket/exports/e.zip!6.parquet": [{"id": "0", "text": "x" * 100}],
        }
        assert found.left_out == ["s3://bucket/exports/readme.txt"]
    again = find_again(map(str, found.places), load_config(overrides={"source.paths": "a"}, environ={}))
    assert [str(place) for place in again.values()] == [str(place) for place in found.places]


def test_patterns_and_objects(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    upload({f"p/day={day}/{n}.jsonl": b"{}" for day in (1, 2) for n in (1, 2)} | {"p/day=1/notes.txt": b"{}\n"})
    expected = {f"s3://bucket/p/day={day}/1.jsonl": [{}] for day in (1, 2)}
    assert values(find("s3://bucket/p/**/1.jsonl", tmp_path=tmp_path)) == expected
    assert values(find("s3://bucket/p/day=?/1.*", tmp_path=tmp_path)) == expected
    assert values(find("s3://bucket/p/day=1/notes.txt", tmp_path=tmp_path)) == {"s3://bucket/p/day=1/notes.txt": [{}]}


def test_an_object_is_told_by_its_content(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    upload({"a.jsonl": b"{}"})
    (place,) = find("s3://bucket/", tmp_path=tmp_path).places
    assert isinstance(place, Remote)
    assert fingerprint(place) == place.mark
    upload({"a.jsonl": b"[]"})
    assert fingerprint(place) != place.mark
    (again,) = find("s3://bucket/a.jsonl", tmp_path=tmp_path).places
    assert fingerprint(again) == fingerprint(place)
    boto3.client("s3").delete_object(Bucket="bucket", Key="a.jsonl")
    assert fingerprint_or_gone(place) == "gone"


def test_what_is_not_there_is_a_usage_error_or_nothing_to_do(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    upload({"a/a.jsonl": b"{}"})
    for url in ("s3://bucket/b", "s3://bucket/b.jsonl", "s3://bucket/b/*.jsonl", "s3://nowhere/a"):
        with pytest.raises(UsageError, match="no such object"):
            find(url, tmp_path=tmp_path)
        assert find(url, tmp_path=tmp_path, allow_empty=True).places == []
    with pytest.raises(UsageError, match="no such object"):
        object_at("s3://bucket/b.jsonl")


def test_parquet_is_read_in_ranges(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    upload({"a.parquet": parquet(50_000)})
    (place,) = find("s3://bucket/a.parquet", tmp_path=tmp_path).places
    records = read_records(place, name="", max_record_bytes=1 << 20)
    assert [next(records).data["id"] for _ in range(3)] == ["0", "1", "2"]
    assert sum(1 for _ in records) == 49_997


def test_a_storage_that_goes_away_stops_the_run(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    upload({"a.parquet": parquet(50_000)})
    (place,) = find("s3://bucket/a.parquet", tmp_path=tmp_path).places
    records = read_records(place, name="", max_record_bytes=1 << 20)
    next(records)
    s3.stop()
    with pytest.raises(StoppedError, match=r"s3://bucket/a.parquet: reading failed .*; run again"):
        list(records)


def test_windows_of_a_blob_export_count_in_a_bucket_as_well(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    stamps = ["2026-08-22T08-00-00", "2026-08-22T09-00-00"]
    tables = {f"lf/p/{table}/{stamp}.jsonl": b"{}" for table in ("traces", "scores") for stamp in stamps}
    del tables[f"lf/p/scores/{stamps[0]}.jsonl"]
    manifest = b'{"files": [{"key": "lf/p/scores/2026-08-22T08-00-00.jsonl"}]}'
    upload(tables | {f"lf/p/manifests/{stamps[0]}.json": manifest, "lf/p/DEPRECATION_NOTICE.txt": b""})
    for url in ("s3://bucket/lf", "s3://bucket/lf/p/*s/*.jsonl"):
        found = find(url, tmp_path=tmp_path)
        assert [str(place) for place in found.places] == [f"s3://bucket/lf/p/traces/{stamps[0]}.jsonl"]
        assert found.incomplete == [f"s3://bucket/lf/p/{table}/{stamps[1]}.jsonl" for table in ("scores", "traces")]
        assert found.missing == [f"s3://bucket/lf/p/scores/{stamps[0]}.jsonl"]


class Web(ThreadingHTTPServer):
    """Python's own web server, which knows no ranges."""

    def handle_error(self, *_: object) -> None:
        """Who asks may go before the end."""


class Quiet(SimpleHTTPRequestHandler):
    def send_head(self) -> Any:
        return self.send_error(403) if "secret" in self.path else super().send_head()

    def log_message(self, *_: object) -> None:
        pass


def test_a_web_server_that_knows_no_ranges(tmp_path: Path) -> None:
    www = tmp_path / "www"
    www.mkdir()
    lines = b'{"id": 1, "text": "%s"}\n' % (b"x" * 1_000) * 10_000
    (www / "a.jsonl").write_bytes(lines)
    (www / "b.parquet").write_bytes(parquet(50_000))
    (www / "c.zip").write_bytes(zipped({"a.jsonl": lines, "b.jsonl": b"{}"}))
    (www / "d.tar.gz").write_bytes(gzip.compress(tar_bytes({"a.jsonl": b'{"id": 4}'})))
    server = Web(("127.0.0.1", 0), functools.partial(Quiet, directory=str(www)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    found = find(*(f"{base}/{name}" for name in ("a.jsonl", "b.parquet", "c.zip", "d.tar.gz")), tmp_path=tmp_path)
    lengths = {name.removeprefix(base): len(read) for name, read in values(found).items()}
    assert lengths == {"/a.jsonl": 10_000, "/b.parquet": 50_000, "/c.zip": 1, "/d.tar.gz!a.jsonl": 1}
    assert values(found)[f"{base}/c.zip"] == ["unreadable"]
    assert all(fingerprint(place) == place.mark for place in found.places if isinstance(place, Remote))
    with pytest.raises(UsageError, match=r"x\.jsonl: there is no such object"):
        find(f"{base}/x.jsonl", tmp_path=tmp_path)
    with pytest.raises(UsageError, match=r"secret\.jsonl: the storage refuses"):
        find(f"{base}/secret.jsonl", tmp_path=tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(StoppedError, match="reading failed"):  # it is down, which is not "nothing to do"
        find(f"{base}/a.jsonl", tmp_path=tmp_path, allow_empty=True)


def test_memory_and_files_as_urls(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n')
    fsspec.filesystem("memory").pipe("/exports/c.jsonl", b'{"id": 3}\n')
    found = find(f"file://{tmp_path}/a.jsonl", "memory://exports", tmp_path=tmp_path)
    assert values(found) == {f"{tmp_path}/a.jsonl": [{"id": 1}], "memory:///exports/c.jsonl": [{"id": 3}]}
    assert all(fingerprint(place) == place.mark for place in found.places if isinstance(place, Remote))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://key:hush@bucket/a", "user name or password"),
        ("https://hush@example.com/a.jsonl", "user name or password"),
        ("https://example.com/a.jsonl?X-Amz-Signature=hush", "a query"),
        ("https://example.com/a.jsonl#sig=hush", "a fragment"),
        ("simplecache::s3://bucket/hush", "chained"),
        ("gs://bucket/a", r"needs the package gcsfs: pip install 'trace-import\[gcs\]'"),
        ("az://bucket/a", r"trace-import\[azure\]"),
        ("nonsense://bucket/a", "nonsense"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_and_repeats_no_secret(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        find(url, tmp_path=tmp_path)
    assert "hush" not in str(raised.value)
