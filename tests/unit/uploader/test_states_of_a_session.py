"""Several states of one session in one input: how it ends is decided by what they are, and never by the timing."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.models import SessionImport, Turn
from tests.fake_clock import FakeClock
from tests.unit.factories import make_session, make_trace
from tests.unit.uploader.fake_server import FakeServer
from tests.unit.uploader.nights import Nights, open_fast


class State(NamedTuple):
    """A trace at some time: with the same turns and more it has grown, with others it was rewritten."""

    day: int
    """Of its revision; 0: it has none."""
    texts: str


class Timing(NamedTuple):
    batch_size: int
    reading_seconds: float
    killed_after: float | None = None


AT_ONCE = Timing(100, 0)
ONE_BY_ONE = Timing(1, 10)
KILLED = [Timing(1, 10, seconds) for seconds in (0.07, 5, 10.07, 15, 20.07, 25)]
states = st.builds(State, st.integers(0, 4), st.sampled_from(["a", "ab", "abc", "x", "xy"]))


def session(state: State, ordinal: int) -> SessionImport:
    turns = tuple(Turn(input=text, output=text) for text in state.texts)
    revision = f"2026-01-{state.day:02}" if state.day else None
    return make_session(make_trace("t", turns=turns, revision=revision), ordinal=ordinal)


def end_of(before: list[State], tonight: list[State], timing: Timing, on_change: str = "auto") -> Any:
    """What the server holds in the end, and what the manifest says of each record of tonight's."""
    with tempfile.TemporaryDirectory() as folder:
        server = FakeServer(FakeClock(), random.Random(1))
        nights = Nights(Path(folder), server.clock, server, upload={"on_change": on_change})
        for state in before:
            nights.night([session(state, 1)])
        records = [session(state, ordinal) for ordinal, state in enumerate(tonight, start=1)]
        nights.reading_seconds = timing.reading_seconds
        nights.night(records, batch_size=timing.batch_size, killed_after=timing.killed_after)
        if not is_finished(nights):
            nights.night(records, batch_size=timing.batch_size)
        (stored,) = server.sessions.values()
        rows = asked(nights, "SELECT ordinal, outcome, error_kind FROM entry WHERE run = ? ORDER BY ordinal")
        return stored["metadata"]["trace_import"]["sha256"], stored["context"], rows


def is_finished(nights: Nights) -> bool:
    return asked(nights, "SELECT finished_at FROM run WHERE number = ?") != [(None,)]


def asked(nights: Nights, query: str) -> list[Any]:
    assert nights.run is not None
    database = open_fast(nights.state_dir)
    try:
        return database.connection.execute(query, (nights.run.number,)).fetchall()
    finally:
        database.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(states, max_size=2),
    st.lists(states, min_size=1, max_size=4),
    st.sampled_from([ONE_BY_ONE, Timing(2, 10), Timing(1, 0.06), *KILLED]),
    st.sampled_from(["auto", "update", "report"]),
)
@example([State(1, "a")], [State(2, "ab"), State(3, "x")], ONE_BY_ONE, "auto")
@example([State(1, "a")], [State(2, "ab"), State(3, "abc")], Timing(1, 10, 5), "auto")
def test_the_timing_decides_nothing(before: list[State], tonight: list[State], timing: Timing, on_change: str) -> None:
    assert end_of(before, tonight, timing, on_change) == end_of(before, tonight, AT_ONCE, on_change)


@pytest.mark.parametrize("timing", [AT_ONCE, ONE_BY_ONE, Timing(1, 10, 5)])
def test_a_session_of_an_earlier_night_that_is_brought_up_to_date_has_changed(timing: Timing) -> None:
    _, context, rows = end_of([State(1, "a")], [State(2, "ab"), State(3, "abc")], timing)
    assert [turn["input"] for turn in context["turns"]] == ["a", "b", "c"]
    assert rows == [(2, "changed", "updated")]


@pytest.mark.parametrize("timing", [AT_ONCE, ONE_BY_ONE, Timing(1, 10, 5)])
def test_the_newest_state_wins_over_one_of_this_input_that_was_sent(timing: Timing) -> None:
    _, context, rows = end_of([State(1, "a")], [State(2, "ab"), State(3, "x")], timing)
    assert [turn["input"] for turn in context["turns"]] == ["x"]
    assert rows == [(2, "changed", "updated")]
