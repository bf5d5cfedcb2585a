"""A row of named values as the record that it is, whatever kind of table it stood in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.json_text import NO_REPAIRS, clean, encode_counted
from pipeline.models import Record


def row_record(data: dict[str, Any], repairs: Mapping[str, int], name: str, ordinal: int, position: str) -> Record:
    """The record of a row; its raw text is the row written as JSON."""
    raw, replaced = encode_counted(data)
    if replaced and replaced.keys() - {"big_integer"}:  # NUL characters: the data still holds them
        data, more = clean(data)
        repairs = {**repairs, **more}
    return Record(name, ordinal, position, data, raw, None, repairs or NO_REPAIRS)
