r"""A JSON file as records: the items of an array, or the documents of a file, cut out while it streams by.

The cutter knows strings and brackets only, so an item with NaN or a syntax error in it is one broken record
and the next one is read as if nothing had happened. A file of 6 GB takes the memory of its longest item.

Measured (items of 4.5 KB, µs each with decoding): this 19 compact and 23 indented (36 to 50 with the patterns
alone, without array_runs.py), ijson 3.5 with yajl2_c 28 to 40, json.load 77; decode() alone 13.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pipeline.models import Problem, Record
from pipeline.readers.array_runs import LONGEST_RUN_BYTES, Runs
from pipeline.readers.jsonl import json_record, too_long_problem
from pipeline.readers.opening import BrokenStreamError

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BETWEEN_DOCUMENTS = re.compile(rb"[\s,\x1e\xef\xbb\xbf]*+")
"""Also a comma, the record separator of JSON text sequences (RFC 7464), and a byte order mark."""
_LEVELS = 8


def _balanced(levels: int, stops: bytes = rb'"\[\]{}') -> bytes:
    """A pattern for text up to one of `stops`, in which strings and brackets, so many levels deep, are whole."""
    inside = _STRING if levels == 0 else rb"(?:%b|[\[{]%b[\]}])" % (_STRING, _balanced(levels - 1))
    plain = rb"[^%b]*+" % stops
    return rb"%b(?:%b%b)*+" % (plain, inside, plain)


_INSIDE = re.compile(_balanced(_LEVELS), re.DOTALL)
_UP_TO_COMMA = re.compile(_balanced(_LEVELS, rb'",\[\]{}'), re.DOTALL)


def read_json_values(blocks: Iterable[bytes], *, name: str, max_record_bytes: int) -> Iterator[Record]:
    """The records of a stream of JSON documents; an array stands for its items."""
    cutter = _Cutter(name, max_record_bytes)
    try:
        for block in blocks:
            yield from cutter.cut(block)
    except BrokenStreamError as error:
        yield from cutter.end(error.problem)
    else:
        yield from cutter.end(None)


def _end(pattern: re.Pattern[bytes], block: bytes, at: int) -> int:
    found = pattern.match(block, at)
    return found.end() if found else at


class _Cutter:
    """Where the stream stands. What has begun and not ended is kept in pieces, while it is not too long."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self._name = name
        self._max_bytes = max_bytes
        self._ordinal = 0
        self._document = 0
        self._item = 0
        self._depth = 0  # open brackets, an array of records among them; 0: between documents
        self._is_array = False
        self._is_stray = False  # something that is no document has begun: it ends with its line
        self._is_in_string = False
        self._is_escaped = False  # the last byte was a backslash in that string
        self._pieces: list[bytes] = []
        self._size = 0
        self._block = b""
        self._start = 0  # of the record, in this block
        self._at = 0  # how far the block was looked at
        self._runs = Runs()

    def cut(self, block: bytes) -> Iterator[Record]:
        """The records that end in this block."""
        self._block = block
        self._start = self._at = 0
        self._runs.new_block()
        while self._at < len(block):
            if self._is_in_string:
                self._pass_string()
            elif self._is_stray:
                yield from self._pass_line()
            elif self._depth == 0:
                self._pass_gap()
            elif self._is_array and self._depth == 1:
                yield from self._pass_items()
            else:
                yield from self._pass_brackets()
        self._keep(block[self._start :])

    def _pass_string(self) -> None:
        """To the end of a string that the last match could not see."""
        self._at += self._is_escaped
        self._is_escaped = False
        found = _REST_OF_STRING.match(self._block, self._at)
        if found:
            self._is_in_string = False
            self._at = found.end()
        else:
            rest = self._block[self._at :]
            self._is_escaped = (len(rest) - len(rest.rstrip(b"\\"))) % 2 == 1
            self._at = len(self._block)

    def _pass_line(self) -> Iterator[Record]:
        newline = self._block.find(b"\n", self._at)
        self._at = newline if newline >= 0 else len(self._block)
        if newline >= 0:
            yield self._finish(self._block[self._start : newline])
            self._is_stray = False

    def _pass_gap(self) -> None:
        """To the next document, or into the next array."""
        self._start = self._at = _end(_BETWEEN_DOCUMENTS, self._block, self._at)
        if self._at < len(self._block):
            self._begin(self._block[self._at])
            self._at += 1
            self._start += self._is_array

    def _pass_items(self) -> Iterator[Record]:
        """To the next comma or bracket of the array, also over many items at once."""
        if self._at == self._start and not self._size and self._max_bytes >= LONGEST_RUN_BYTES:
            run, self._at = self._runs.find(self._block, self._at)
            self._start = self._at
            for raw in run:
                yield self._finish(bytes(raw))
        self._at = _end(_UP_TO_COMMA, self._block, self._at) + 1
        mark = self._block[self._at - 1 : self._at]
        if mark == b",":
            if not self._size:
                self._runs.learn(self._block, self._start, self._at)
            yield self._finish(self._block[self._start : self._at - 1])
            self._start = self._at
        elif mark == b"]":
            self._keep(self._block[self._start : self._at - 1])
            if self._has_begun():
                yield self._finish(b"")
            self._pieces.clear()
            self._size = self._depth = 0
            self._start = self._at
        elif mark != b"}":
            self._open(mark)

    def _pass_brackets(self) -> Iterator[Record]:
        """To the next bracket of a document, or of an item that the pattern could not see as a whole."""
        self._at = _end(_INSIDE, self._block, self._at) + 1
        mark = self._block[self._at - 1 : self._at]
        if mark not in (b"]", b"}"):
            self._open(mark)
        elif self._depth > 1:
            self._depth -= 1
        else:
            yield self._finish(self._block[self._start : self._at])
            self._depth = 0
            self._start = self._at

    def _begin(self, mark: int) -> None:
        self._document += 1
        self._item = 0
        self._is_array = mark == ord("[")
        self._is_stray = mark not in b"[{"
        self._depth = 0 if self._is_stray else 1

    def _open(self, mark: bytes) -> None:
        if mark == b'"':
            self._is_in_string = True
        elif mark:  # at the end of a block there is none
            self._depth += 1

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_bytes:
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)

    def _has_begun(self) -> bool:
        return self._size > self._max_bytes or any(not piece.isspace() for piece in self._pieces)

    def _finish(self, last: bytes) -> Record:
        """The record that ends with this piece."""
        self._keep(last)
        raw = b"".join(self._pieces).strip()
        is_too_long = self._size > self._max_bytes
        self._pieces.clear()
        self._size = 0
        self._ordinal += 1
        position = self._next_position()
        if is_too_long:
            problem = too_long_problem("item" if self._is_array else "document", self._max_bytes)
            return Record(self._name, self._ordinal, position, None, b"", problem)
        return json_record(raw, self._name, self._ordinal, position)

    def _next_position(self) -> str:
        document = "document" if self._document == 1 else f"document {self._document}"
        if not self._is_array:
            return document
        self._item += 1
        return f"item {self._item}" if self._document == 1 else f"{document}, item {self._item}"

    def end(self, problem: Problem | None) -> Iterator[Record]:
        """What is left when the stream has ended, or broken with a problem."""
        if self._is_stray and problem is None:
            yield self._finish(b"")
            return
        if self._depth == 0 and not self._is_stray:
            if problem is None:
                return
            self._begin(ord("{"))  # the document that should have come
        if self._is_last_item_whole():
            yield self._finish(b"")
        raw = b"".join(self._pieces)
        what = "array" if self._is_array else "document"
        problem = problem or Problem(
            "truncated", f"the file ends inside the {what}: cut off, or a quote or bracket is missing"
        )
        yield Record(self._name, self._ordinal + 1, self._next_position(), None, raw, problem)

    def _is_last_item_whole(self) -> bool:
        if not self._is_array or self._depth != 1 or self._is_in_string:
            return False
        raw = b"".join(self._pieces).strip()
        return raw.endswith((b"}", b"]")) and json_record(raw, "", 0, "").problem is None
