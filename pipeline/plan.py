"""Which files are read, in which order, as what format, and which of them are done already."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import RejectedError, UsageError
from pipeline.mappers import find_mapper, installed_mappers
from pipeline.mappers.custom import custom_mapper
from pipeline.mappers.detect import Guess, detect_format, doubt
from pipeline.mappers.mapper import Mapper
from pipeline.models import Record
from pipeline.readers import is_export, read_records
from pipeline.units import DEFECTS, mapper_of, units_of

FINGERPRINT_BYTES = 65_536
SAMPLE_RECORDS = 50
RESULTS = frozenset(["manifest.parquet", "manifest.jsonl", "rejects.jsonl", "summary.json"])
"""All together in a folder, they are what a run has left there, and no exports."""
SAMPLE_BYTES = 1_000_000
STATE_NAMES = ("runs", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "ledger.lock", "verify.json")
RESULT_NAMES = (
    "manifest.parquet",
    "manifest.jsonl",
    "rejects.jsonl",
    "summary.json",
    "verify.json",
    "conversations.scratch",
    "spill.scratch",
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that will be read: what it is, and how sure that is."""

    name: str
    path: Path
    size: int
    fingerprint: str
    mapper: Mapper | None
    """None: not recognised; `doubt` says why, and its records will be rejected with that."""
    doubt: str = ""
    is_scattered: bool = False
    """Its records are pieces of traces, and not all of them whole ones."""
    confidence: float = 1.0
    reason: str = "as configured"
    """How sure the format is, and why."""


def find_files(config: Config) -> list[Path]:
    """Expand paths, folders and globs: sorted, each file once. Raises UsageError for what is not there."""
    found: dict[str, Path] = {}
    real_folder = cache(os.path.realpath)  # it looks at every part of a path: once a folder, not once a file
    for pattern in config.source.paths:
        if "://" in pattern:
            raise UsageError(f"{pattern}: object storage cannot be read yet; download the files and name the folder")
        is_own = _own_files(config, pattern)
        matches = [Path(os.path.abspath(match)) for match in _expand(pattern, is_own)]
        if not matches and not config.source.allow_empty:
            raise UsageError(
                f"{pattern}: {_why_nothing(pattern)}; mend source.paths, or set source.allow_empty: true "
                "where having nothing to do is normal"
            )
        for match in matches:
            _require_utf8(match)
            real = (
                os.path.realpath(match) if match.is_symlink() else os.path.join(real_folder(match.parent), match.name)
            )
            found.setdefault(real, match)
    return sorted(found.values())


def fingerprint(path: Path) -> str:
    """Size, mtime (ns) and a hash of the first and last 64 KiB: changes whenever a file does, and costs little."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(FINGERPRINT_BYTES))
            status = os.fstat(file.fileno())
            file.seek(max(status.st_size - FINGERPRINT_BYTES, 0))
            digest.update(file.read(FINGERPRINT_BYTES))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{status.st_size}:{status.st_mtime_ns}:{digest.hexdigest()[:32]}"


def fingerprint_or_gone(path: Path) -> str:
    """The fingerprint now; a file that is gone has none that was seen before."""
    try:
        return fingerprint(path)
    except UsageError:
        return "gone"


def recognise(config: Config, files: Iterable[Path], *, is_any_done: bool = False) -> Iterator[Source]:
    """Decide the format of each file: as configured, or by looking at its beginning.

    Raises UsageError where not one of the files with records in them is recognised, and none was on an earlier night.
    """
    configured = configured_mapper(config)
    mappers = installed_mappers() if configured is None else {}
    doubts = []
    has_known = is_any_done
    for path in files:
        is_asked = configured is None or configured.piece_of is not None
        sample = _sample(path, config) if is_asked else []
        guess = Guess(configured, 1.0, "as configured") if configured is not None else _detect(sample, mappers.values())
        mapper = guess.mapper if guess.is_sure else None
        why_not = "" if guess.is_sure or not sample else doubt(guess)
        if mapper is None and why_not:
            doubts.append(f"{path}: {why_not}")
        has_known = has_known or mapper is not None
        mark = fingerprint(path)
        yield Source(
            str(path),
            path,
            int(mark.split(":")[0]),
            mark,
            mapper,
            why_not,
            _is_scattered(sample, mapper),
            guess.confidence,
            guess.reason,
        )
    if doubts and not has_known:
        raise UsageError("\n".join(doubts[:5]))


def configured_mapper(config: Config) -> Mapper | None:
    """The mapper that `source.format` names; None: each file is asked. Raises UsageError."""
    if config.source.format == "auto":
        return None
    try:
        if config.source.format == "custom":
            return custom_mapper(config.mapping.trace)
        return find_mapper(config.source.format)
    except UsageError as error:
        raise UsageError(f"{config.origin}: {error}") from error


def _sample(path: Path, config: Config) -> list[Record]:
    """The first records of a file that can be read."""
    sample = []
    size = 0
    records = read_records(path, name=str(path), max_record_bytes=config.source.max_record_bytes)
    for record in islice(records, 10 * SAMPLE_RECORDS):
        size += len(record.raw)
        if record.problem is None:
            sample.append(record)
        if len(sample) >= SAMPLE_RECORDS or size >= SAMPLE_BYTES:
            break
    return sample


def _detect(sample: Sequence[Record], mappers: Iterable[Mapper]) -> Guess:
    hinted = next((record.format for record in sample if record.format is not None), None)
    if hinted is not None and hinted != "custom":  # a rejects.jsonl: its lines say what they are
        return Guess(find_mapper(hinted), 1.0, "its lines name the format")
    return detect_format([record.data for record in sample], mappers)  # what cannot be read at all is rejected as such


def _is_scattered(sample: Sequence[Record], mapper: Mapper | None) -> bool:
    """Is one of these records a piece of a trace, and no trace by itself?"""
    if mapper is None or mapper.piece_of is None:
        return False
    for record, _ in units_of(sample, mapper):
        own = mapper_of(record, mapper)
        try:
            piece = own.piece_of(record.data) if own is not None and own.piece_of is not None else None
        except (RejectedError, *DEFECTS):
            continue
        if piece is not None and not piece.is_whole:
            return True
    return False


def _expand(pattern: str, is_own: Callable[[str], bool]) -> Iterator[str]:
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        path = Path(pattern)
        if path.is_dir():
            for folder, names, files in os.walk(path, onerror=_refuse, followlinks=True):
                names[:] = _folders_to_enter(folder, names, is_own)
                results = RESULT_NAMES if RESULTS.issubset(files) else ()
                found = [os.path.join(folder, name) for name in files if name not in results]
                yield from (path for path in found if _is_wanted(Path(path)) and not is_own(path))
        elif path.is_file():
            yield pattern
        elif path.exists():
            raise UsageError(f"{pattern}: not a regular file (a pipe or a device); write the data to a file first")
        return
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


def left_out(config: Config) -> list[Path]:
    """Files in the source folders that are no exports by their names, or cannot be opened: nobody looks at them."""
    found = []
    for pattern in config.source.paths:
        if not Path(pattern).is_dir():
            continue
        is_own = _own_files(config, pattern)
        for folder, names, files in os.walk(pattern, followlinks=True):
            names[:] = _folders_to_enter(folder, names, is_own)
            paths = [Path(folder, name) for name in files]
            found += [path for path in paths if not _is_wanted(path) and not is_own(str(path))]
    return [path for path in sorted(found) if not path.name.startswith(".")]


def _is_wanted(path: Path) -> bool:
    return is_export(path) and path.is_file()


def _require_utf8(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UsageError(f"{shown}: this file's name is not UTF-8; rename it, or leave it out") from error


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename}: this folder cannot be read ({error.strerror})") from error


def _why_nothing(pattern: str) -> str:
    if glob.has_magic(pattern):
        return "no file matches"
    if Path(pattern).is_dir():
        return "no export in this folder (.jsonl, .ndjson, .json, .parquet, compressed or not)"
    return "there is no such file or folder"
