from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pipeline.errors import RejectedError, UsageError
from pipeline.mappers.custom import compile_expression, custom_mapper
from pipeline.models import Status, Trace, Turn

RECORD = {
    "req": {"id": 9007199254740993, "at": 1787400000, "end": "2026-08-22T12:00:05Z"},
    "dialog": "d-1",
    "q": "question",
    "a": {"text": "answer"},
    "labels": ["x", "y"],
    "usage": {"in": "3", "out": 2},
    "usd": "0.25",
    "state": "Success",
    "extra": {"k": 1},
    "rev": 12,
}


def mapped(record: Any = RECORD, **expressions: str) -> Trace:
    return custom_mapper({"input": "q", **expressions}).map_trace(record)


def test_every_field_is_found_where_its_expression_says() -> None:
    trace = custom_mapper(
        {
            "id": "req.id", "conversation_id": "dialog", "name": "'support'", "started_at": "req.at",
            "ended_at": "req.end", "user_id": "missing", "tags": "labels", "environment": "'prod'", "release": "rev",
            "status": "state", "system": "'be kind'", "input": "q", "output": "a.text", "model": "labels[0]",
            "tokens": '{input: usage."in", output: usage.out}', "cost": "usd", "metadata": "extra", "revision": "rev",
        }
    ).map_trace(RECORD)  # fmt: skip
    assert trace == Trace(
        id="9007199254740993",
        conversation_id="d-1",
        name="support",
        started_at="2026-08-22T12:00:00.000000Z",
        ended_at="2026-08-22T12:00:05.000000Z",
        tags=("x", "y"),
        environment="prod",
        release="12",
        status=Status.COMPLETED,
        system="be kind",
        turns=(Turn(input="question", output="answer"),),
        models=("x",),
        tokens={"input": 3, "output": 2},
        cost=0.25,
        metadata={"k": 1},
        origin={"format": "custom"},
        revision="00000000000000000012",
    )


def test_without_an_id_there_is_none() -> None:
    assert mapped().id is None


def test_messages_may_have_any_chat_shape() -> None:
    record = {"log": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    trace = custom_mapper({"messages": "log"}).map_trace(record)
    assert (trace.system, trace.turns) == ("s", (Turn(input="q", output="a"),))


def test_an_output_beside_messages_is_the_answer_to_them() -> None:
    record = {"request": [{"role": "user", "content": "q"}], "answer": "a"}
    trace = custom_mapper({"messages": "request", "output": "answer"}).map_trace(record)
    assert trace.turns == (Turn(input="q", output="a"),)


def test_turns_are_taken_as_listed() -> None:
    record = {"steps": [{"ask": "q1", "reply": "a1", "ms": 5}, {"ask": "q2", "reply": None, "ms": None}]}
    turns = "steps[].{input: ask, output: reply, latency_ms: ms}"
    trace = custom_mapper({"turns": turns}).map_trace(record)
    assert trace.turns == (Turn(input="q1", output="a1", latency_ms=5.0), Turn(input="q2"))


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("ok", "COMPLETED"),
        ("SUCCESS", "COMPLETED"),
        ("Error", "FAILED"),
        ("failed", "FAILED"),
        (" running ", "PENDING"),
    ],
)
def test_usual_words_for_a_status_are_understood(word: str, status: str) -> None:
    assert mapped({"q": 1, "s": word}, status="s").status.value == status


def test_an_error_without_a_status_is_a_failure() -> None:
    trace = mapped({"q": 1, "e": {"code": 500}}, error="e")
    assert (trace.status, trace.error) == (Status.FAILED, '{"code":500}')


@pytest.mark.parametrize("nothing", [None, "", False, {}])
def test_an_empty_error_is_none(nothing: Any) -> None:
    assert mapped({"q": 1, "e": nothing}, error="e").status is Status.COMPLETED


def test_one_number_of_tokens_is_the_total() -> None:
    assert mapped({"q": 1, "n": 42}, tokens="n").tokens == {"total": 42}


@pytest.mark.parametrize(
    ("revision", "expected"), [(7, "0" * 19 + "7"), ("2026-08-22", "2026-08-22T00:00:00.000000Z"), ("v2", "v2")]
)
def test_a_revision_becomes_a_text_that_sorts(revision: Any, expected: str) -> None:
    assert mapped({"q": 1, "r": revision}, revision="r").revision == expected


@pytest.mark.parametrize(
    ("expressions", "words"),
    [
        ({"input": "q", "startd_at": "x"}, r"mapping\.trace\.startd_at: unknown key; did you mean started_at\?"),
        ({"input": "q", "zzz": "x"}, r"mapping\.trace\.zzz: unknown key; known are id, "),
        ({"input": "a["}, r"mapping\.trace\.input: 'a\[' is not a JMESPath expression"),
        ({"input": "lenght(q)"}, r"unknown function lenght\(\); did you mean length\?"),
        ({"input": "join(q)"}, r"join\(\) takes 2 arguments, not 1"),
        ({"input": " "}, r"mapping\.trace\.input: must be a JMESPath expression"),
        ({"id": "x"}, "nothing says where the conversation is"),
        ({"turns": "t", "input": "q"}, "input and turns say the same thing twice"),
        ({"messages": "m", "input": "q"}, "input and messages say the same thing twice"),
    ],
)
def test_a_mapping_that_cannot_work_is_a_usage_error_with_the_key(expressions: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        custom_mapper(expressions)


@pytest.mark.parametrize(
    ("expressions", "words"),
    [
        ({"id": "labels"}, r"mapping\.trace\.id \(labels\) must be a string or an integer, not a list of 2"),
        ({"started_at": "q"}, r"mapping\.trace\.started_at \(q\): .question. is not a time"),
        ({"name": "extra"}, r"mapping\.trace\.name \(extra\) must be a text, not an object"),
        ({"status": "q"}, r"mapping\.trace\.status \(q\) is .question., which is no status we know"),
        ({"status": "rev"}, r"mapping\.trace\.status \(rev\) must be a text such as COMPLETED"),
        ({"cost": "q"}, r"mapping\.trace\.cost \(q\) must be a number, not a text"),
        ({"tokens": "q"}, r"mapping\.trace\.tokens \(q\) must be an object of whole numbers"),
        ({"metadata": "labels"}, r"mapping\.trace\.metadata \(labels\) must be an object, not a list of 2"),
        ({"name": "length(rev)"}, r"mapping\.trace\.name: length\(rev\) cannot be evaluated .*and got number"),
    ],
)
def test_a_value_of_the_wrong_kind_is_rejected_with_field_expression_and_what_was_found(
    expressions: dict[str, str], words: str
) -> None:
    with pytest.raises(RejectedError, match=words):
        mapped(**expressions)


@pytest.mark.parametrize(
    ("expressions", "record", "words"),
    [
        ({"input": "q", "output": "a"}, {}, r"input \(q\) and mapping\.trace\.output \(a\) found nothing"),
        (
            {"messages": "m"},
            {"m": [{"content": "x"}]},
            r"mapping\.trace\.messages \(m\): messages\[0\]\.role is missing",
        ),
        ({"turns": "t"}, {"t": []}, "gave an empty list"),
        ({"turns": "t"}, {"t": ["x"]}, r"turns\[0\] must be an object with input and output"),
        ({"turns": "t"}, {"t": [{"input": 1, "ask": 2}]}, r'turns\[0\] has "ask"'),
        ({"turns": "t"}, {"t": [{"error": "x"}]}, r"turns\[0\] has neither input nor output"),
    ],
)
def test_a_record_without_a_conversation_is_rejected(expressions: dict[str, str], record: Any, words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        custom_mapper(expressions).map_trace(record)


@pytest.mark.parametrize("expression", ["requestid", "customer.idd", "requestid || other"])
def test_a_file_in_which_the_id_is_never_found_is_not_what_the_mapping_is_for(expression: str) -> None:
    detect = custom_mapper({"id": expression, "input": "ask"}).detect
    record = {"request_id": "r1", "ask": "q", "customer": {"id": 3}}
    found = detect([record, record | {"more": 1}])
    assert found.confidence == 0.0
    assert found.reason == (
        f"mapping.trace.id ({expression}) finds nothing in the first 2 records (they have request_id, ask, customer, "
        "more); correct it, or leave id out"
    )
    assert detect([record, {"requestid": 0, "customer": {"idd": 0}}]).confidence == 1.0
    assert detect([]).confidence == 1.0


def test_without_an_expression_for_the_id_any_file_will_do() -> None:
    assert custom_mapper({"input": "ask"}).detect([{"ask": "q"}]).confidence == 1.0


def test_messages_do_not_quote_the_record() -> None:
    with pytest.raises(RejectedError) as caught:
        mapped({"q": "my secret"}, name="abs(q)")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 1, 2**80, "x", [], {"b": 1}, {"b": {"c": 2**80}}])
def test_a_plain_path_answers_as_jmespath_does(value: Any) -> None:
    plain, general = compile_expression("b.c", "here"), compile_expression("b.c | @", "here")
    assert plain(value) == general(value)


def test_jmespath_is_loaded_only_by_who_needs_it() -> None:
    code = (
        "import sys; from pipeline.mappers.custom import custom_mapper; "
        "custom_mapper({'input': 'a.b'}); print('jmespath' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
