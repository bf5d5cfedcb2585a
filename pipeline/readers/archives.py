"""Archives as files of their own: the members of a zip or tar are read as files are, and nothing is unpacked to disk.

A zip is read through its directory, wherever a member stands. A tar can only be read from its beginning, so its
members are opened in the order in which they lie there. An archive stays open from one member to the next, until its
last one was read or another archive is opened: a folder may hold more of them than a process may open.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import struct
import tarfile
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from pipeline.models import Problem
from pipeline.readers.opening import BrokenStreamError, Place, is_export, open_blocks, open_file
from pipeline.readers.places import fingerprint, order_of

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", *(f".tar.{kind}" for kind in ("gz", "zst", "bz2", "xz")))
# What zipfile and its decompressors raise on damaged bytes, by reading them and by fuzzing.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError, ValueError,
    struct.error,
)  # fmt: skip
_BUFFER_BYTES = 1 << 20
"""Of a zip, which is asked for in small pieces: from storage each would be a request."""
_BLOCK = 512
"""Of a tar."""


def is_archive(name: str) -> bool:
    """Whether a file is an archive, told from its name."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive; without a path it stands for the archive itself, of which something cannot be read."""

    archive: Archive
    number: int
    path: str
    size: int
    problem: Problem | None = None
    """Why nobody tries to read it."""

    def __str__(self) -> str:
        return f"{self.archive.place}!{self.path}" if self.path else str(self.archive.place)

    @property
    def name(self) -> str:
        """Without its folders."""
        return PurePosixPath(self.path).name

    @property
    def mark(self) -> str:
        """The archive's fingerprint when its members were listed."""
        return self.archive.mark

    @property
    def order(self) -> tuple[tuple[str, ...], int]:
        """Members are read as they lie in their archive."""
        return order_of(self.archive.place)[0], self.number

    def fingerprint_now(self) -> str:
        """The archive's."""
        return fingerprint(self.archive.place)

    def open_stream(self) -> BinaryIO:
        """Its content, to be read before that of another; what is damaged becomes a BrokenStreamError meanwhile."""
        return cast(BinaryIO, _Content(self.archive, self.number))

    def open_ranges(self) -> None:
        """It is a stream, whatever it holds."""


class Slot:
    """Room for one open archive; all archives that are read one after the other share it."""

    def __init__(self) -> None:
        self._archive: weakref.ref[Archive] | None = None

    def give_to(self, archive: Archive) -> None:
        """Close the one that is open, unless it is this one."""
        before = self._archive() if self._archive is not None else None
        if before is not None and before is not archive:
            before.close()
        self._archive = weakref.ref(archive)


class Archive(ABC):
    """One archive: what is in it, and its members one after the other."""

    errors: tuple[type[Exception], ...]

    def __init__(self, place: Place, max_bytes: int, slot: Slot) -> None:
        self.place = place
        self.mark = fingerprint(place)
        self.left_out: list[str] = []
        """Members that are no exports by their names."""
        self._max_bytes = max_bytes
        self._slot = slot
        self._names: Counter[str] = Counter()
        self._last = -1
        self._last_content: IO[bytes] | None = None
        """Of the last member, while it is read."""
        self._close: Callable[[], object] = lambda: None

    def members(self) -> list[Member]:
        """Those that are exports by their names; and the archive itself where it cannot be read, or not to its end."""
        found: list[Member] = []
        problem = None
        try:
            for number, path, size, is_encrypted in self._list():
                member = self._member(number, path, size, is_encrypted=is_encrypted)
                if member is not None:
                    found.append(member)
        except BrokenStreamError as error:
            problem = error.problem
        except self.errors as error:
            problem = BrokenStreamError("corrupt", f"this archive cannot be read ({_words(error)})").problem
        self.close()
        self._last = max((member.number for member in found if member.problem is None), default=-1)
        return [*found, Member(self, len(found) and found[-1].number + 1, "", 0, problem)] if problem else found

    def open(self, number: int) -> IO[bytes]:
        """A member by its number."""
        self._slot.give_to(self)
        content = self._open(number)
        self._last_content = content if number == self._last else None
        return content

    def end(self, content: IO[bytes]) -> None:
        """Nobody reads on in what was opened."""
        content.close()
        if content is self._last_content:
            self.close()

    def close(self) -> None:
        """Give back the descriptor, and what memory reading takes; the next member that is read opens it again."""
        self._last_content = None
        self._close()

    def _keep_open(self, stack: contextlib.ExitStack) -> None:
        self._close = weakref.finalize(self, stack.pop_all().close)  # at the latest when no member is held any more

    def _member(self, number: int, path: str, size: int, *, is_encrypted: bool) -> Member | None:
        # Names that are not UTF-8 come with surrogates, which neither the ledger nor a terminal takes.
        path = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").removeprefix("./")
        parts = PurePosixPath(path).parts
        if any(part.startswith(".") for part in parts) or "__MACOSX" in parts:
            return None
        problem = None
        if is_archive(path):
            problem = Problem("not_an_export", "an archive inside an archive; unpack the outer one")
        elif not is_export(path):
            self.left_out.append(f"{self.place}!{path}")
            return None
        elif is_encrypted:
            problem = Problem("encrypted", "encrypted; unpack the archive with its password, and name the files")
        self._names[path] += 1
        again = self._names[path]
        return Member(self, number, path if again == 1 else f"{path} ({again})", size, problem)

    @abstractmethod
    def _list(self) -> Iterator[tuple[int, str, int, bool]]:
        """Number, path, size of each file in it, and whether it is encrypted."""

    @abstractmethod
    def _open(self, number: int) -> IO[bytes]:
        """The content of one file in it."""


def archive_at(place: Place, max_bytes: int, slot: Slot) -> Archive:
    """The archive at a place. Raises UsageError where it cannot be opened."""
    return (_Zip if place.name.lower().endswith(".zip") else _Tar)(place, max_bytes, slot)


def _too_much(max_bytes: int) -> BrokenStreamError:
    """A bomb, or simply more than the configuration allows."""
    held = f"this archive holds more than {max_bytes:,} bytes of content"
    return BrokenStreamError("too_much", f"{held}, and what follows was not read; raise source.max_archive_bytes")


class _Content(io.RawIOBase):
    """A member, opened when it is first read."""

    def __init__(self, archive: Archive, number: int) -> None:
        self._archive = archive
        self._number = number
        self._file: IO[bytes] | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            if self._file is None:
                self._file = self._archive.open(self._number)
            return self._file.read(size)
        except self._archive.errors as error:
            raise BrokenStreamError("corrupt", f"the archive is damaged here ({_words(error)})") from error

    def close(self) -> None:
        if self._file is not None:
            self._archive.end(self._file)
            self._file = None
        super().close()


def _words(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# --- zip --------------------------------------------------------------------------------------------------


class _Zip(Archive):
    errors = _ZIP_ERRORS

    def __init__(self, place: Place, max_bytes: int, slot: Slot) -> None:
        super().__init__(place, max_bytes, slot)
        self._zip: zipfile.ZipFile | None = None

    def _opened(self) -> zipfile.ZipFile:
        if self._zip is None:
            file = open_file(self.place) if isinstance(self.place, Path) else self.place.open_ranges()
            if file is None:
                raise BrokenStreamError(
                    "unreadable", "a zip must be read from its end, and cannot be here; download it"
                )
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(io.BufferedReader(cast(io.RawIOBase, file), _BUFFER_BYTES))
                self._zip = stack.enter_context(zipfile.ZipFile(file))
                self._keep_open(stack)
        return self._zip

    def close(self) -> None:
        super().close()
        self._zip = None

    def _list(self) -> Iterator[tuple[int, str, int, bool]]:
        total = 0
        for number, info in enumerate(self._opened().infolist()):
            total += info.file_size
            if total > self._max_bytes:
                raise _too_much(self._max_bytes)
            if not info.filename.endswith("/"):  # a folder
                yield number, info.filename, info.file_size, bool(info.flag_bits & 1)

    def _open(self, number: int) -> IO[bytes]:
        archive = self._opened()
        members = archive.infolist()
        if number >= len(members):
            raise zipfile.BadZipFile("this member is not there any more")
        return archive.open(members[number])


# --- tar --------------------------------------------------------------------------------------------------


class _Tar(Archive):
    errors = (tarfile.TarError, ValueError)

    def __init__(self, place: Place, max_bytes: int, slot: Slot) -> None:
        super().__init__(place, max_bytes, slot)
        self._tar: tarfile.TarFile | None = None
        self._next = 0

    def _list(self) -> Iterator[tuple[int, str, int, bool]]:
        with open_blocks(self.place) as blocks:
            stream = _Forward(blocks, self._max_bytes)
            tar = _tar_of(stream)
            number = 0
            while (info := tar.next()) is not None:
                if info.isreg():
                    yield number, info.name, info.size, False
                number += 1
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps all that it has seen
            stream.require_end()

    def _open(self, number: int) -> IO[bytes]:
        if self._tar is None or number < self._next:
            self.close()
            with contextlib.ExitStack() as stack:
                blocks = stack.enter_context(open_blocks(self.place))
                self._tar = _tar_of(_Forward(blocks, self._max_bytes))
                self._next = 0
                self._keep_open(stack)
        info = None
        while self._next <= number:
            info = self._tar.next()
            self._next += 1
            self._tar.members.clear()  # type: ignore[attr-defined]
        content = self._tar.extractfile(info) if info is not None else None
        if content is None:
            raise tarfile.ReadError("this member is not there any more")
        return content

    def close(self) -> None:
        super().close()
        self._tar = None


def _tar_of(stream: _Forward) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=cast(BinaryIO, stream), encoding="utf-8", errors="surrogateescape")


class _Forward(io.RawIOBase):
    """Blocks as the file that tarfile asks for; it seeks forward only, and so does tarfile."""

    def __init__(self, blocks: Iterator[bytes], max_bytes: int) -> None:
        self._blocks = blocks
        self._max_bytes = max_bytes
        self._block = memoryview(b"")
        self._position = 0
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        pieces = []
        while size and (piece := self._take(size)):
            pieces.append(piece)
            size -= len(piece)
        self._last = b"".join(pieces)
        return self._last

    def _take(self, size: int) -> memoryview:
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                break
            self._block = memoryview(block)
        piece, self._block = self._block[:size], self._block[size:]
        self._position += len(piece)
        if self._position > self._max_bytes:
            raise _too_much(self._max_bytes)
        return piece

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        while self._position < offset and self._take(offset - self._position):
            pass
        return self._position

    def require_end(self) -> None:
        """After the last header: tarfile takes garbage, and the end of the file, for the end of the archive, too."""
        if len(self._last) < _BLOCK:
            raise BrokenStreamError("truncated", "the tar archive ends without its end mark, it was cut off")
        if any(self._last) or any(any(piece) for piece in iter(lambda: self._take(1 << 20), b"")):
            raise BrokenStreamError("corrupt", "something else follows in the tar archive")
