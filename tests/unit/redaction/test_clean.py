from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config import MappingConfig
from pipeline.errors import UsageError
from pipeline.models import Span, Status, Trace, Turn
from pipeline.redaction.clean import Redaction
from pipeline.redaction.paths import parse_path, without

MAIL = "ann@example.com"
SPAN = Span(
    id="s1",
    name=f"mail to {MAIL}",
    input={"to": [MAIL, {MAIL: 1}]},
    output=f"sent to {MAIL}",
    error=f"{MAIL} bounced",
    model="gpt-4.1",
    tokens={"input": 3},
    started_at="2026-08-22T08:00:00.000000Z",
    metadata={"card": 4111111111111111, "stamp": 1755849600000000},
)
TRACE = Trace(
    id=f"t:{MAIL}",
    conversation_id=MAIL,
    user_id=MAIL,
    name=f"for {MAIL}",
    tags=(MAIL, "b"),
    system=f"You write to {MAIL}",
    error=MAIL,
    turns=(Turn(input=MAIL, output={"said": MAIL}, retrieval_context=MAIL, error=MAIL, spans=(SPAN,)),),
    metadata={"customer": {"mail": MAIL, "plan": "free"}, "password": "x", "list": [{"password": "y"}]},
    origin={"project": MAIL},
    partial=MAIL,
)


def clean(trace: Trace = TRACE, salt: bytes = b"", **config: Any) -> tuple[Trace, dict[str, int]]:
    redaction = Redaction(MappingConfig(**config), salt=salt)
    return redaction.trace(trace), dict(redaction.counts)


def test_without_rules_a_trace_stays_as_it_is() -> None:
    assert clean() == (TRACE, {})


def test_a_pattern_is_gone_from_every_corner_and_counted() -> None:
    trace, counts = clean(redact=("email", "card"))
    assert MAIL not in repr(trace)
    assert "4111111111111111" not in repr(trace)
    assert trace.turns[0].spans[0].metadata == {"card": "[card]", "stamp": 1755849600000000}
    assert trace.turns[0].output == {"said": "[email]"}
    assert counts == {"email": repr(TRACE).count(MAIL), "card": 1}


NOT_THE_USERS_WORDS = {
    "status": Status.COMPLETED,  # one of three
    "type": "TOOL",  # of a list of ours
    "revision": "2026-08-22T08:00:00.000000Z",  # a time
    "started_at": "2026-08-22T08:00:00.000000Z",
    "ended_at": "2026-08-22T08:00:00.000000Z",
}


def marked(kind: type) -> Any:
    """A Trace, Turn or Span with the mark in all of its fields, by their types; of a new type it knows nothing."""
    return kind(
        **{
            name: NOT_THE_USERS_WORDS[name] if name in NOT_THE_USERS_WORDS else marked_value(hint, f"{name} {MAIL}")
            for name, hint in typing.get_type_hints(kind).items()
        }
    )


def marked_value(hint: Any, text: str) -> Any:
    parts = typing.get_args(hint)
    if hint in (bool, int, float) or (parts and set(parts) <= {int, float, type(None)}):
        return 1
    if typing.get_origin(hint) in (tuple, Sequence):
        return (marked(parts[0]) if parts[0] in (Turn, Span) else text,)
    if typing.get_origin(hint) is Mapping:
        return {text: 3 if parts[1] is int else [text]}
    assert hint is Any or hint is str or str in parts, f"no mark for {hint}"
    return text


def test_no_field_of_a_trace_is_forgotten() -> None:
    trace = marked(Trace)
    assert repr(trace).count(MAIL) >= 30
    cleaned, counts = clean(trace, redact=("email",))
    assert MAIL not in repr(cleaned)
    assert counts == {"email": repr(trace).count(MAIL)}
    assert cleaned.tokens == {next(iter(cleaned.tokens)): 3}


def test_ids_that_differ_still_differ_and_are_the_same_tomorrow() -> None:
    other = replace(TRACE, id="t:bob@example.com")
    one, two = clean(redact=("email",))[0], clean(other, redact=("email",))[0]
    assert one.id != two.id
    assert one.id == clean(redact=("email",))[0].id
    assert one.id is not None and one.id.startswith("t:[email~")
    assert one.id != clean(redact=("email",), salt=b"secret")[0].id


def test_content_free_keeps_structure_times_and_counts_only() -> None:
    trace, counts = clean(content="none")
    turn = trace.turns[0]
    assert (turn.input, turn.output, turn.retrieval_context) == ({"characters": 15}, {"characters": 26}, None)
    assert (trace.system, trace.metadata, trace.user_id, trace.tags) == (None, {}, None, ())
    span = turn.spans[0]
    assert (span.model, span.tokens, span.started_at, span.metadata) == ("gpt-4.1", {"input": 3}, SPAN.started_at, {})
    assert counts == {"content": 1}


@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("metadata.customer", lambda trace: "customer" not in trace.metadata and "password" in trace.metadata),
        ("metadata.customer.mail", lambda trace: trace.metadata["customer"] == {"plan": "free"}),
        ("**.password", lambda trace: "password" not in repr(trace.metadata) and trace.metadata["list"] == [{}]),
        ("turns[*].spans[*].input", lambda trace: trace.turns[0].spans[0].input is None),
        ("turns[0].output", lambda trace: trace.turns[0].output is None),
        ("user_id", lambda trace: trace.user_id is None),
        ("tags", lambda trace: trace.tags == ()),
        ("turns[*].spans", lambda trace: trace.turns[0].spans == ()),
        ('metadata["customer"].*', lambda trace: trace.metadata["customer"] == {}),
    ],
)
def test_what_lies_at_a_path_is_dropped_and_counted(path: str, check: Any) -> None:
    trace, counts = clean(drop=(path,))
    assert check(trace)
    assert counts[path] >= 1


def test_json_inside_a_text_is_looked_into() -> None:
    twice = json.dumps(json.dumps({"password": "hunter2", "plan": "free"}))
    turn = Turn(input={"arguments": '{"a": [{"password": "hunter2"}], "b": 1}'}, output=twice)
    trace, counts = clean(Trace(id="t", turns=(turn,), system='{"password" is no JSON'), drop=("**.password",))
    assert trace.turns[0].input == {"arguments": '{"a":[{}],"b":1}'}
    assert trace.turns[0].output == '{"plan":"free"}'
    assert trace.system == '{"password" is no JSON'
    assert counts == {"**.password": 2}
    same, _ = clean(Trace(id="t", turns=(turn,)), drop=("**.nothing",))
    assert same.turns[0] == turn


def test_a_path_that_leads_nowhere_drops_nothing() -> None:
    paths = ("metadata.nothing.here", "turns[7].input")
    assert clean(drop=paths) == (TRACE, dict.fromkeys(paths, 0))


@pytest.mark.parametrize("path", ["", "a..b", "[x", "id", "status", "**", "a["])
def test_a_path_that_cannot_be_meant_is_an_error(path: str) -> None:
    with pytest.raises(UsageError, match=r"mapping\.drop"):
        parse_path(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("metdata.customer", "no trace has metdata; did you mean metadata"),
        ("userid", "no trace has userid; did you mean user_id"),
        ("turns[*].imput", "no turn has imput; did you mean input"),
        ("turns[*].spans[0].outputs.x", "no span has outputs; did you mean output"),
        ("zzz", "no trace has zzz; known are id, "),
    ],
)
def test_a_path_that_no_trace_has_is_an_error_before_anything_is_sent(path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Redaction(MappingConfig(drop=(path,)))
    Redaction(MappingConfig(drop=(path,)), over_record=True)  # a record may have it


def test_status_survives_a_wide_path() -> None:
    trace, _ = clean(replace(TRACE, status=Status.FAILED), drop=("*",))
    assert (trace.id, trace.status, trace.turns, trace.metadata) == (TRACE.id, Status.FAILED, (), {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(value=JSON, path=st.lists(st.sampled_from(["a", "b", "*", "**", "0"]), min_size=1, max_size=4))
def test_dropping_never_fails_and_never_adds(value: Any, path: list[str]) -> None:
    if path[-1] != "**":
        from collections import Counter

        assert len(repr(without(value, {tuple(path): "p"}, Counter()))) <= len(repr(value))
