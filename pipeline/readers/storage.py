"""Objects in storage (S3, Google Cloud Storage, Azure, HTTP, whatever fsspec knows) as files: listed, read in ranges.

Credentials, endpoints and proxies are the libraries' own matter: they take them from the environment. What fails on
the way is trouble of the moment and stops the run, which goes on the next time; what is not there is told.
"""

from __future__ import annotations

import contextlib
import glob
import io
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from pipeline.errors import StoppedError, UsageError
from pipeline.models import Problem

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PACKAGES = {
    "s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"), "abfs": ("adlfs", "azure"), "abfss": ("adlfs", "azure"),
    "http": ("aiohttp", "http"), "https": ("aiohttp", "http"),
}  # fmt: skip
_READ_AHEAD_BYTES = 4 << 20
_BUFFER_BYTES = 256 << 10
_CONTENT_KEYS = ("ETag", "etag", "md5Hash", "Content-MD5", "content_md5", "crc32c", "Digest")
_TIME_KEYS = ("LastModified", "last_modified", "Last-Modified", "mtime", "updated", "created")
_NO_CREDENTIALS = (("botocore.exceptions", "NoCredentialsError"), ("google.auth.exceptions", "DefaultCredentialsError"))
_TROUBLE = (
    ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"), ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"), ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
)  # fmt: skip
"""What the libraries raise beside OSError; one that is not loaded has raised nothing."""


def is_url(path: str) -> bool:
    """Is it no path on this machine?"""
    return _URL.match(path) is not None


@dataclass(frozen=True, slots=True)
class Remote:
    """An object, and what it was like when it was found."""

    url: str
    size: int = field(compare=False)
    mark: str = field(compare=False)
    path: str = field(compare=False, repr=False)
    """As its file system calls it."""
    system: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """Without its folders."""
        return PurePosixPath(self.path).name

    @property
    def order(self) -> tuple[tuple[str, ...], int]:
        """Folder by folder."""
        return tuple(self.url.split("/")), 0

    @property
    def problem(self) -> Problem | None:
        """None: it is read."""
        return None

    def fingerprint_now(self) -> str:
        """Size and ETag, or what else this storage tells a content by. Raises UsageError where it is gone."""
        with _errors_of(self.url):
            return _mark_of(self.system.info(self.path))

    def open_stream(self) -> BinaryIO:
        """Its content, read ahead; decompressors ask for a few kilobytes at a time, which should cost nothing."""
        # Not every web server knows ranges: there the content is one answer, as it comes.
        content = self._open(cache_type="readahead", block_size=0 if _is_http(self.url) else _READ_AHEAD_BYTES)
        return io.BufferedReader(content, _BUFFER_BYTES)

    def open_ranges(self) -> BinaryIO | None:
        """Its content for somebody who seeks, and asks for what is needed only; None where that is not to be had."""
        content = self._open(cache_type="none")
        try:
            content.seek(max(self.size - 1, 0))
            content.read(1)
            content.seek(0)
        except ValueError:  # a web server that knows no ranges
            content.close()
            return None
        return cast(BinaryIO, content)

    def _open(self, **options: Any) -> _Content:
        with _errors_of(self.url):
            return _Content(self.url, self.system.open(self.path, "rb", **options))


class _Content(io.RawIOBase):
    """An object while it is read; the libraries' errors become ours."""

    def __init__(self, url: str, file: Any) -> None:
        self._url = url
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def read(self, size: int = -1) -> bytes:
        with _errors_of(self._url):
            return bytes(self._file.read(size))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def find_objects(pattern: str) -> tuple[Sequence[Remote], bool]:
    """What an object's URL, a prefix or a pattern names, and whether it is all there is below a prefix.

    Raises UsageError for a URL that cannot be used, StoppedError where the storage does not answer.
    """
    system, path = _system(pattern)
    with _errors_of(pattern):
        if glob.has_magic(path) and not _is_http(pattern):
            infos, is_folder = system.glob(path, detail=True), False
        else:
            try:
                info = system.info(path)
            except FileNotFoundError as error:
                if _told_by(error) is not error:
                    raise
                return [], False
            is_folder = info["type"] == "directory"
            infos = system.find(path, detail=True) if is_folder else {info["name"]: info}
    return _objects(system, infos), is_folder


def object_at(url: str) -> Remote:
    """One object. Raises UsageError where there is none."""
    system, path = _system(url)
    with _errors_of(url):
        info = system.info(path)
    return next(iter(_objects(system, {path: info})))


def objects_in(folder: str) -> Sequence[Remote]:
    """What lies in a folder itself."""
    system, path = _system(folder)
    with _errors_of(folder):
        try:
            infos = system.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
    return _objects(system, {info["name"]: info for info in infos})


def _objects(system: Any, infos: Mapping[str, Mapping[str, Any]]) -> Sequence[Remote]:
    return [
        Remote(system.unstrip_protocol(path), int(info.get("size") or 0), _mark_of(info), path, system)
        for path, info in infos.items()
        if info["type"] == "file" and not path.endswith("/")  # some tools make empty objects for folders
    ]


def _mark_of(info: Mapping[str, Any]) -> str:
    """A listing and a look at the object itself must give the same: so no version, which only the latter tells."""
    told = [str(info[key]).strip('"') for key in _CONTENT_KEYS if info.get(key)]
    if not told:
        times = [info[key] for key in _TIME_KEYS if info.get(key)]
        told = [str(time.timestamp() if isinstance(time, datetime) else time) for time in times]
    # What nothing is told of may be another one at any time: it is never done, and read every night.
    return f"{info.get('size')}:{told[0] if told else secrets.token_hex(8)}"


def _system(url: str) -> tuple[Any, str]:
    import fsspec  # noqa: PLC0415  (only who reads from storage pays for it)

    protocol = url.partition("://")[0].lower()
    try:
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package, extra = _PACKAGES.get(protocol, ("", ""))
        way_out = f"needs the package {package}: pip install 'trace-import[{extra}]'" if package else f"fails ({error})"
        raise UsageError(f"{url}: reading {protocol}:// {way_out}") from error
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from error
    return system, path


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _loaded(names: Sequence[tuple[str, str]]) -> tuple[type[Exception], ...]:
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _trouble() -> tuple[type[Exception], ...]:
    return (OSError, *_loaded(_TROUBLE))


def _is_refusal(error: Exception) -> bool:
    """An answer that will be the same the next time; each library keeps its status elsewhere."""
    statuses = (getattr(error, name, None) for name in ("status", "code", "status_code"))
    status = next((status for status in statuses if isinstance(status, int)), 0)  # aiohttp warns of its second one
    return 400 <= status < 500 and status not in (408, 429)


def _told_by(error: Exception) -> Exception:
    """Of every failure on the web, also of a server that is down, fsspec says that there is no such file."""
    cause = error.__cause__
    is_web = isinstance(cause, (*_loaded([("aiohttp", "ClientError")]), TimeoutError))
    is_gone = getattr(cause, "status", None) in (404, 410)
    return cause if isinstance(cause, Exception) and is_web and not is_gone else error


@contextlib.contextmanager
def _errors_of(url: str) -> Iterator[None]:
    try:
        yield
    except _trouble() as raised:
        error = _told_by(raised)
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"{url}: there is no such object; check the URL in source.paths") from error
        if isinstance(error, _loaded(_NO_CREDENTIALS)):
            raise UsageError(f"{url}: no credentials ({_words(error)}); they come from the environment") from error
        if isinstance(error, PermissionError) or _is_refusal(error):
            raise UsageError(
                f"{url}: the storage refuses ({_words(error)}); credentials come from the environment"
            ) from error
        raise StoppedError(f"{url}: reading failed ({_words(error)}); run again to go on") from error


def _words(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
