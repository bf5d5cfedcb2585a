"""Where the values of real and canonical records go: into what is sent, or by a rule that says why not."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline import json_text
from pipeline.config import load_config
from pipeline.coverage import Coverage, FileCoverage, leaves
from pipeline.coverage_rules import REASONS, RULES
from pipeline.inspection import Inspection, inspect_sources
from pipeline.models import Span, Turn
from tests.formats import writers
from tests.formats.canonical import CANONICAL
from tests.unit.factories import make_part, make_session, make_trace
from tests.unit.mappers.valid_records import VALID

REPOSITORY = Path(__file__).parents[2]
SAMPLES = REPOSITORY.parent / "shared" / "samples"
REAL = [path for path in sorted(SAMPLES.glob("*/*.json*")) if not path.name.startswith("tau-bench")]
OURS = [
    path
    for path in sorted((REPOSITORY / "sample_data").iterdir())
    if path.is_file() and path.suffix not in (".md", ".py")
]
LOOKED_UP = {"data[*].spans[*].processID"}
"""What only says where in the document more of a record stands."""
FORMATS = sorted(module.name for module in pkgutil.iter_modules(writers.__path__))


def inspected(path: Path, **options: Any) -> Inspection:
    return inspect_sources(load_config(overrides={"source.paths": [str(path)], **options}), sample=None)


def covered(path: Path, **options: Any) -> FileCoverage:
    [file] = inspected(path, **options).coverage.files.values()
    return file


def written(path: Path, records: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


# --- nothing is lost --------------------------------------------------------------------------------------


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no real exports at {SAMPLES}")
class TestRealExports:
    @pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}/{path.name}")
    def test_every_value_is_sent_or_left_out_by_a_rule(self, path: Path) -> None:
        file = covered(path)
        assert dict(file.lost) == {}
        left_out = sum(paths.total() for paths in file.left_out.values())
        assert file.values == file.sent.total() + left_out
        assert file.sent.total() > left_out / 10

    @pytest.mark.parametrize("path", REAL, ids=lambda path: f"{path.parent.name}/{path.name}")
    def test_no_field_stands_beside_the_records_that_a_file_is_cut_into(self, path: Path) -> None:
        text = path.read_bytes()
        documents = text.splitlines() if path.suffix == ".jsonl" else [text]
        values = [leaf for document in documents for leaf in leaves(json_text.decode(document).value)]
        ends = {place.rpartition(".")[2] for place in inspected(path).coverage.paths}
        assert {place for place, _, value in values if value and place.rpartition(".")[2] not in ends} <= LOOKED_UP


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_every_value_of_our_own_samples_is_sent_or_left_out_by_a_rule(path: Path) -> None:
    found = inspected(path)
    assert {name: file.lost for name, file in found.coverage.files.items() if file.lost} == {}


@pytest.mark.parametrize("name", FORMATS)
def test_every_value_of_the_canonical_traces_is_sent_or_left_out_by_a_rule(name: str, tmp_path: Path) -> None:
    module: Any = importlib.import_module(f"tests.formats.writers.{name}")
    records = [record for trace in CANONICAL.values() for record in module.write(trace)]
    file = covered(written(tmp_path / "a.jsonl", records), **{"source.format": module.MAPPER.name})
    assert dict(file.lost) == {}
    assert file.sent["span"] > 100


@pytest.mark.parametrize("name", [name for name in VALID if name != "custom"])
def test_every_value_of_records_with_something_in_each_field_is_sent_or_left_out_by_a_rule(
    name: str, tmp_path: Path
) -> None:
    assert dict(covered(written(tmp_path / "a.jsonl", VALID[name]), **{"source.format": name}).lost) == {}


@pytest.mark.parametrize("extent", ["full", "turns", "session"])
def test_what_an_import_is_told_to_leave_out_counts_as_lost(extent: str, tmp_path: Path) -> None:
    step = {"id": "o-1", "type": "SPAN", "startTime": "2026-08-22T08:00:00Z", "name": "only in the span"}
    row = {"id": "t-1", "timestamp": "2026-08-22T08:00:00Z", "input": "why", "output": "so", "observations": [step]}
    file = covered(written(tmp_path / "a.jsonl", [row]), **{"import": extent, "source.format": "langfuse"})
    assert ("observations[*].name" in file.lost) is (extent != "full")


# --- how a value is found ---------------------------------------------------------------------------------


def counted(data: Any, *, max_value_bytes: int = 1_024, **fields: Any) -> FileCoverage:
    """The coverage of a record by a trace that somebody made of it."""
    part = make_part(raw=json.dumps(data).encode())
    mapping = {"max_value_bytes": max_value_bytes}
    session = make_session(make_trace("t1", **fields), parts=(part,), mapping=mapping, extent="full")
    coverage = Coverage(max_value_bytes=max_value_bytes)
    coverage.add(session)
    return coverage.files[part.source]


SPAN = Span(id="00000000000001ff", started_at="2026-08-22T08:00:00.250000Z", metadata={"public": True, "n": 7})
FIELDS: dict[str, Any] = {
    "turns": (
        Turn(input="a long question", output="TimeoutError: no", spans=(SPAN,)),
        Turn(input="NaN", output="true"),
    ),
    "metadata": {"note": {"deep": ["x"]}, "price": 0.5, "big": "9007199254740993"},
    "tags": ("env=prod",),
    "system": "Be brief.",
}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"question": "a long question"}, "turn"),
        ({"part": "question"}, "turn"),
        ({"message": "no"}, "turn"),
        ({"when": 1787385600250}, "span"),
        ({"when": "2026-08-22T10:00:00.250+02:00"}, "span"),
        ({"hex": "0x00000000000001FF"}, "span"),
        ({"base64": "AAAAAAAAAf8="}, "span"),
        ({"number": 511}, "span"),
        ({"count": "7"}, "span"),
        ({"public": True}, "span"),
        ({"said": "true"}, "turn"),
        ({"output": True}, "turn"),
        ({"asked": "NaN"}, "turn"),
        ({"id": 9007199254740993}, "metadata"),
        ({"system": "Be brief."}, "context"),
        ({"json": '{"deep": ["x"]}'}, "metadata"),
        ({"env": "prod"}, "metadata"),
        ({"price": "0.50"}, "metadata"),
        ({"cost": 500_000_000}, "metadata"),
        ({"user_id": "user_id:x"}, "metadata"),
        ({"attributes": [{"key": "note", "value": {"stringValue": "x"}}]}, "metadata"),
        ({"id": "langfuse:t1"}, "session"),
    ],
)
def test_a_value_is_found_whatever_way_it_is_written(value: Any, place: str) -> None:
    file = counted(value, **FIELDS)
    assert (dict(file.sent), dict(file.lost)) == ({place: 1}, {})


@pytest.mark.parametrize("value", ["nowhere", "quest", 8, 9007199254740994, "nan", {"hidden": True}, [["deep"]]])
def test_a_value_that_is_nowhere_is_lost(value: Any) -> None:
    file = counted({"field": value}, **FIELDS)
    assert (file.values, file.sent.total(), file.lost.total()) == (1, 0, 1)


@pytest.mark.parametrize("value", [None, "", "  ", [], {}, "null", "0000000000000000"])
def test_what_says_nothing_is_left_out_as_empty(value: Any) -> None:
    assert {rule: dict(paths) for rule, paths in counted({"field": value}, **FIELDS).left_out.items()} == {
        "empty": {"field": 1}
    }


def test_a_text_that_was_cut_is_told_as_cut() -> None:
    long = "x" * 3_000
    file = counted({"input": long}, turns=(Turn(input=long),))
    assert {rule: dict(paths) for rule, paths in file.left_out.items()} == {"cut": {"input": 1}}


def test_what_stood_in_json_that_was_cut_is_told_as_cut() -> None:
    values = [f"number {number}" for number in range(1_000)]
    file = counted({"output": {"values": values}}, turns=(Turn(output={"values": values}),))
    assert dict(file.lost) == {}
    assert file.left_out["cut"]["output.values[*]"] > 900


def test_a_rule_does_not_hide_a_value_that_it_does_not_mean() -> None:
    file = counted(
        {"role": "user", "from": "ann@example.com", "level": "DEFAULT", "deep": {"level": "basement"}}, **FIELDS
    )
    assert file.as_json() == {
        "values": 4,
        "sent": {"turn": 0, "span": 0, "context": 0, "metadata": 0, "session": 0},
        "left_out": [
            {"rule": "role", "reason": REASONS["role"], "values": 1, "paths": {"role": 1}},
            {"rule": "default", "reason": REASONS["default"], "values": 1, "paths": {"level": 1}},
        ],
        "lost": {"from": 1, "deep.level": 1},
    }


def test_each_rule_has_a_name_of_its_own_and_a_reason() -> None:
    assert len(REASONS) == len(RULES) + 2
    assert all(REASONS.values())


def test_it_stops_looking_where_that_would_take_too_long_and_says_so() -> None:
    coverage = Coverage(max_value_bytes=1_024, characters=1_000)
    session = make_session(make_trace("t1", name="x" * 2_000), parts=(make_part(raw=b'["nowhere to be found"]'),))
    for _ in range(3):
        coverage.add(session)
    assert coverage.is_exhausted
    assert coverage.files["/exports/a.jsonl"].values == 1
