"""Arrays and documents to records."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.readers.reading import data, outline, read

BLOCKS = [1, 2, 3, 7, 1 << 20]


def read_json(content: bytes, **options: int) -> Any:
    return read(content, "a.json", **options)


def read_in_all_blocks(content: bytes, **options: int) -> Any:
    """The records; the same whatever the blocks are."""
    whole = read_json(content, **options)
    for block_bytes in BLOCKS:
        assert read_json(content, block_bytes=block_bytes, **options) == whole
    return whole


@pytest.mark.parametrize("content", [b"", b" \n", b"[]", b" [ ] \n", b"\xef\xbb\xbf[\n]"])
def test_nothing_and_the_empty_array_hold_no_records(content: bytes) -> None:
    assert read_in_all_blocks(content) == []


def test_an_array_stands_for_its_items() -> None:
    records = read_in_all_blocks(b' [ {"a": [1, "]}\\""]} ,\n 5,"x,y",[[]], null ]')
    assert outline(records) == [
        ("item 1", {"a": [1, ']}"']}),
        ("item 2", 5),
        ("item 3", "x,y"),
        ("item 4", [[]]),
        ("item 5", None),
    ]
    assert records[0].raw == b'{"a": [1, "]}\\""]}'


def test_a_file_may_be_one_document_or_several() -> None:
    pretty = json.dumps({"trace": {"id": 1}, "observations": [{}]}, indent=2).encode()
    assert outline(read_in_all_blocks(pretty)) == [("document", json.loads(pretty))]
    assert outline(read_in_all_blocks(b'{"a":\n1}{"b":"}"}\n\n{"c":\n[]}')) == [
        ("document", {"a": 1}),
        ("document 2", {"b": "}"}),
        ("document 3", {"c": []}),
    ]


def test_several_arrays_count_their_own_items() -> None:
    assert outline(read_in_all_blocks(b"[1,2]\n[3]\n\x1e[4]")) == [
        ("item 1", 1),
        ("item 2", 2),
        ("document 2, item 1", 3),
        ("document 3, item 1", 4),
    ]


def test_a_broken_item_is_one_reject_and_the_rest_goes_on() -> None:
    content = b'[{"a":NaN},{"a":"\\ud800"},{"a":},,{"b" 1},"\xff",{"c":2},]'
    records = read_in_all_blocks(content)
    assert outline(records) == [
        ("item 1", {"a": None}),
        ("item 2", {"a": "\ufffd"}),
        ("item 3", "not_json"),
        ("item 4", "not_json"),
        ("item 5", "not_json"),
        ("item 6", "not_utf8"),
        ("item 7", {"c": 2}),
    ]
    assert records[2].raw == b'{"a":}'


def test_what_stands_between_documents_is_a_reject_of_its_line() -> None:
    content = b'{"a":\n1}\nlog: {done}\n[2]\n]]\n'
    assert outline(read_in_all_blocks(content)) == [
        ("document", {"a": 1}),
        ("document 2", "not_json"),
        ("document 3, item 1", 2),
        ("document 4", "not_json"),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[{"a":1},{"b":2}', [("item 1", {"a": 1}), ("item 2", {"b": 2}), ("item 3", "truncated")]),
        (b'[{"a":1},', [("item 1", {"a": 1}), ("item 2", "truncated")]),
        (b'[{"a":1},{"b":', [("item 1", {"a": 1}), ("item 2", "truncated")]),
        (b"[1,23", [("item 1", 1), ("item 2", "truncated")]),
        (b'[1,"ab\\', [("item 1", 1), ("item 2", "truncated")]),
        (b"[", [("item 1", "truncated")]),
        (b'{"a":\n[1', [("document", "truncated")]),
        (b'{"a":\n1}\n{"b', [("document", {"a": 1}), ("document 2", "truncated")]),
    ],
)
def test_of_a_file_that_was_cut_off_all_whole_records_are_read(
    content: bytes, expected: list[tuple[str, object]]
) -> None:
    assert outline(read_in_all_blocks(content)) == expected


def test_an_item_over_the_limit_is_passed_over() -> None:
    content = b'[{"a":"' + b'x\\"[' * 50 + b'"}, 2, "' + b"y" * 40 + b'", 3]'
    records = read_in_all_blocks(content, max_record_bytes=40)
    assert outline(records) == [("item 1", "too_long"), ("item 2", 2), ("item 3", "too_long"), ("item 4", 3)]
    assert outline(read_in_all_blocks(b'{"a":\n"' + b"x" * 50 + b'"}\n{}', max_record_bytes=40)) == [
        ("document", "too_long"),
        ("document 2", {}),
    ]


@pytest.mark.parametrize("depth", [5, 9, 20, 200])
def test_items_may_be_nested_deeper_than_the_pattern_sees(depth: int) -> None:
    item = b'{"a":[",]",' * depth + b"1" + b"]}" * depth
    kind = "too_deep" if depth == 200 else json.loads(item)
    assert outline(read_in_all_blocks(b"[" + item + b",2]")) == [("item 1", kind), ("item 2", 2)]


def test_nesting_without_end_is_a_reject() -> None:
    assert outline(read_json(b"[" + b'{"a":' * 10_000 + b"}" * 10_000 + b",1]")) == [
        ("item 1", "too_deep"),
        ("item 2", 1),
    ]


def rows(count: int) -> list[dict[str, Any]]:
    """Items that hold lists of objects which look like items."""
    spans = [{"id": f"s{number}", "text": 'a "b" ] }, {'} for number in range(3)]
    return [{"id": f"t{number}", "spans": spans, "x": "y" * (number % 97)} for number in range(count)]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("block_bytes", [1_000, 50_000, 1 << 20])
def test_long_arrays_are_cut_like_short_ones(separators: tuple[str, str], indent: int | None, block_bytes: int) -> None:
    items = rows(3_000)
    content = json.dumps(items, indent=indent, separators=separators).encode()
    records = read_json(content, block_bytes=block_bytes)
    assert data(records) == items
    assert records[-1].position == "item 3000"
    assert json.loads(records[77].raw) == items[77]


def test_broken_items_within_long_arrays_are_found() -> None:
    texts = [json.dumps(item) for item in rows(2_000)]
    for number in range(0, 2_000, 333):
        texts[number] = '{"id": NaN, "spans": [1 2]}'
    records = read_json(("[" + ",\n".join(texts) + "]").encode())
    assert [record.ordinal for record in records if record.problem] == [1, 334, 667, 1000, 1333, 1666, 1999]
    assert len(records) == 2_000


json_values = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(alphabet='a,[]{}"\\\n', max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text('ab\\"', max_size=2), children, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(json_values, max_size=6), st.sampled_from([None, 1]), st.integers(1, 30))
def test_any_array_gives_its_items(items: list[Any], indent: int | None, block_bytes: int) -> None:
    content = json.dumps(items, indent=indent).encode()
    assert data(read_json(content, block_bytes=block_bytes)) == items


@settings(deadline=None)
@given(st.lists(json_values, max_size=6), st.data(), st.integers(1, 30))
def test_damaged_arrays_do_not_depend_on_the_blocks(items: list[Any], choose: st.DataObject, block_bytes: int) -> None:
    content = bytearray(json.dumps(items).encode())
    for _ in range(choose.draw(st.integers(1, 3))):
        at = choose.draw(st.integers(0, len(content) - 1))
        content[at : at + choose.draw(st.integers(0, 2))] = choose.draw(st.binary(max_size=2))
        content = content or bytearray(b"[")
    damaged = b"[" + bytes(content)
    assert read_json(damaged, block_bytes=block_bytes) == read_json(damaged)
