"""The sample data is what its README says, and the generated files are what their generator writes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.custom import custom_mapper
from pipeline.mappers.detect import detect_format, doubt
from pipeline.models import Record, Status, Trace
from pipeline.readers import read_records
from pipeline.units import units_of
from tests.unit.mappers.assembling import traces_of

FOLDER = Path(__file__).parents[3] / "sample_data"
FILES = sorted(
    str(path.relative_to(FOLDER))
    for path in FOLDER.rglob("*")
    if path.is_file() and path.suffix not in (".md", ".py", ".pyc")
)
CUSTOM = custom_mapper({"id": "request_id", "input": "ask", "output": "reply", "status": "result"})
ROW = re.compile(
    r"^\| `(?P<file>[^`]+)` \| (?P<format>[\w-]+)[^|]*\| (?P<records>\d+) \| (?P<rejects>\d+) \| (?P<sessions>\d+) \|"
)


def records_of(path: Path) -> list[Record]:
    return list(read_records(path, name=path.name, max_record_bytes=1_000_000))


def mapped(path: Path) -> tuple[list[Trace], int, int]:
    """The traces of a file, how many records it holds, and how many of them were rejected."""
    records = records_of(path)
    guess = detect_format([record.data for record in records if record.problem is None])
    mapper = CUSTOM if path.parent.name == "custom" else guess.mapper
    assert mapper is not None
    units = list(units_of(records, mapper))
    kept = []
    for unit, is_trace in units:
        try:
            if unit.problem is not None:
                raise RejectedError(unit.problem.error, kind=unit.problem.kind)
            if is_trace and (mapper.piece_of is None or mapper.piece_of(unit.data) is None):
                mapper.map_trace(unit.data)
        except RejectedError:
            continue
        kept.append(unit.data)
    return traces_of(mapper, kept), len(units), len(units) - len(kept)


def table() -> list[re.Match[str]]:
    lines = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    return [match for line in lines if (match := ROW.match(line)) is not None]


def test_the_readme_lists_every_file() -> None:
    assert sorted(row["file"] for row in table()) == FILES


@pytest.mark.parametrize("row", table(), ids=lambda row: row["file"])
def test_the_readme_counts_right(row: re.Match[str]) -> None:
    traces, records, rejects = mapped(FOLDER / row["file"])
    # Two ShareGPT conversations share an id on purpose; the content tells them apart.
    sessions = {
        (trace.id, "" if trace.id is not None and trace.id_is_unique else repr(trace.turns)) for trace in traces
    }
    assert (records, rejects, len(sessions)) == (
        int(row["records"]),
        int(row["rejects"]),
        int(row["sessions"]),
    )


def test_the_readme_adds_up() -> None:
    sums = [sum(int(row[column]) for row in table()) for column in ("records", "rejects", "sessions")]
    assert "| all | | **{}** | **{}** | **{}** |".format(*sums) in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("custom/")])
def test_the_format_of_each_file_is_recognised(file: str) -> None:
    guess = detect_format([record.data for record in records_of(FOLDER / file)])
    assert guess.is_sure, doubt(guess)
    assert guess.mapper is not None
    assert Path(file).name.startswith(guess.mapper.name)


def test_ids_are_unique_over_all_files_but_where_the_readme_says() -> None:
    ids = [trace.id for file in FILES for trace in mapped(FOLDER / file)[0] if trace.id is not None]
    twice = {id for id in ids if ids.count(id) > 1}
    assert twice == {"identity_0"}


def test_every_status_is_there() -> None:
    found = {trace.status for file in FILES for trace in mapped(FOLDER / file)[0]}
    assert found == set(Status)


def test_it_is_small() -> None:
    assert sum((FOLDER / file).stat().st_size for file in FILES) < 200_000


def test_the_generated_files_hold_what_their_generator_writes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_sample_data", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    generator.write_all(tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert set(FILES) >= set(written) >= {file for file in FILES if file.endswith((".parquet", ".gz"))}
    for name in written:
        shipped = [record.data for record in records_of(FOLDER / name)]
        assert [record.data for record in records_of(tmp_path / name)] == shipped
