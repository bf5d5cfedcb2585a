"""Questions that are asked until they are answered: how often, and what uses up the patience."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pipeline.errors import AmbiguousError, ExistsError, RefusedError, RejectedError, TraceImportError
from pipeline.uploader.breaker import THRESHOLD as BREAKER_THRESHOLD
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from pipeline.uploader.questions import ask, ask_until_answered
from pipeline.uploader.retry import MAX_REFUSALS
from tests.fake_clock import FakeClock, in_virtual_time


def asked(answers: Callable[[int], TraceImportError | None], *, max_attempts: int = 3) -> tuple[int, Counts]:
    """How often the question was asked; raises what it ended with."""
    times, counts = 0, Counts()

    async def question() -> None:
        nonlocal times
        times += 1
        error = answers(times)
        if error is not None:
            raise error

    async def story(clock: FakeClock) -> None:
        chance = random.Random(0)
        pace = Pace(clock, chance, max_per_second=None, max_at_once=8, max_pause_seconds=300)
        await ask_until_answered(pace, clock, counts, chance, question, max_attempts=max_attempts)

    try:
        in_virtual_time(story)
    except TraceImportError as error:
        error.add_note(f"asked {times} times")
        raise
    return times, counts


def times_of(error: BaseException) -> str:
    return error.__notes__[0]


def test_trouble_is_asked_again() -> None:
    times, counts = asked(lambda number: AmbiguousError("reset") if number < 3 else None)
    assert (times, counts.retries) == (3, 2)


def test_so_many_troubles_use_up_the_attempts() -> None:
    with pytest.raises(AmbiguousError) as ended:
        asked(lambda number: AmbiguousError("reset"))
    assert times_of(ended.value) == "asked 3 times"


def test_trouble_that_is_everybodys_uses_up_none() -> None:
    """After ten in a row the breaker is open, and what is sent are probes."""
    times, _ = asked(lambda number: AmbiguousError("reset") if number < 40 else None, max_attempts=11)
    assert times == 40


def test_later_is_no_trouble_and_not_for_ever() -> None:
    times, counts = asked(lambda number: RefusedError("later") if number < 20 else None)
    assert (times, counts.throttled) == (20, 19)
    with pytest.raises(RefusedError) as ended:
        asked(lambda number: RefusedError("later"))
    assert times_of(ended.value) == f"asked {MAX_REFUSALS} times"


def test_a_refusal_for_good_is_the_answer() -> None:
    with pytest.raises(RejectedError) as ended:
        asked(lambda number: RejectedError("no", kind="http_403", status=403))
    assert times_of(ended.value) == "asked 1 times"


@pytest.mark.parametrize("error", [ExistsError("taken"), RejectedError("no", kind="http_403", status=403)])
def test_any_answer_to_the_breakers_probe_closes_the_breaker(error: TraceImportError) -> None:
    async def fails() -> None:
        raise AmbiguousError("reset")

    async def answers() -> None:
        raise error

    async def story(clock: FakeClock) -> None:
        pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=8, max_pause_seconds=300)
        for _ in range(BREAKER_THRESHOLD):
            with pytest.raises(AmbiguousError):
                await ask(pace, clock, Counts(), fails)
        assert pace.is_waiting
        with pytest.raises(type(error)):
            await ask(pace, clock, Counts(), answers)
        assert not pace.is_waiting
        assert pace.trouble_seconds == 0

    in_virtual_time(story)
