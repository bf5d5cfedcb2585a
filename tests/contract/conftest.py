"""The emulator as a process, one for all tests of a run, empty and faultless at the start of each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from emulator_client import client_of, new_session, new_turn, post_session

from pipeline.emulator import RunningEmulator, running_emulator

Create = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[RunningEmulator]:
    with running_emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: RunningEmulator) -> RunningEmulator:
    shared_emulator.set_faults([])
    shared_emulator.set_limit(None)
    shared_emulator.reset()
    return shared_emulator


@pytest.fixture
def api(emulator: RunningEmulator) -> Iterator[httpx.Client]:
    with client_of(emulator) as client:
        yield client


@pytest.fixture
def create(api: httpx.Client) -> Create:
    """POST /sessions as an importer would, with the given fields changed; `...` leaves one out."""

    def post(**changes: Any) -> httpx.Response:
        return post_session(api, **changes)

    return post


@pytest.fixture
def session_id(api: httpx.Client) -> str:
    """An open session with the custom id `c`."""
    return new_session(api, customId="c")


@pytest.fixture
def turn_id(api: httpx.Client, session_id: str) -> str:
    """A turn of that session."""
    return new_turn(api, session_id)
