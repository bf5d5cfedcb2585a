"""The sample data of Braintrust, Weave and Datadog that waits for the assembly is what its README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.mappers.detect import detect_format
from pipeline.models import Status
from pipeline.readers import read_records
from tests.unit.mappers.assembling import traces_of

FOLDER = Path(__file__).parents[3] / "sample_data_pending"
ROW = re.compile(
    r"^\| `(?P<file>[^`]+)` \| (?P<format>braintrust|weave|datadog):[^|]*"
    r"\| (?P<records>\d+) \| 0 \| (?P<sessions>\d+) \|",
    re.MULTILINE,
)
ROWS = list(ROW.finditer((FOLDER / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_each_file_is_recognised_and_holds_what_the_readme_counts(row: re.Match[str]) -> None:
    path = FOLDER / row["file"]
    records = [record.data for record in read_records(path, name=path.name, max_record_bytes=1_000_000)]
    guess = detect_format(records)
    assert guess.is_sure
    assert guess.mapper is not None
    assert guess.mapper.name == row["format"]
    traces = traces_of(guess.mapper, records)
    assert (len(records), len(traces)) == (int(row["records"]), int(row["sessions"]))
    assert Status.FAILED in {trace.status for trace in traces}
