"""The same traces, written in every format, are understood alike."""

from __future__ import annotations

import importlib
import pkgutil
import random
from typing import Any

import pytest

from pipeline.mappers import MAPPERS
from tests.formats import writers
from tests.formats.canonical import CANONICAL, essence, expected
from tests.unit.mappers.assembling import traces_of

FORMATS = sorted(module.name for module in pkgutil.iter_modules(writers.__path__))


def _format(name: str) -> Any:
    return importlib.import_module(f"tests.formats.writers.{name}")


@pytest.mark.parametrize("case", CANONICAL)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_tells_the_same_trace(name: str, case: str) -> None:
    module = _format(name)
    [trace] = traces_of(module.MAPPER, module.write(CANONICAL[case]))
    assert essence(trace) == expected(CANONICAL[case])


@pytest.mark.parametrize("name", FORMATS)
def test_scattered_repeated_and_shuffled_records_make_the_same_traces(name: str) -> None:
    module = _format(name)
    records = [record for trace in CANONICAL.values() for record in module.write(trace)]
    in_order = {trace.id: trace for trace in traces_of(module.MAPPER, records)}
    again = [*records, *records[::2]]
    random.Random(7).shuffle(again)
    assert {trace.id: trace for trace in traces_of(module.MAPPER, again)} == in_order
    assert len(in_order) == len(CANONICAL)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_and_taken_for_no_other(name: str) -> None:
    module = _format(name)
    sample = [record for trace in CANONICAL.values() for record in module.write(trace)]
    assert module.MAPPER.detect(sample).confidence >= 0.7
    others = [mapper for mapper in MAPPERS.values() if mapper is not module.MAPPER]
    assert {mapper.name: found for mapper in others if (found := mapper.detect(sample).confidence) > 0.2} == {}
