"""A rejected record that was mended is sent, however the night that first saw it mended came to its end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.models import SessionImport, Turn
from tests.fake_clock import FakeClock
from tests.unit.factories import make_session, make_trace
from tests.unit.uploader.nights import VERSION, Nights
from tests.unit.uploader.test_uploader import Ruled


def made_of(text: str) -> SessionImport:
    return make_session(make_trace("z", turns=(Turn(input=text, output=text),)), ordinal=9_999)


@pytest.mark.parametrize("ahead", [0, 60, 900])
@pytest.mark.parametrize("how", ["stopped_after", "killed_after"])
def test_a_mended_reject_is_sent_although_the_night_that_saw_it_was_cut_short(
    tmp_path: Path, how: str, ahead: int
) -> None:
    server = Ruled(FakeClock(), random.Random(1))
    nights = Nights(tmp_path, server.clock, server)
    server.refuse = lambda body: 422 if "bad" in str(body["context"]) else None
    assert dict(nights.night([made_of("bad")]).outcomes) == {"rejected": 1}
    today = [*(make_session(make_trace(f"f{number}"), ordinal=number + 1) for number in range(ahead)), made_of("good")]
    server.latency_seconds = 4
    nights.upload = {"max_at_once": 1}
    nights.night(today, **{how: 1.0})
    server.latency_seconds = 0.05
    nights.upload = {}
    assert dict(nights.night(today).outcomes) == {"created": len(today)}
    assert (VERSION, "langfuse:z") in server.sessions
