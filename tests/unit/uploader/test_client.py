"""What each answer of the API means: the table of reliability.md, row by row."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipeline.errors import (
    AmbiguousError,
    ExistsError,
    FatalError,
    RefusedError,
    RejectedError,
    TransientError,
)
from pipeline.uploader.client import (
    MAX_IDS_PER_QUERY,
    MAX_MESSAGE,
    MAX_READ,
    Client,
    NoRouteError,
    QueryTooLongError,
    error_of,
    find_query,
    message_of,
)
from pipeline.uploader.content_api import ContentApi
from pipeline.uploader.counts import Counts
from pipeline.uploader.transport import Answer

KEY = "gsk_very_secret"
HTML = "<html><head><style>b {color: red}</style></head><body><h1>No  way</h1>\n</body></html>"
EXISTS = "A Session with the same customId: 'a' already exists for version with ID: 'ver_1'."


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    """`body`: a value (sent as JSON), text, or bytes; text that begins with `<` is HTML."""
    if isinstance(body, (str, bytes)):
        raw = body.encode() if isinstance(body, str) else body
        kind = "text/html" if raw.startswith(b"<") else "text/plain"
    else:
        raw, kind = (b"", "") if body is None else (json.dumps(body).encode(), "application/json")
    return Answer(status, {"content-type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}, raw)


def client_of(reply: Answer, seen: list[tuple[str, str, Mapping[str, str], bytes | None]] | None = None) -> Client:
    class Once:
        async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
            if seen is not None:
                seen.append((method, path, headers, body))
            return reply

        async def close(self) -> None: ...

    return Client(Once(), SecretStr(KEY), Counts())


# --- the table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("creates", [True, False], ids=["POST", "other"])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(answer(429, {"message": "slow"}), RefusedError, id="429"),
        pytest.param(answer(429, HTML), RefusedError, id="429 of a proxy"),
        pytest.param(answer(408), RefusedError, id="408"),
        pytest.param(answer(503, retry_after="3"), RefusedError, id="503 with Retry-After"),
        pytest.param(answer(503), AmbiguousError, id="503 without"),
        pytest.param(answer(500, {"message": "Something went wrong"}), AmbiguousError, id="500"),
        pytest.param(answer(502, HTML), AmbiguousError, id="502"),
        pytest.param(answer(504), AmbiguousError, id="504"),
        pytest.param(answer(520), AmbiguousError, id="520"),
        pytest.param(answer(500, retry_after="3"), AmbiguousError, id="500 with Retry-After"),
        pytest.param(answer(400, {"message": "bad"}), RejectedError, id="400"),
        pytest.param(answer(413, HTML), RejectedError, id="413"),
        pytest.param(answer(415), RejectedError, id="415"),
        pytest.param(answer(422, {"message": "bad"}), RejectedError, id="422"),
        pytest.param(answer(401, {"message": "Invalid API key"}), FatalError, id="401"),
        pytest.param(answer(302, location="/elsewhere"), FatalError, id="a redirect"),
        pytest.param(answer(304), FatalError, id="304"),
    ],
)
def test_the_table(reply: Answer, error: type[Exception], creates: bool) -> None:
    assert type(error_of(reply, creates=creates)) is error


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(400, {"message": EXISTS}), id="400"),
        pytest.param(answer(400, {"error": EXISTS.upper()}), id="400, in capitals"),
        pytest.param(answer(422, {"message": EXISTS}), id="422"),
        pytest.param(answer(409), id="409"),
    ],
)
def test_only_what_would_be_created_can_exist_already(reply: Answer) -> None:
    assert type(error_of(reply, creates=True)) is ExistsError
    assert type(error_of(reply, creates=False)) is RejectedError


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_post_of_a_session_that_is_not_allowed_or_has_no_route_stops_the_run(status: int) -> None:
    assert isinstance(error_of(answer(status, {"message": "no"}), creates=True), FatalError)


@pytest.mark.parametrize("status", [403, 404, 405])
def test_elsewhere_it_concerns_that_session_only(status: int) -> None:
    assert type(error_of(answer(status, {"message": "no"}), creates=False)) is RejectedError


def test_a_route_that_only_the_web_server_misses_is_told_from_a_session_that_is_not_there() -> None:
    assert type(error_of(answer(404, HTML), creates=False)) is NoRouteError


@pytest.mark.parametrize("status", [403, 414])
def test_a_proxy_that_refuses_a_post_is_tried_again_and_a_get_is_made_shorter(status: int) -> None:
    assert type(error_of(answer(status, HTML), creates=True)) is TransientError
    assert type(error_of(answer(status, HTML), creates=False)) is QueryTooLongError


@given(st.integers(100, 599).filter(lambda status: not 200 <= status < 300), st.binary(max_size=200), st.booleans())
def test_every_answer_has_a_meaning(status: int, body: bytes, creates: bool) -> None:
    assert isinstance(error_of(Answer(status, {}, body), creates=creates), Exception)


# --- what it says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param({"message": "bad"}, "bad", id="message"),
        pytest.param({"error": "bad"}, "bad", id="error"),
        pytest.param({"error": "Bad Request", "message": "no name"}, "no name", id="both"),
        pytest.param({"error": "bad", "message": ""}, "bad", id="an empty message"),
        pytest.param({"message": ["a", "b"]}, '{"message": ["a", "b"]}', id="no text in it"),
        pytest.param("plain words", "plain words", id="text"),
        pytest.param(["odd"], '["odd"]', id="an array"),
        pytest.param("two\nlines\t here", "two lines here", id="on one line"),
        pytest.param("\x1b[31mred\x00", "\\x1b[31mred\\x00", id="control characters"),
        pytest.param(HTML, "No way", id="HTML"),
        pytest.param("<style>b {color: red}", "", id="HTML that breaks off"),
        pytest.param(b"\xff\xfe broken", "\ufffd\ufffd broken", id="not UTF-8"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_the_message_is_what_the_api_says(body: Any, text: str) -> None:
    assert message_of(answer(400, body)) == text


def test_a_long_message_is_cut() -> None:
    text = message_of(answer(400, {"message": "x" * 100_000}))
    assert text == "x" * MAX_MESSAGE + "…"


def test_the_key_is_hidden_where_the_api_repeats_it() -> None:
    said = str(error_of(answer(401, {"message": f"key {KEY} is not valid"}), creates=True, secret=KEY))
    assert KEY not in said
    assert "***" in said


def test_the_key_is_hidden_before_the_message_is_cut() -> None:
    text = message_of(answer(400, {"message": "x" * (MAX_MESSAGE - 5) + KEY}), KEY)
    assert KEY[:5] not in text


@pytest.mark.parametrize("filling", ["<p> </p>", " ", "é"])
def test_no_half_of_the_key_is_left_where_a_long_message_is_cut(filling: str) -> None:
    for spare in range(len(KEY)):
        room = 4 * MAX_READ - spare
        text = filling * (room // len(filling.encode()))
        assert KEY[:4] not in message_of(answer(500, f"<p>{text}{KEY}"), KEY)


@pytest.mark.parametrize("part", ["<", "<style>", "<!", "<p", "</style"])
def test_a_message_without_ends_takes_no_time(part: str) -> None:
    body = part * (1_000_000 // len(part))
    started = time.process_time()
    message_of(answer(502, body))
    assert time.process_time() - started < 0.2


class Breaking:
    """What came back is quoted by the library that could not read it."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        raise AmbiguousError(
            f"the answer is broken: illegal header line: {headers['Authorization']}\x07", kind="broken"
        )

    async def close(self) -> None: ...


def test_the_key_is_hidden_where_a_broken_answer_is_quoted() -> None:
    with pytest.raises(AmbiguousError) as caught:
        asyncio.run(Client(Breaking(), SecretStr(KEY), Counts()).get_version("ver_1"))
    assert str(caught.value) == "the answer is broken: illegal header line: Bearer ***\\x07"
    assert caught.value.kind == "broken"


ODD = f"{KEY}\x1b" + "x" * 10_000


def test_the_reasons_for_which_spans_are_refused_are_clean() -> None:
    errors = [{"index": 0, "name": "s", "reason": ODD}]
    reply = answer(200, {"spans": [], "partialSuccess": {"rejectedSpans": 1, "errors": errors}})
    (refused,) = asyncio.run(ContentApi(client_of(reply)).create_spans([b"{}"])).refused
    assert refused.reason.startswith("***\\x1bxx")
    assert len(refused.reason) == MAX_MESSAGE + 1


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda client: client.create_session(b"{}", custom_id="a", version_id="v"), id="a new session"),
        pytest.param(lambda client: client.get_session("s1"), id="a session"),
        pytest.param(lambda client: ContentApi(client).create_turn("s1", b"{}"), id="a turn"),
    ],
)
def test_what_an_api_answers_to_something_else_is_clean(ask: Callable[[Client], Coroutine[Any, Any, Any]]) -> None:
    reply = answer(200, {"id": ODD, "customId": ODD, "sessionId": ODD})
    with pytest.raises((FatalError, RejectedError)) as caught:
        asyncio.run(ask(client_of(reply)))
    assert caught.value.kind == "identity_broken"
    assert KEY not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2 * MAX_MESSAGE


# --- what is sent, what comes back ------------------------------------------------------------------------

STORED = {"id": "s1", "customId": "a", "versionId": "ver_1", "isProduction": False, "testCaseId": None}


def create(reply: Answer) -> Any:
    return asyncio.run(client_of(reply).create_session(b"{}", custom_id="a", version_id="ver_1"))


def test_a_201_that_echoes_what_was_sent_is_the_session() -> None:
    assert create(answer(201, {**STORED, "context": {"value": "x"}, "userId": "u"})).id == "s1"


@pytest.mark.parametrize(
    "other",
    [
        {"customId": "b"},
        {"customId": None},
        {"versionId": "ver_2"},
        {"isProduction": True},
        {"isProduction": None},
        {"testCaseId": "tc_1"},
    ],
)
def test_a_201_that_echoes_something_else_stops_the_run(other: dict[str, Any]) -> None:
    with pytest.raises(FatalError) as caught:
        create(answer(201, {**STORED, **other}))
    assert caught.value.kind == "identity_broken"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(json.dumps(STORED).encode()[:30], id="half"),
        pytest.param(b"<html>welcome</html>", id="HTML"),
        pytest.param(b"[]", id="no object"),
        pytest.param(json.dumps({**STORED, "id": None}).encode(), id="without id"),
        pytest.param(json.dumps({**STORED, "id": ""}).encode(), id="with an empty id"),
    ],
)
def test_a_2xx_without_a_readable_session_is_ambiguous(body: bytes) -> None:
    with pytest.raises(AmbiguousError):
        create(Answer(201, {}, body))


def test_a_list_that_is_no_list_is_asked_again() -> None:
    with pytest.raises(TransientError):
        asyncio.run(client_of(answer(200, {"data": []})).find_sessions(["a"], "ver_1"))


def test_a_look_up_takes_only_what_was_asked_for() -> None:
    others = [STORED, {**STORED, "customId": "b"}, {**STORED, "versionId": "ver_2"}]
    found = asyncio.run(client_of(answer(200, others)).find_sessions(["a"], "ver_1"))
    assert [session.id for session in found] == ["s1"]


def test_ids_with_awkward_characters_are_encoded() -> None:
    seen: list[Any] = []
    asyncio.run(client_of(answer(200, []), seen).find_sessions(["a&b %+é"], "ver_1"))
    assert seen[0][1] == "/sessions?customIds=a%26b+%25%2B%C3%A9&versionIds=ver_1&limit=100"


def test_every_request_carries_the_key_in_a_header_and_nowhere_else() -> None:
    seen: list[Any] = []
    asyncio.run(client_of(answer(201, STORED), seen).create_session(b"{}", custom_id="a", version_id="ver_1"))
    method, path, headers, body = seen[0]
    assert (method, path, body) == ("POST", "/sessions", b"{}")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"


def test_versions_of_other_products_and_deleted_ones_are_left_out() -> None:
    page = [
        {"id": "v1", "productId": "p"},
        {"id": "v2", "productId": "p", "deletedAt": "2026-01-01"},
        {"id": "v3", "productId": "q"},
    ]
    assert [item.id for item in asyncio.run(client_of(answer(200, page)).versions_of("p"))] == ["v1"]


@pytest.mark.parametrize("reply", [answer(204), answer(200, {"customId": "b"}), answer(200, [])], ids=str)
@pytest.mark.parametrize("is_renamed", [True, False])
def test_a_rename_whose_answer_says_nothing_is_looked_at(reply: Answer, is_renamed: bool) -> None:
    class Silent:
        async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
            return reply if method == "PATCH" else answer(200, {"id": "s", "customId": "b" if is_renamed else "a"})

        async def close(self) -> None: ...

    rename = Client(Silent(), SecretStr(KEY), Counts()).rename_session("s", "b")
    if is_renamed:
        asyncio.run(rename)
    else:  # what was read may be older: to be made again
        with pytest.raises(AmbiguousError):
            asyncio.run(rename)


def test_all_versions_are_read_however_few_the_api_gives_at_once() -> None:
    class Capped:
        async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
            offset = int(path.rpartition("=")[2])
            return answer(200, [{"id": f"v{number}", "productId": "p"} for number in range(5)][offset : offset + 2])

        async def close(self) -> None: ...

    versions = asyncio.run(Client(Capped(), SecretStr(KEY), Counts()).versions_of("p"))
    assert [version.id for version in versions] == [f"v{number}" for number in range(5)]


def test_a_full_group_of_usual_ids_fits_into_a_query() -> None:
    ids = [f"langfuse:{number:036}" for number in range(MAX_IDS_PER_QUERY)]
    assert len(find_query(ids, "ver_123")) < 2_048


def test_what_is_sent_is_counted() -> None:
    counts = Counts()

    class Down:
        async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
            raise AmbiguousError("reset")

        async def close(self) -> None: ...

    client = Client(Down(), SecretStr(KEY), counts)
    with pytest.raises(AmbiguousError):
        asyncio.run(client.create_session(b"12345", custom_id="a", version_id="v"))
    assert (counts.requests, counts.bytes_sent) == (1, 5)


def test_a_quota_that_headers_name_is_passed_on_once() -> None:
    client = client_of(Answer(200, {"ratelimit-policy": '"default";q=100;w=60'}, b"[]"))
    told: list[float] = []
    client.on_quota = told.append
    for _ in range(3):
        asyncio.run(client.find_sessions(["a"], "ver_123"))
    assert told == [pytest.approx(100 / 60)]


def test_a_429_that_tells_a_reset_and_no_retry_after_is_waited_for() -> None:
    error = error_of(Answer(429, {"x-ratelimit-reset": "12"}, b""), creates=True)
    assert isinstance(error, RefusedError)
    assert error.retry_after == "12"


def test_a_503_that_tells_a_reset_and_no_retry_after_is_ambiguous() -> None:
    assert isinstance(error_of(Answer(503, {"x-ratelimit-reset": "12"}, b""), creates=True), AmbiguousError)
