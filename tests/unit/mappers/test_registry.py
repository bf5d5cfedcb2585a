from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.mappers import MAPPERS, find_mapper, installed_mappers

PLUGIN = """
from pipeline.mappers.mapper import Detection, Mapper
MAPPER = Mapper("{name}", "{name}", lambda sample: Detection(0.0, ""), lambda record: None)
OTHER = 1
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A distribution that brings three entry points: a mapper, something else, and a module that is not there."""
    (tmp_path / "my_plugin.py").write_text(PLUGIN.format(name="mine"))
    info = tmp_path / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[trace_import.mappers]\nmine = my_plugin:MAPPER\nodd = my_plugin:OTHER\ngone = not_there:MAPPER\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    return "mine"


def test_built_in_mappers_are_found_by_name() -> None:
    names = {"langfuse", "langsmith", "langsmith-dataset", "openinference", "mlflow", "opik", "helicone", "chat"}
    names |= {"braintrust", "weave", "datadog", "otlp", "langsmith-fetch"}
    assert {name: find_mapper(name).name for name in MAPPERS} == {name: name for name in names}


def test_a_mapper_of_another_package_is_found_by_name(plugin: str) -> None:
    assert find_mapper(plugin).family == "mine"


@pytest.mark.parametrize(
    ("name", "words"),
    [("odd", "is not a pipeline.mappers.mapper.Mapper"), ("gone", "not_there:MAPPER cannot be loaded")],
)
@pytest.mark.usefixtures("plugin")
def test_an_entry_point_that_does_not_work_is_a_usage_error(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find_mapper(name)


def test_detection_may_ask_for_all_that_is_installed() -> None:
    assert installed_mappers().keys() >= MAPPERS.keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("langfuze", r"langfuze is not a format; did you mean langfuse\? Known are auto, "),
        (
            "zzz",
            "known are auto, braintrust, chat, custom, datadog, helicone, langfuse, langsmith, langsmith-dataset, "
            "langsmith-fetch, mlflow, openinference, opik, otlp, weave",
        ),
        ("custom", "needs mapping.trace"),
    ],
)
def test_an_unknown_format_is_a_usage_error_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find_mapper(name)
