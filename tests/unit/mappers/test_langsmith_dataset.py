from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.langsmith_dataset import MAPPER
from pipeline.models import Trace, Turn


def test_an_example_is_a_trace_of_one_turn_without_an_id() -> None:
    example = {"inputs": {"question": "q"}, "outputs": {"answer": "a"}, "metadata": {"k": 1}}
    assert MAPPER.map_trace(example) == Trace(
        id=None,
        id_is_unique=False,
        turns=(Turn(input={"question": "q"}, output={"answer": "a"}),),
        metadata={"k": 1},
        origin={"format": "langsmith-dataset"},
    )


def test_an_example_of_the_api_has_an_id_and_keeps_what_else_it_tells() -> None:
    example = {
        "id": "e-1", "dataset_id": "d-1", "inputs": {"input": "q"}, "outputs": {"output": "a"}, "metadata": None,
        "source_run_id": "r-1", "modified_at": None, "attachments": {"a": {"presigned_url": "/download?jwt=secret"}},
    }  # fmt: skip
    trace = MAPPER.map_trace(example)
    assert trace is not None
    assert (trace.id, trace.id_is_unique, trace.turns) == ("e-1", True, (Turn(input="q", output="a"),))
    assert trace.metadata == {
        "langsmith": {
            "dataset_id": "d-1",
            "source_run_id": "r-1",
            "attachments": {"a": {"presigned_url": "/download"}},
        }
    }


def test_an_example_may_have_no_outputs() -> None:
    trace = MAPPER.map_trace({"inputs": {"question": "q"}, "outputs": None})
    assert trace is not None
    assert trace.turns == (Turn(input={"question": "q"}),)


def test_a_system_message_is_the_system_prompt() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    trace = MAPPER.map_trace({"inputs": {"messages": messages}, "outputs": {"answer": "a"}})
    assert trace is not None
    assert (trace.system, trace.turns[0].input) == ("Be brief.", {"messages": messages})


@pytest.mark.parametrize("metadata", ["a note", [1]])
def test_metadata_that_are_no_object_are_kept_too(metadata: Any) -> None:
    trace = MAPPER.map_trace({"inputs": {"q": 1}, "metadata": metadata})
    assert trace is not None
    assert trace.metadata == {"metadata": metadata}


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (3, "not_an_object", "a number, not an object"),
        ({"inputs": {}, "outputs": None}, "no_inputs", "inputs and outputs are missing or empty"),
        ({"id": [], "inputs": {"q": 1}}, "bad_field", "id must be a string"),
    ],
)
def test_what_is_no_example_is_rejected(record: Any, kind: str, words: str) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        MAPPER.map_trace(record)
    assert caught.value.kind == kind
