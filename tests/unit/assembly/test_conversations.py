"""What the traces of one conversation become together."""

from __future__ import annotations

from pipeline.assembly.conversations import merge_traces
from pipeline.facts import contains, facts
from tests.unit.factories import make_trace


def test_a_system_prompt_of_its_own_stands_with_its_trace() -> None:
    same, other = make_trace("t2", system="be brief"), make_trace("t3", system="be kind")

    merged = merge_traces([make_trace("t1", system="be brief"), same, other])

    assert merged.system == "be brief"
    assert [trace.get("system") for trace in merged.metadata["traces"]] == [None, None, "be kind"]


def test_a_system_prompt_that_was_not_kept_before_only_adds() -> None:
    known = [{"trace_id": "t1"}, {"trace_id": "t2"}]
    now = [{"trace_id": "t1"}, {"trace_id": "t2", "system": "be kind"}]

    assert contains(facts(make_trace(metadata={"traces": now})), facts(make_trace(metadata={"traces": known})))
