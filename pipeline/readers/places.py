"""Where a source lies, and what tells whether it has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import UsageError
from pipeline.models import Problem
from pipeline.readers.opening import Place, open_file
from pipeline.readers.storage import is_url, object_at, objects_in

FINGERPRINT_BYTES = 65_536
_SMALL_BYTES = 16 << 20


def fingerprint(place: Place) -> str:
    """Size, mtime (ns) and a hash of the first and last 64 KiB: changes whenever a file does, and costs little."""
    if not isinstance(place, Path):
        return place.fingerprint_now()
    try:
        with place.open("rb") as file:
            digest = hashlib.sha256(file.read(FINGERPRINT_BYTES))
            status = os.fstat(file.fileno())
            file.seek(max(status.st_size - FINGERPRINT_BYTES, 0))
            digest.update(file.read(FINGERPRINT_BYTES))
    except OSError as error:
        raise UsageError(f"{place}: cannot be read ({error.strerror})") from error
    return f"{status.st_size}:{status.st_mtime_ns}:{digest.hexdigest()[:32]}"


def fingerprint_or_gone(place: Place) -> str:
    """The fingerprint now; what is gone has none that was seen before."""
    try:
        return fingerprint(place)
    except UsageError:
        return "gone"


def mark_of(place: Place) -> str:
    """The fingerprint before reading: of what does not lie on a disk here, as it was when it was found."""
    return fingerprint(place) if isinstance(place, Path) else place.mark


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a file that lies here and cannot be read: a reject, and never done."""

    path: Path
    why: str

    size = 0
    mark = "unreadable"
    """The fingerprint of all of them: one that can be read on another night has another."""

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.name

    @property
    def order(self) -> tuple[tuple[str, ...], int]:
        """Where the file stands."""
        return order_of(self.path)

    @property
    def problem(self) -> Problem:
        """Why nobody tries to read it."""
        return Problem("unreadable", f"{self.why}; mend that, and the next run reads it")

    def fingerprint_now(self) -> str:
        """None that was seen before: it is not done."""
        return "not read"

    def open_stream(self) -> BinaryIO:
        """Nobody does. Raises UsageError."""
        raise UsageError(f"{self.path}: {self.why}")

    def open_ranges(self) -> None:
        """There are none."""


def marked(place: Place) -> tuple[Place, str]:
    """A place with its mark; in the stead of a file that cannot be read, one that says why."""
    try:
        return place, mark_of(place)
    except UsageError as error:
        if not isinstance(place, Path):
            raise
        why = Unreadable(place, str(error).removeprefix(f"{place}: "))
        return why, why.mark


def order_of(place: Place) -> tuple[tuple[str, ...], int]:
    """Sorts places folder by folder, and what lies in one archive as it lies there."""
    return (place.parts, 0) if isinstance(place, Path) else place.order


def in_reading_order(places: Iterable[Place]) -> list[Place]:
    """Sorted path."""
    return sorted(places, key=order_of)


def content_of_small(place: Place) -> bytes:
    """All of a file that is known to be small. Raises UsageError where it cannot be opened."""
    with open_file(place) as file:
        return file.read(_SMALL_BYTES)


def files_in(folder: str) -> Mapping[str, Place]:
    """The files in a folder by their names; none where there is no such folder."""
    if is_url(folder):
        return {place.name: place for place in objects_in(folder)}
    try:
        return {file.name: file for file in Path(folder).iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{folder}: this folder cannot be read ({error.strerror})") from error


def place_of(name: str) -> Place:
    """The file or object of this name. Raises UsageError where there is no such object."""
    return object_at(name) if is_url(name) else Path(name)
