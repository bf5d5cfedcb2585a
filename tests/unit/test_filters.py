"""Which traces a filter wants."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import load_config
from pipeline.config import SourceConfig
from pipeline.errors import RejectedError, UsageError
from pipeline.filters import Verdict, trace_filter
from pipeline.models import Trace
from tests.unit.factories import make_trace

NOW = datetime(2026, 8, 22, 12, tzinfo=UTC)


def verdict(trace: Trace, raw: bytes = b"{}", **filters: Any) -> Verdict:
    wants = trace_filter(SourceConfig(paths=("a",), **filters), NOW)
    assert wants is not None
    return wants(trace, raw)


def at(time: str | None) -> Trace:
    return make_trace(started_at=time)


def test_without_filters_nothing_is_asked() -> None:
    assert trace_filter(SourceConfig(paths=("a",)), NOW) is None


@pytest.mark.parametrize("since", ["2026-08-21", "2026-08-21T00:00", "2026-08-21T02:00+02:00", "36h", "1d12h"])
def test_since_takes_what_began_then_or_later(since: str) -> None:
    assert verdict(at("2026-08-21T00:00:00.000000Z"), since=since) is Verdict.WANTED
    assert verdict(at("2026-08-20T23:59:59.999999Z"), since=since) is Verdict.FILTERED
    assert verdict(at(None), since=since) is Verdict.FILTERED


def test_until_takes_what_began_before_and_one_that_moves_looks_again() -> None:
    late, early = at("2026-08-21T12:00:00.000000Z"), at("2026-08-21T11:59:59.999999Z")
    assert verdict(early, until_trace_time="1d") is Verdict.WANTED
    assert verdict(late, until_trace_time="1d") is Verdict.LATER
    assert verdict(late, until_trace_time="2026-08-21T12:00") is Verdict.FILTERED
    assert verdict(at(None), until_trace_time="1d") is Verdict.FILTERED
    assert verdict(late, until_trace_time="1d", where="name == 'other'") is Verdict.FILTERED  # on no night


def test_ids_are_of_traces_or_conversations(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\ufefft1\r\n\n  c7 \nt1\n", encoding="utf-8")
    (tmp_path / "c.yaml").write_text("source: {paths: [a], ids: ids.txt}\n")
    source = load_config(tmp_path / "c.yaml", environ={}).source
    assert source.ids == ("c7", "t1")
    wants = trace_filter(source, NOW)
    assert wants
    traces = [make_trace("t1"), make_trace("t2", conversation_id="c7"), make_trace("t3"), make_trace(None)]
    assert [wants(trace, b"") is Verdict.WANTED for trace in traces] == [True, True, False, False]


def test_ids_that_nothing_had_are_known() -> None:
    wants = trace_filter(SourceConfig(paths=("a",), ids=("t1", "c7", "typo"), since="2026-08-22"), NOW)
    assert wants
    for trace in (make_trace("t1", started_at="2020-01-01T00:00:00.000000Z"), make_trace("t2", conversation_id="c7")):
        assert wants(trace, b"") is Verdict.FILTERED  # by its time; the id is there all the same
    assert wants.ids_not_met == {"typo"}


def test_where_sees_the_trace_and_follows_jmespaths_truth() -> None:
    trace = make_trace(environment="production", tags=("a", "b"), cost=0.0)
    assert verdict(trace, where="environment == 'production' && contains(tags, 'b')") is Verdict.WANTED
    assert verdict(trace, where="turns[?input == 'question 0']") is Verdict.WANTED
    assert verdict(trace, where="cost") is Verdict.WANTED
    assert verdict(trace, where="turns[?input == 'nothing']") is Verdict.FILTERED
    with pytest.raises(RejectedError, match=r"source\.where"):
        verdict(trace, where="length(user_id) > `3`")
    with pytest.raises(UsageError, match=r"source\.where"):
        verdict(trace, where="turns[")


@pytest.mark.parametrize(
    "where", ["enviroment", "enviroment == 'prod'", "enviroment.x[0] || name", "contains(enviroment, 'a') && !name"]
)
def test_where_may_not_ask_for_what_no_trace_has(where: str) -> None:
    with pytest.raises(UsageError, match=r"source\.where: .* asks for enviroment, .* did you mean environment\?"):
        trace_filter(SourceConfig(paths=("a",), where=where), NOW)


@pytest.mark.parametrize(
    "where",
    [
        "metadata.anything.at_all == 'x' && turns[?whatever].spans[].else | [0]",
        "sort_by(turns, &latency_ms)[-1].cost",
        "@.cost",
        "{a: name, b: tags[*].x}.a",
        "metadata | plan || [environment, `1`][0]",
    ],
)
def test_where_may_ask_for_anything_inside_of_what_a_trace_has(where: str) -> None:
    assert trace_filter(SourceConfig(paths=("a",), where=where), NOW) is not None


def test_a_sample_is_stable_and_grows() -> None:
    def sampled(share: float) -> set[str]:
        wants = trace_filter(SourceConfig(paths=("a",), sample=share), NOW)
        assert wants
        return {id for id in map(str, range(2_000)) if wants(make_trace(id), b"") is Verdict.WANTED}

    small, large = sampled(0.1), sampled(0.3)
    assert small < large
    assert (len(small) / 2_000, len(large) / 2_000) == (pytest.approx(0.1, abs=0.03), pytest.approx(0.3, abs=0.03))
    assert len(sampled(1)) == 2_000


def test_a_sample_of_conversations_holds_whole_ones_and_ids_that_are_not_unique_are_no_ids() -> None:
    wants = trace_filter(SourceConfig(paths=("a",), sample=0.5, session_per="conversation"), NOW)
    assert wants
    for number in range(20):
        assert len({wants(make_trace(f"{number}-{n}", conversation_id=str(number)), b"") for n in range(9)}) == 1
    same = {verdict(make_trace("identity_0", id_is_unique=False), b"%d" % number, sample=0.5) for number in range(20)}
    assert same == {Verdict.WANTED, Verdict.FILTERED}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("since: 7", "7 of what"),
        ("since: yesterday", "is no time"),
        ("until_trace_time: '2026-13-01'", "is no time"),
        ("sample: 0", "greater than 0"),
        ("sample: 1.5", "less than or equal to 1"),
        ("ids: []", "no ids"),
        ("ids: nowhere.txt", "nowhere.txt: the file with the ids cannot be read"),
    ],
)
def test_a_wrong_filter_is_told(tmp_path: Path, setting: str, says: str) -> None:
    (tmp_path / "c.yaml").write_text(f"source: {{paths: [a], {setting}}}\n")
    with pytest.raises(UsageError, match=says):
        load_config(tmp_path / "c.yaml", environ={})


def test_another_filter_reads_files_again_and_none_is_as_it_always_was(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("source: {paths: [a], since: 2026-08-22}\n")
    overrides = [
        {},
        {"source.since": "7d"},
        {"source.sample": 0.5},
        {"source.where": "id"},
        {"source.max_archive_bytes": 1},
    ]
    hashes = [load_config(tmp_path / "c.yaml", overrides=one, environ={}).mapping_sha256() for one in overrides]
    plain = load_config(overrides={"source.paths": ["a"]}, environ={}).mapping_sha256()
    assert len({*hashes, plain}) == 6
