"""Galtea's API as the import uses it: requests out, answers sorted into our errors.

Sources: reliability.md for what an answer means, api-contract.md for the routes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any
from urllib.parse import quote, quote_plus

import msgspec
import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from pipeline import __version__
from pipeline.config import Config
from pipeline.errors import (
    AmbiguousError,
    ExistsError,
    FatalError,
    RefusedError,
    RejectedError,
    TransientError,
)
from pipeline.uploader.counts import Counts
from pipeline.uploader.hints import policy_text, quota_per_second, wait_of
from pipeline.uploader.pages import Page, PageSize, all_rows
from pipeline.uploader.transport import Answer, Transport, open_transport

MAX_MESSAGE = 500
"""Characters of an API message that are kept."""
MAX_READ = 16_384
"""Characters of one that are looked at: who answers with megabytes does not keep the loop from its work."""
MAX_QUERY_BYTES = 1_900
"""A longer query is refused by the proxy in front of the API (api-contract 1.2)."""
MAX_IDS_PER_QUERY = 30
LIMIT = 100
"""Rows of a list of sessions or versions: more than so many ids have, and few enough for any API."""


class StoredSession(BaseModel):
    """A session as the API returns it (api-contract 2.2); what we do not need is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str = Field(min_length=1)
    customId: str | None = None  # noqa: N815  (the wire's names)
    versionId: str | None = None  # noqa: N815
    testCaseId: str | None = None  # noqa: N815
    isProduction: bool | None = None  # noqa: N815
    status: str | None = None
    context: Any = None
    metadata: dict[str, Any] | None = None
    stoppingReason: str | None = None  # noqa: N815
    error: str | None = None
    createdAt: str | None = None  # noqa: N815

    def known_by_its_mark(self) -> StoredSession:
        """Without what it says, which may be long: whose it is stays."""
        mark = (self.metadata or {}).get("trace_import")
        return self.model_copy(update={"context": None, "metadata": {"trace_import": mark}})


class Created(msgspec.Struct, frozen=True):
    """What an answer to `POST /sessions` must echo. It holds the whole session again, and all else is passed over:
    reading it costs 3 µs instead of the 25 of a model that keeps the context."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    customId: str | None = None  # noqa: N815
    versionId: str | None = None  # noqa: N815
    testCaseId: str | None = None  # noqa: N815
    isProduction: bool | None = None  # noqa: N815


class StoredVersion(BaseModel):
    """A version as the API returns it (api-contract 6)."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str
    productId: str | None = None  # noqa: N815
    name: str | None = None
    number: int | None = None
    createdAt: str | None = None  # noqa: N815
    deletedAt: str | None = None  # noqa: N815


class StoredProduct(BaseModel):
    """A product as the API returns it (api-contract 6)."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str
    closedSessionInferenceCreationPolicy: str | None = None  # noqa: N815


class NoRouteError(RejectedError):
    """This server does not know the route: what answered 404 is not the API but the web server (api-contract 1.2)."""


def is_gone(error: RejectedError) -> bool:
    """Does the API say that there is no such thing (and not the web server, that there is no such route)?"""
    return error.status == 404 and not isinstance(error, NoRouteError)


class QueryTooLongError(TransientError):
    """A proxy refused a GET for its length: send a shorter one."""


_read_created = msgspec.json.Decoder(Created).decode
_SESSION: TypeAdapter[StoredSession] = TypeAdapter(StoredSession)
_SESSIONS: TypeAdapter[list[StoredSession]] = TypeAdapter(list[StoredSession])
_VERSION: TypeAdapter[StoredVersion] = TypeAdapter(StoredVersion)
_PRODUCT: TypeAdapter[StoredProduct] = TypeAdapter(StoredProduct)
_VERSIONS: TypeAdapter[list[StoredVersion]] = TypeAdapter(list[StoredVersion])


@contextlib.asynccontextmanager
async def opened_client(config: Config, counts: Counts) -> AsyncIterator[Client]:
    """A client for the target and key of `config` (which has one: require_target), over the transport it names."""
    transport = open_transport(
        config.target.base_url,
        timeout_seconds=config.upload.timeout_seconds,
        max_at_once=config.upload.max_at_once,
        ca_file=config.target.ca_file,
        kind=config.upload.transport,
    )
    try:
        yield Client(transport, config.api_key or SecretStr(""), counts)
    finally:
        await transport.close()


class Client:
    """One attempt a call: no retries, no waiting. Every method raises what errors.py says."""

    def __init__(self, transport: Transport, api_key: SecretStr, counts: Counts) -> None:
        self._transport = transport
        self._counts = counts
        self._secret = api_key.get_secret_value()
        self._headers = {
            "Authorization": f"Bearer {self._secret}",
            "Accept": "application/json",
            "User-Agent": f"trace-import/{__version__}",
        }
        self._json_headers = {**self._headers, "Content-Type": "application/json"}
        self._policy: str | None = None
        self.on_quota: Callable[[float], None] | None = None
        """Is told the requests a second that the API's headers name, when they change."""

    async def create_session(self, body: bytes, *, custom_id: str, version_id: str) -> Created:
        """POST /sessions. The answer must echo what was sent: if it does not, our identity rule is void."""
        answer = await self.send("POST", "/sessions", body)
        if not 200 <= answer.status < 300:
            raise self.error_of(answer, creates=True)
        try:
            session = _read_created(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise AmbiguousError(
                f"the API answered {answer.status} without a readable session",
                kind="broken_answer",
                status=answer.status,
            ) from error
        echoed = (session.customId, session.versionId, session.isProduction, session.testCaseId)
        if echoed != (custom_id, version_id, False, None):
            raise FatalError(
                "the API answered with another session than the one that was sent (customId, versionId, isProduction, "
                f"testCaseId: sent {(custom_id, version_id, False, None)}, got {self.clean(str(echoed))}); "
                "nothing can be accounted for against such an answer. Is this Galtea's API?",
                kind="identity_broken",
                status=answer.status,
            )
        return session

    async def update_session(self, session_id: str, body: bytes) -> None:
        """PATCH /sessions/{id}."""
        answer = await self.send("PATCH", f"/sessions/{quote(session_id, safe='')}", body)
        if not 200 <= answer.status < 300:
            raise self.error_of(answer, creates=False)

    async def find_sessions(self, custom_ids: Sequence[str], version_id: str) -> list[StoredSession]:
        """GET /sessions: those of the ids that the API shows; what it returns beside them is left out."""
        answer = await self.send("GET", find_query(custom_ids, version_id), None)
        sessions = self.parse(_SESSIONS, answer)
        wanted = set(custom_ids)
        return [item for item in sessions if item.customId in wanted and item.versionId == version_id]

    async def get_session(self, session_id: str) -> StoredSession:
        """GET /sessions/{id}; what the API does not show is a RejectedError of status 404."""
        answer = await self.send("GET", f"/sessions/{quote(session_id, safe='')}", None)
        session: StoredSession = self.parse(_SESSION, answer)
        if session.id != session_id:
            other = self.clean(session.id)
            raise RejectedError(f"asked for {session_id}, the API answered with {other}", kind="identity_broken")
        return session

    async def open_session(self, session_id: str) -> None:
        """PATCH /sessions/{id}: it takes turns again."""
        await self.update_session(session_id, b'{"status":"PENDING"}')

    async def rename_session(self, session_id: str, custom_id: str) -> None:
        """PATCH /sessions/{id} with another custom id; ExistsError where that one is taken."""
        body = orjson.dumps({"customId": custom_id})
        answer = await self.send("PATCH", f"/sessions/{quote(session_id, safe='')}", body)
        if answer.status == 409 or (answer.status in (400, 422) and _says_exists(message_of(answer))):
            raise ExistsError(message_of(answer, self._secret))
        try:
            session: StoredSession = self.parse(_SESSION, answer)
        except AmbiguousError:
            if not 200 <= answer.status < 300:
                raise
            session = await self.get_session(session_id)  # the answer says nothing, or only what has changed
            if session.customId != custom_id:  # and what is read may be older
                shown = "the session does not show its new custom id"
                raise AmbiguousError(shown, kind="not_renamed", status=answer.status) from None
        if (session.id, session.customId) != (session_id, custom_id):
            raise RejectedError(
                f"the API answered {answer.status} to the new custom id and kept the old one", kind="not_renamed"
            )

    async def delete_session(self, session_id: str) -> None:
        """DELETE /sessions/{id}; of one that is deleted already, a RejectedError of status 404."""
        answer = await self.send("DELETE", f"/sessions/{quote(session_id, safe='')}", None)
        if not 200 <= answer.status < 300:
            raise self.error_of(answer, creates=False)

    async def get_version(self, version_id: str) -> StoredVersion:
        """GET /versions/{id}."""
        answer = await self.send("GET", f"/versions/{quote(version_id, safe='')}", None)
        version: StoredVersion = self.parse(_VERSION, answer)
        return version

    async def versions_of(self, product_id: str) -> list[StoredVersion]:
        """GET /versions of a product, all of them."""

        async def page(offset: int) -> Page[StoredVersion]:
            query = f"/versions?productIds={quote_plus(product_id)}&sort=createdAt,asc&limit={LIMIT}&offset={offset}"
            versions: list[StoredVersion] = self.parse(_VERSIONS, await self.send("GET", query, None))
            return Page(versions, LIMIT)

        found = await all_rows(page, PageSize(LIMIT))
        return [item for item in found if item.productId == product_id and item.deletedAt is None]

    async def probe_sessions(self, version_id: str) -> None:
        """GET /sessions, one row at most: the route is there, and this key may use it."""
        query = f"/sessions?versionIds={quote_plus(version_id)}&limit=1"
        self.parse(_SESSIONS, await self.send("GET", query, None))

    async def get_product(self, product_id: str) -> StoredProduct:
        """GET /products/{id}."""
        product: StoredProduct = self.parse(
            _PRODUCT, await self.send("GET", f"/products/{quote(product_id, safe='')}", None)
        )
        return product

    async def send(self, method: str, path: str, body: bytes | None) -> Answer:
        """One request, counted."""
        headers = self._headers if body is None else self._json_headers
        self._counts.requests += 1
        self._counts.bytes_sent += len(body) if body is not None else 0
        try:
            answer = await self._transport.send(method, path, headers, body)
        except TransientError as error:  # it may quote what came back
            error.args = (self.clean(str(error)),)
            raise
        policy = policy_text(answer.headers)
        if policy is not None and policy != self._policy:
            self._note_policy(policy)
        return answer

    def _note_policy(self, policy: str) -> None:
        per_second = quota_per_second(policy)
        if self.on_quota is not None:
            self._policy = policy
            if per_second is not None:
                self.on_quota(per_second)

    def parse(self, shape: TypeAdapter[Any], answer: Answer) -> Any:
        """What a successful answer holds; raises what errors.py says."""
        if not 200 <= answer.status < 300:
            raise self.error_of(answer, creates=False)
        try:
            return shape.validate_json(answer.body)
        except ValidationError as error:
            raise AmbiguousError(
                f"the API answered {answer.status} with something that is not its format",
                kind="broken_answer",
                status=answer.status,
            ) from error

    def error_of(self, answer: Answer, *, creates: bool) -> Exception:
        """See the function of this name."""
        return error_of(answer, creates=creates, secret=self._secret)

    def clean(self, text: str) -> str:
        """See the function of this name."""
        return clean(text, self._secret)


def find_query(custom_ids: Sequence[str], version_id: str) -> str:
    """The path and query of a look-up, arrays as the OpenAPI has them (form, explode: api-contract 1.3)."""
    ids = "&".join(f"customIds={quote_plus(custom_id)}" for custom_id in custom_ids)
    return f"/sessions?{ids}&versionIds={quote_plus(version_id)}&limit={LIMIT}"


def error_of(answer: Answer, *, creates: bool, secret: str = "") -> Exception:
    """The table of reliability.md: what an answer outside 2xx means. `creates`: it was POST /sessions."""
    status = answer.status
    text = message_of(answer, secret)
    said = f"the API answered {status}: {text}" if text else f"the API answered {status}"
    is_html = _is_html(answer)
    if status in (429, 408) or (status == 503 and "retry-after" in answer.headers):
        return RefusedError(said, kind="throttled", status=status, retry_after=wait_of(answer.headers))
    if status >= 500 or status < 200:
        return AmbiguousError(said, kind=f"http_{status}", status=status)
    if status == 401:
        return FatalError(
            f"the API does not accept the key ({text}); check GALTEA_API_KEY",
            kind="unauthorized",
            status=status,
        )
    if status in (403, 414) and is_html and creates:
        return TransientError(said, kind="blocked_by_proxy", status=status)
    if (status == 403 and is_html) or (status == 414 and not creates):
        return QueryTooLongError(said, kind="blocked_by_proxy", status=status)
    if creates and (status == 409 or (status in (400, 422) and _says_exists(text))):
        return ExistsError(said)
    if creates and (status in (403, 404, 405) or 300 <= status < 400):
        return FatalError(f"{said}; check the version, the address and the key's rights", kind="refused", status=status)
    if 300 <= status < 400:
        return FatalError(f"{said}; a redirect is never followed with the key", kind="redirected", status=status)
    if status in (404, 405) and is_html:
        return NoRouteError(said, kind="no_route", status=status)
    return RejectedError(text or said, kind=f"http_{status}", status=status)


def message_of(answer: Answer, secret: str = "") -> str:
    """`message`, or `error`, or the text itself (api-contract 1.2), clean."""
    try:
        parsed = TypeAdapter(dict[str, Any]).validate_json(answer.body)
    except ValidationError:
        parsed = {}
    said = parsed.get("message") or parsed.get("error")
    if isinstance(said, str):
        return clean(said, secret)
    body = answer.body.replace(secret.encode(), b"***") if secret else answer.body  # before a cut halves it
    text = body[: 4 * MAX_READ].decode("utf-8", "replace")[:MAX_READ]
    return clean(_TAGS.sub(" ", text) if not parsed and _is_html(answer) else text, secret)


def clean(text: str, secret: str = "") -> str:
    """What the API says, fit to be shown and kept: without the key, on one line, control characters as codes, cut."""
    if secret:
        text = text.replace(secret, "***")
    text = " ".join(text[:MAX_READ].split())[: MAX_MESSAGE + 1]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


_TAGS = re.compile(r"<(style|script)\b.*?(?:</\1>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
"""What has no end is searched for it once, and not from each of its beginnings."""


def _is_html(answer: Answer) -> bool:
    return "html" in answer.headers.get("content-type", "") or answer.body.lstrip()[:1] == b"<"


def _says_exists(text: str) -> bool:
    lowered = text.lower()
    return "with the same" in lowered and "customid" in lowered
