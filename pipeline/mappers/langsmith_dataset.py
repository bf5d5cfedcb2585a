"""Files of LangSmith's data sets: an example per line, `{"inputs": {…}, "outputs": {…}, "metadata": {…}}`.

Sources: langsmith 0.15.1 from PyPI, schemas.py (ExampleBase, ExampleCreate, Example); formats.md section 2.3.

| field of an example | Trace field |
|---|---|
| inputs, outputs | input and output of the one turn; `{"input": x}` and `{"output": x}` are x |
| id (the API's examples have one, the UI's files none) | id; without it, the content tells examples apart |
| metadata | metadata |
| a system message in inputs.messages | system, and it stays in the input |
| all else that is not empty (dataset_id, split, source_run_id, …) | metadata.langsmith; URLs without signature |

An example has no time: created_at is when it was put into the data set. The output is what was put down as the right
answer, so that the status is COMPLETED.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, messages
from pipeline.mappers.langsmith_runs import unsigned_urls, value_of
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score, judge
from pipeline.models import Trace, Turn

_MODELLED = frozenset(["id", "inputs", "outputs", "metadata"])
# fmt: off
_KNOWN = _MODELLED | {
    "dataset_id", "dataset_name", "split", "created_at", "modified_at", "source_run_id", "attachments",
    "attachment_urls", "name", "runs", "use_source_run_io", "use_source_run_attachments", "use_legacy_message_format",
}
# fmt: on


def map_trace(record: Any) -> Trace:
    """One example. Raises RejectedError, naming the field and the way out."""
    row = fields.object_of(record)
    first, last = value_of(row.get("inputs"), "input"), value_of(row.get("outputs"), "output")
    if first is None and last is None:
        raise RejectedError(f"inputs and outputs are missing or empty; {fields.WAY_OUT}", kind="no_inputs")
    example_id = fields.id_of(row.get("id"), "id")
    rest = {key: value for key, value in row.items() if key not in _MODELLED and not fields.is_empty(value)}
    for key in ("attachments", "attachment_urls"):
        if key in rest:
            rest[key] = unsigned_urls(rest[key])
    own = unwrap(row.get("metadata"))
    if not isinstance(own, dict):
        own = {} if fields.is_empty(own) else {"metadata": own}
    return Trace(
        id=example_id,
        id_is_unique=example_id is not None,
        system=messages.system_of(first),
        turns=(Turn(input=first, output=last),),
        metadata=fields.beside(own, "langsmith", rest),
        origin={"format": "langsmith-dataset"},
    )


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are examples of a data set?"""
    return judge(sample, _score, "no examples of a data set (inputs, outputs)")


def _score(row: dict[str, Any]) -> Score:
    """Many formats have inputs and outputs: only rows that hold nothing else are taken for examples."""
    if not (isinstance(row.get("inputs"), dict) and row.keys() <= _KNOWN):
        return Score(0.0, "")
    if isinstance(row.get("outputs"), dict) or "dataset_id" in row:
        return Score(0.95, "examples of a LangSmith data set (inputs, outputs)")
    if "outputs" in row or "metadata" in row:
        return Score(0.75, "examples of a LangSmith data set, without outputs")
    return Score(0.4, "records that have inputs only")


MAPPER = Mapper(name="langsmith-dataset", family="langsmith", detect=detect, map_trace=map_trace)
