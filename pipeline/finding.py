"""Which files there are to read, and in which order."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.layouts import committed
from pipeline.readers.archives import Slot, archive_at, is_archive
from pipeline.readers.opening import Place, is_export
from pipeline.readers.places import in_reading_order, place_of
from pipeline.readers.storage import Remote, find_objects, is_url

RESULTS = frozenset(["manifest.parquet", "manifest.jsonl", "rejects.jsonl", "summary.json"])
"""All together in a folder, they are what a run has left there, and no exports."""
STATE_NAMES = ("runs", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "ledger.lock", "verify.json")
SCRATCH_NAMES = ("conversations.scratch", "spill.scratch", "earlier.scratch")
"""What a run keeps in the folder of its results while it works."""
RESULT_NAMES = (
    "manifest.parquet",
    "manifest.jsonl",
    "rejects.jsonl",
    "summary.json",
    "verify.json",
    *SCRATCH_NAMES,
)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to read, in this order, and what is not read though it lies there."""

    places: Sequence[Place]
    left_out: Sequence[str] = ()
    """Files in the source folders that are no exports by their names, or cannot be opened: nobody looks at them."""
    incomplete: Sequence[str] = ()
    """Files of a blob export whose window has no manifest; with source.import_incomplete, none."""
    missing: Sequence[str] = ()
    """Files that a manifest names and that are not there."""


def find_sources(config: Config) -> Found:
    """Expand paths, folders and globs: sorted, each file once. Raises UsageError for what is not there."""
    left_out: list[str] = []
    found: dict[str, list[Place]] = {}
    slot = Slot()
    real_folder = cache(os.path.realpath)  # it looks at every part of a path: once a folder, not once a file
    for pattern in config.source.paths:
        is_empty = True
        if is_url(pattern):
            for remote in _remote(pattern, left_out):
                if remote.url not in found:
                    found[remote.url] = (
                        _members(remote, config, slot, left_out) if is_archive(remote.name) else [remote]
                    )
                is_empty = is_empty and not found[remote.url]
            _require_some(pattern, config, is_empty=is_empty)
            continue
        is_own = _own_files(config, pattern)
        for match in [Path(os.path.abspath(match)) for match in _expand(pattern, is_own, left_out)]:
            _require_utf8(match)
            real = (
                os.path.realpath(match) if match.is_symlink() else os.path.join(real_folder(match.parent), match.name)
            )
            if real not in found:
                found[real] = _members(match, config, slot, left_out) if is_archive(match.name) else [match]
            is_empty = is_empty and not found[real]
        _require_some(pattern, config, is_empty=is_empty)
    places = in_reading_order(itertools.chain.from_iterable(found.values()))
    whole = committed(places, keep_incomplete=config.source.import_incomplete)
    return Found(whole.places, sorted(set(left_out)), [str(place) for place in whole.incomplete], whole.missing)


def _require_some(pattern: str, config: Config, *, is_empty: bool) -> None:
    if is_empty and not config.source.allow_empty:
        raise UsageError(
            f"{pattern}: {_why_nothing(pattern)}; mend source.paths, or set source.allow_empty: true "
            "where having nothing to do is normal"
        )


def _remote(pattern: str, left_out: list[str]) -> Iterator[Remote]:
    """As in folders here: names choose what is read of all that lies below a prefix."""
    objects, is_folder = find_objects(pattern)
    for remote in objects:
        below = remote.url.removeprefix(pattern.rstrip("/"))
        if is_folder and any(part.startswith(".") for part in below.split("/")):
            continue
        if not is_folder or is_export(remote.name) or is_archive(remote.name):
            yield remote
        else:
            left_out.append(remote.url)


def find_again(names: Iterable[str], config: Config) -> dict[str, Place]:
    """The places of these names of an earlier run, as far as they are still there; each archive is listed once."""
    places: dict[str, Place] = {}
    archives: dict[str, dict[str, Place]] = {}
    slot = Slot()
    for name in names:
        archive = _archive_in(name)
        with contextlib.suppress(UsageError):  # it is gone
            if archive is None:
                places[name] = place_of(name)
            elif archive not in archives:
                archives[archive] = {}
                members = archive_at(place_of(archive), config.source.max_archive_bytes, slot).members()
                archives[archive] |= {str(member): member for member in members}
        if archive is not None and name in archives[archive]:
            places[name] = archives[archive][name]
    return {str(place): place for place in in_reading_order(places.values())}


def _archive_in(name: str) -> str | None:
    """The archive that a member's name begins with."""
    if not os.path.lexists(name):
        for mark in re.finditer("!", name):
            if is_archive(name[: mark.start()]):
                return name[: mark.start()]
    return None


def _members(place: Place, config: Config, slot: Slot, left_out: list[str]) -> list[Place]:
    try:
        archive = archive_at(place, config.source.max_archive_bytes, slot)
    except UsageError:
        if not isinstance(place, Path):
            raise
        return [place]  # it cannot be read, and becomes a reject as any other file
    members = archive.members()
    left_out += archive.left_out
    return list(members)


def _expand(pattern: str, is_own: Callable[[str], bool], left_out: list[str]) -> Iterator[str]:
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        path = Path(pattern)
        if path.is_dir():
            for folder, names, files in os.walk(path, onerror=_refuse, followlinks=True):
                names[:] = _folders_to_enter(folder, names, is_own)
                results = RESULT_NAMES if RESULTS.issubset(files) else ()
                for name in files:
                    file = os.path.join(folder, name)
                    if name in results or is_own(file):
                        continue
                    if (is_export(name) or is_archive(name)) and Path(file).is_file():
                        yield file
                    elif not name.startswith("."):
                        left_out.append(os.path.abspath(file))
        elif path.is_file():
            yield pattern
        elif path.exists():
            raise UsageError(f"{pattern}: not a regular file (a pipe or a device); write the data to a file first")
        return
    if "**" in pattern:  # glob passes over what it may not read, and its files would be missing without a word
        for folder, names, _ in os.walk(_folder_of(pattern) or os.curdir, onerror=_refuse, followlinks=True):
            names[:] = _folders_to_enter(folder, names, is_own)
    for match in glob.iglob(pattern, recursive=True):
        if Path(match).is_file() and not is_own(match):
            yield match


def _folders_to_enter(folder: str, names: Iterable[str], is_own: Callable[[str], bool]) -> list[str]:
    return sorted(name for name in names if not name.startswith(".") and not is_own(os.path.join(folder, name)))


def _own_files(config: Config, pattern: str) -> Callable[[str], bool]:
    """What this tool writes itself is no source, where folders and patterns are looked through.

    A state or output folder below them is left out whole. In one that holds the sources, only what is ours is.
    """
    is_pattern = glob.has_magic(pattern) and not os.path.lexists(pattern)
    root = Path(os.path.realpath((_folder_of(pattern) if is_pattern else pattern) or os.curdir))
    ours: list[str] = []
    for folder, names in ((config.state_dir, STATE_NAMES), (config.output_dir, RESULT_NAMES)):
        if folder is not None:
            real = os.path.realpath(folder)
            ours += [os.path.join(real, name) for name in names] if root.is_relative_to(real) else [real]
    real_folder = lru_cache(maxsize=1_000)(os.path.realpath)  # one look at the disk for all files of a folder

    def is_own(path: str) -> bool:
        folder, name = os.path.split(path)
        real = os.path.join(real_folder(folder or os.curdir), name)
        return any(real == one or real.startswith(f"{one}{os.sep}") for one in ours)

    return is_own


def _folder_of(pattern: str) -> str:
    """The folder before the first wildcard."""
    return re.sub(r"[^/]*$", "", re.split(r"[*?\[]", pattern, maxsplit=1)[0])


def _require_utf8(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UsageError(f"{shown}: this file's name is not UTF-8; rename it, or leave it out") from error


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename}: this folder cannot be read ({error.strerror})") from error


def _why_nothing(pattern: str) -> str:
    if is_url(pattern):
        return "there is no such object, and no export below it"
    if glob.has_magic(pattern):
        return "no file matches"
    if not os.path.lexists(pattern):
        return "there is no such file or folder"
    if not Path(pattern).exists():
        return f"this link leads nowhere (to {Path(pattern).readlink()})"
    if Path(pattern).is_dir():
        return "no export in this folder (.jsonl, .ndjson, .json, .csv, .parquet, compressed or not)"
    return "no export in this archive"
