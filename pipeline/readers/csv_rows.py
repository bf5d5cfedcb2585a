"""CSV as records: one row, one record, its cells as texts under the names of the header. Empty cells are null.

Quoted cells may hold newlines, so a row begins at its position and may end lines later. The dialect is that of RFC
4180, taken strictly: what a spreadsheet would mend by guessing (a quote in the wrong place) is a broken row, and the
line after it is read as if nothing had happened. Behind a quote that never closes that is late: such a row takes in
lines up to the next quote, the end of the file or the longest record, and its reject says how many. They are not read
again as rows: whether they are any, or the text of a cell, nobody can tell, and prose must not become a trace.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from pipeline.json_text import NO_REPAIRS
from pipeline.models import Problem, Record
from pipeline.readers.jsonl import BrokenLine, lines_of, too_long_problem
from pipeline.readers.rows import row_record

_DELIMITERS = ",;\t"


class _BrokenRowError(Exception):
    def __init__(self, problem: Problem, raw: bytes) -> None:
        self.problem = problem
        self.raw = raw


def delimiter_of(head: bytes) -> str:
    """What separates the cells of a file that begins so: what its header holds most of, outside of quotes."""
    header = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n").split(b"\n", 1)[0]
    bare = re.sub(rb'"[^"]*"', b"", header)
    return max(_DELIMITERS, key=lambda delimiter: bare.count(delimiter.encode()))


def read_csv(blocks: Iterable[bytes], *, name: str, max_record_bytes: int, delimiter: str) -> Iterator[Record]:
    """The rows of a stream of CSV below its header; those that cannot be read carry a problem."""
    csv.field_size_limit(sys.maxsize)  # the csv module's own limit for all; our lines are bounded before they come
    lines = _Lines(lines_of(blocks, max_record_bytes), max_record_bytes)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: Sequence[str] = ()
    ordinal = 0
    while True:
        lines.next_row()
        problem = None
        row: list[str] = []
        try:
            row = next(rows)
        except StopIteration:
            return
        except _BrokenRowError as error:
            problem, raw = error.problem, error.raw
        except csv.Error as error:
            problem, raw = _no_csv(error, lines.reach), lines.text()
        else:
            if not row or (not header and not any(row)):
                continue
            if lines.not_utf8 is not None:
                problem, raw = Problem("not_utf8", f"not UTF-8 ({lines.not_utf8})"), lines.text()
            elif not header:
                header = _names(row)
                continue
            elif len(row) != len(header):
                problem, raw = _other_width(len(row), len(header), delimiter, lines.reach), lines.text()
        ordinal += 1
        position = f"line {lines.first}"
        if problem is not None:
            yield Record(name, ordinal, position, None, raw, problem)
            if not header:  # nobody knows what the cells of the other rows are
                return
            continue
        cells = {key: cell or None for key, cell in zip(header, row, strict=True)}
        record = row_record(cells, NO_REPAIRS, name, ordinal, position)
        if len(record.raw) > max_record_bytes:
            record = replace(record, data=None, raw=b"", problem=too_long_problem("row", max_record_bytes))
        yield record


class _Lines:
    """Lines as csv.reader takes them, with what it took for the row that it is at."""

    def __init__(self, lines: Iterator[bytes | BrokenLine], max_bytes: int) -> None:
        self._lines = lines
        self._max_bytes = max_bytes
        self._number = 0
        self._taken: list[bytes] = []
        self._size = 0
        self.not_utf8: str | None = None
        """What is wrong with a line of this row."""

    def next_row(self) -> None:
        self._taken.clear()
        self._size = 0
        self.not_utf8 = None

    @property
    def first(self) -> int:
        """The line in which this row begins."""
        return self._number - max(len(self._taken), 1) + 1

    @property
    def reach(self) -> str:
        """What a problem adds where this row takes in several lines."""
        count = len(self._taken)
        hint = f"; the row goes on to line {self._number} ({count} lines): is a quote never closed?"
        return hint if count > 1 else ""

    def text(self) -> bytes:
        return b"\n".join(self._taken)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._number += 1
        if not isinstance(line, bytes):
            self._taken.append(line.raw)
            raise _BrokenRowError(line.problem, self.text() if line.raw else b"")
        self._taken.append(line)
        self._size += len(line) + 1
        if self._size > self._max_bytes:
            kind, error = too_long_problem("row", self._max_bytes)
            raise _BrokenRowError(Problem(kind, error + self.reach), b"")
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError as error:
            self.not_utf8 = f"byte 0x{line[error.start]:02x}"
            return line.decode("utf-8", "replace") + "\n"


def _names(header: Sequence[str]) -> list[str]:
    """A name for each column: those without one are numbered, and a second one of the same name is, too."""
    seen: Counter[str] = Counter()
    names = []
    for number, cell in enumerate(header, 1):
        name = cell.strip() or f"column {number}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def _no_csv(error: csv.Error, reach: str) -> Problem:
    if "unexpected end of data" in str(error):
        return Problem("truncated", f"the file ends inside a quoted cell: cut off, or a quote is missing{reach}")
    return Problem("not_csv", f"not CSV ({error}){reach}")


def _other_width(cells: int, names: int, delimiter: str, reach: str) -> Problem:
    shown = "tab" if delimiter == "\t" else delimiter
    many = "too many" if cells > names else "too few"
    return Problem(
        "other_width",
        f"{many} cells: {cells}, and the header names {names}; a value with {shown!r}, a quote or a newline in it "
        f"must stand in quotes{reach}",
    )
