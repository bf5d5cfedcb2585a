"""A trace becomes what POST /sessions takes: the body, the custom id, the metadata, the hashes."""

from __future__ import annotations

import json
from typing import Any, Literal
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from pipeline.errors import RejectedError, UsageError
from pipeline.mappers.session import MAX_CUSTOM_ID
from pipeline.models import Span, Status, Trace, Turn
from pipeline.payload import create_body, payload_sha256, stored_sha256s, update_body
from tests.unit.factories import make_part, make_session, make_trace


class CreateSession(BaseModel):
    """The body, as create-session-reference.txt has it for an imported trace, and not a key more."""

    model_config = ConfigDict(extra="forbid", strict=True)

    versionId: str  # noqa: N815
    customId: str  # noqa: N815
    isProduction: Literal[False]  # noqa: N815
    context: str | dict[str, Any]
    metadata: dict[str, Any]
    status: Literal["PENDING", "COMPLETED", "FAILED"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.none() | st.text(max_size=20)
TRACES = st.builds(
    Trace,
    id=st.text(min_size=1, max_size=300),
    conversation_id=TEXT,
    name=TEXT,
    user_id=TEXT,
    system=TEXT,
    error=TEXT,
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    status=st.sampled_from(Status),
    cost=st.none() | st.floats(0, 1e6),
    tokens=st.dictionaries(st.sampled_from(["input", "output"]), st.integers(0, 10**9)),
    metadata=st.dictionaries(st.text(max_size=12) | st.sampled_from(["tags", "trace_import", "cut"]), JSON, max_size=4),
    turns=st.lists(st.builds(Turn, input=JSON, output=JSON, error=TEXT), max_size=3).map(tuple),
)


def body_of(trace: Trace, **how: Any) -> dict[str, Any]:
    session = make_session(trace, **how)
    body: dict[str, Any] = json.loads(create_body(session, session.custom_id, version_id="ver_1", ledger_id="l"))
    return body


# --- the body ---------------------------------------------------------------------------------------------


@given(TRACES)
def test_whatever_the_trace_the_body_is_what_the_reference_page_takes(trace: Trace) -> None:
    session = make_session(trace)
    body = create_body(session, session.custom_id, version_id="ver_1", ledger_id="l")
    sent = CreateSession.model_validate_json(body)
    assert set(sent.metadata["trace_import"]) == {"ledger", "sha256", "version"}
    assert b'"isProduction":false' in body
    assert b"testCaseId" not in create_body(make_session(make_trace()), "a", version_id="ver_1", ledger_id="l")


def test_the_body_letter_by_letter() -> None:
    trace = make_trace("t1", turns=1, system="Be kind.", user_id="u1", tags=("a",), cost=0.5, metadata={"k": [1]})
    body = body_of(trace)
    mark = body["metadata"].pop("trace_import")
    assert (mark["ledger"], len(mark["sha256"])) == ("l", 64)
    assert body == {
        "versionId": "ver_1",
        "customId": "langfuse:t1",
        "isProduction": False,
        "status": "COMPLETED",
        "context": {"system": "Be kind.", "turns": [{"input": "question 0", "output": "answer 0"}]},
        "metadata": {
            "trace_id": "t1",
            "name": "support",
            "user_id": "u1",
            "tags": ["a"],
            "cost": 0.5,
            "k": [1],
        },
    }


def test_what_is_absent_leaves_no_key() -> None:
    body = body_of(Trace(id="t1"))
    assert set(body["metadata"]) == {"trace_id", "trace_import"}
    assert body["context"] == {"turns": []}


@pytest.mark.parametrize("status", Status)
def test_the_status_is_sent_as_the_trace_has_it(status: Status) -> None:
    assert body_of(make_trace(status=status))["status"] == status.value


def test_an_update_says_what_the_session_holds_and_not_what_it_is() -> None:
    session = make_session()
    assert set(json.loads(update_body(session, ledger_id="l", status=session.status))) == {
        "status",
        "context",
        "metadata",
    }


# --- metadata ---------------------------------------------------------------------------------------------


def test_a_key_of_the_trace_that_collides_with_ours_is_kept_beside_it() -> None:
    metadata = body_of(make_trace(tags=("a",), metadata={"tags": "theirs", "trace_import": {"ledger": "x"}}))[
        "metadata"
    ]
    assert metadata["tags"] == ["a"]
    assert metadata["metadata.tags"] == "theirs"
    assert metadata["metadata.trace_import"] == {"ledger": "x"}
    assert metadata["trace_import"]["ledger"] == "l"


def test_even_where_the_new_name_is_taken_too() -> None:
    metadata = body_of(make_trace(metadata={"tags": 1, "metadata.tags": 2, "metadata.metadata.tags": 3}))["metadata"]
    assert sorted(value for key, value in metadata.items() if key.endswith("tags")) == [1, 2, 3]


def test_what_was_repaired_is_counted() -> None:
    body = body_of(make_trace(metadata={"big": 2**60}), repairs={"nan_to_null": 2})
    assert body["metadata"]["big"] == str(2**60)
    assert body["metadata"]["repaired"] == {"nan_to_null": 2, "big_integer": 1}


@pytest.mark.parametrize("text", ["x" * 5_000, "é" * 5_000, "📦" * 5_000])
def test_a_value_that_is_too_long_is_cut_and_the_cut_is_marked(text: str) -> None:
    trace = Trace(id="t1", turns=(Turn(input=text, output="short"),), metadata={"notes": [text]})
    body = body_of(trace, mapping={"max_value_bytes": 2_000})
    turn = body["context"]["turns"][0]
    kept, mark = turn["input"].split("… [cut: ")
    assert len(kept.encode()) <= 2_000
    assert text.startswith(kept)
    assert mark == f"2000 of {len(text.encode())} bytes kept]"
    assert turn["output"] == "short"
    assert body["metadata"]["cut"] == 2


def test_nothing_is_cut_that_fits() -> None:
    body = body_of(
        Trace(id="t1", turns=tuple(Turn(input="x" * 1_500) for _ in range(20))), mapping={"max_value_bytes": 1_500}
    )
    assert "cut" not in body["metadata"]


# --- expressions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "context"),
    [
        ("turns[0].input", "question 0"),
        ("{last: turns[-1].output, n: length(turns)}", {"last": "answer 1", "n": 2}),
        ("join(', ', tags)", "a, b"),
        ("status", "COMPLETED"),
    ],
)
def test_the_context_is_what_the_expression_says(expression: str, context: Any) -> None:
    trace = make_trace(turns=2, tags=("a", "b"))
    assert body_of(trace, mapping={"context": expression})["context"] == context


@pytest.mark.parametrize("expression", ["metadata.nowhere", "turns", "length(turns)", "cost", "`true`"])
def test_a_context_that_is_neither_text_nor_object_is_a_reject(expression: str) -> None:
    with pytest.raises(RejectedError) as caught:
        make_session(make_trace(cost=0.5), mapping={"context": expression})
    assert caught.value.kind == "bad_context"


def test_expressions_of_a_custom_mapping_see_the_record() -> None:
    body = body_of(make_trace(), data={"a": {"b": "c"}}, mapping={"context": "a.b"}, over_record=True)
    assert body["context"] == "c"


def test_metadata_expressions_add_keys() -> None:
    body = body_of(
        make_trace(turns=3), mapping={"metadata": {"turn_count": "length(turns)", "none": "metadata.nowhere"}}
    )
    assert body["metadata"]["turn_count"] == 3
    assert body["metadata"]["none"] is None


def test_the_mark_cannot_be_written_by_the_config() -> None:
    with pytest.raises(UsageError, match="trace_import"):
        make_session(mapping={"metadata": {"trace_import": "name"}})


@pytest.mark.parametrize("mapping", [{"context": "metdata.k"}, {"metadata": {"k": "metdata.k"}}])
def test_an_expression_over_the_trace_may_not_ask_for_what_no_trace_has(mapping: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"asks for metdata, .* did you mean metadata\?"):
        make_session(mapping=mapping)
    assert make_session(data={"metdata": {"k": "v"}}, mapping=mapping, over_record=True)


def test_an_expression_that_does_not_compile_is_named() -> None:
    with pytest.raises(UsageError, match=r"mapping\.context"):
        make_session(mapping={"context": "a ||"})


# --- the custom id ----------------------------------------------------------------------------------------

IDS = st.text(min_size=1, max_size=400) | st.text(alphabet="ab\n\t \0é📦\u200b\u202e", min_size=1, max_size=250)


@given(IDS)
def test_a_custom_id_is_short_printable_and_the_same_every_time(id: str) -> None:
    custom_id = make_session(make_trace(id)).custom_id
    assert custom_id == make_session(make_trace(id, turns=3)).custom_id
    assert 0 < len(custom_id) <= MAX_CUSTOM_ID
    assert custom_id.isprintable()
    assert custom_id == custom_id.strip()
    assert len(quote_plus(custom_id)) < 1_800


@given(IDS, IDS)
def test_two_ids_are_two_custom_ids(one: str, other: str) -> None:
    custom_ids = {make_session(make_trace(one)).custom_id, make_session(make_trace(other)).custom_id}
    assert len(custom_ids) == len({one, other})


@pytest.mark.parametrize(
    "id",
    [
        "x" * 300,
        "with\nnewline",
        "with\0nul",
        "trailing ",
        "bell\a",
        "x" * 192,
        "\u202eright to left",
        "no\u00adhyphen",
    ],
)
def test_an_awkward_id_is_hashed_and_kept_whole_in_the_metadata(id: str) -> None:
    body = body_of(make_trace(id))
    assert body["customId"][-33] == "~"
    assert body["metadata"]["custom_id"] == f"langfuse:{id}".replace("\0", "\ufffd")


@pytest.mark.parametrize("id", ["abc", "a:b/c#d%e&f", "Größe-日本", "a b", "x" * 191])
def test_a_usual_id_stays_as_it_is(id: str) -> None:
    body = body_of(make_trace(id))
    assert body["customId"] == f"langfuse:{id}"
    assert "custom_id" not in body["metadata"]


def test_the_template_takes_fields_of_the_trace() -> None:
    trace = make_trace("t1", conversation_id="c1", environment="prod", user_id="u{id}")
    mapping = {"custom_id": "{environment}/{conversation_id}/{user_id}/{id}/{format}"}
    assert make_session(trace, mapping=mapping).custom_id == "prod/c1/u{id}/t1/langfuse"


def test_a_field_that_the_trace_lacks_is_a_reject() -> None:
    with pytest.raises(RejectedError) as caught:
        make_session(make_trace(), mapping={"custom_id": "{environment}:{id}"})
    assert caught.value.kind == "no_custom_id"


@pytest.mark.parametrize("fields", [{"id": None}, {"id": "identity_0", "id_is_unique": False}])
def test_without_an_id_of_its_own_the_content_is_the_id(fields: dict[str, Any]) -> None:
    one, same, other = (make_session(make_trace(**fields), data={"text": text}) for text in ("a", "a", "b"))
    assert one.is_numbered
    assert one.custom_id == same.custom_id != other.custom_id


def test_where_the_record_stands_is_no_part_of_its_id() -> None:
    one = make_session(make_trace(None), data={"a": 1}, ordinal=1)
    other = make_session(make_trace(None), data={"a": 1}, ordinal=2, source="/elsewhere.jsonl")
    assert one.custom_id == other.custom_id


def test_a_number_still_fits_behind_a_long_prefix() -> None:
    session = make_session(make_trace(None), data={}, mapping={"custom_id": "x" * 300 + "{id}"})
    assert len(f"{session.custom_id}#{10**10}") <= MAX_CUSTOM_ID


# --- the hashes -------------------------------------------------------------------------------------------


@given(TRACES)
def test_what_comes_back_from_the_server_has_the_hash_of_what_was_sent(trace: Trace) -> None:
    session = make_session(trace)
    body = json.loads(create_body(session, session.custom_id, version_id="v", ledger_id="l"))
    assert session.payload_sha256 in stored_sha256s(body["status"], body["context"], body["metadata"])


def test_a_text_that_comes_back_in_an_object_has_the_hash_of_the_text() -> None:
    session = make_session(mapping={"context": "turns[0].input"})
    metadata = json.loads(session.metadata)
    assert session.payload_sha256 in stored_sha256s("COMPLETED", {"value": "question 0"}, metadata)


def test_an_object_that_looks_like_such_a_text_has_its_own_hash_too() -> None:
    session = make_session(mapping={"context": "{value: turns[0].input}"})
    assert session.payload_sha256 in stored_sha256s("COMPLETED", {"value": "question 0"}, json.loads(session.metadata))


@pytest.mark.parametrize(
    "changed",
    [("FAILED", b"{}", b"{}"), ("COMPLETED", b"[]", b"{}"), ("COMPLETED", b"{}", b"[]")],
    ids=["status", "context", "metadata"],
)
def test_each_part_of_the_payload_is_in_its_hash(changed: tuple[str, bytes, bytes]) -> None:
    assert payload_sha256(*changed) != payload_sha256("COMPLETED", b"{}", b"{}")


def test_version_and_ledger_are_in_no_hash() -> None:
    session = make_session()
    marks = {
        json.loads(create_body(session, "a", version_id=version, ledger_id=ledger))["metadata"]["trace_import"][
            "sha256"
        ]
        for version, ledger in (("v1", "l1"), ("v2", "l2"))
    }
    assert marks == {session.payload_sha256}


def test_a_moved_file_is_no_change() -> None:
    here, there = make_session(ordinal=1), make_session(ordinal=9, source="/elsewhere.jsonl")
    assert (here.payload_sha256, here.trace_sha256, here.facts) == (
        there.payload_sha256,
        there.trace_sha256,
        there.facts,
    )


def test_all_parts_and_spans_are_counted() -> None:
    turns = (Turn(spans=(Span(id="s1"), Span(id="s2"))), Turn(spans=(Span(id="s3"),)))
    session = make_session(make_trace(turns=turns), parts=(make_part(1), make_part(2)))
    assert (session.turns, session.spans, len(session.parts)) == (2, 3, 2)
