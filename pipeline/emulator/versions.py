"""The routes of versions; which version a session belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import orjson

from pipeline.emulator.auth import USER_ID
from pipeline.emulator.json_body import object_body
from pipeline.emulator.options import Options
from pipeline.emulator.products import add_product, product
from pipeline.emulator.query import Query, require_all, selection
from pipeline.emulator.store import Row, Store
from pipeline.emulator.wire import Answer, RefusalError, Request, iso, json_answer, new_id

FILTERS = ("productIds", "names", "name", "hasInferenceResults", "existentInEvaluations")
COLUMNS = "id, product_id, name, number, fields, created_at, deleted_at"
OPTIONAL_FIELDS: dict[str, Any] = dict.fromkeys(
    (
        "facts",
        "description",
        "systemPrompt",
        "modelId",
        "parentVersionId",
        "datasetUri",
        "datasetDescription",
        "guardrails",
        "initializationEndpointConnectionId",
        "conversationEndpointConnectionId",
        "finalizationEndpointConnectionId",
        "phoneConnectionId",
        "webRtcConnectionId",
        "otelOutputSourceRule",
        "otelInputSourceRule",
    )
)
_RESERVED_NAME = re.compile(r"[vV][0-9]+")


def create_version(store: Store, options: Options, request: Request) -> Answer:
    body = object_body(request, options)
    product_id, name = body.get("productId"), body.get("name")
    if not isinstance(product_id, str):
        raise RefusalError(400, "productId is required and must be a string.")
    if name is not None and not isinstance(name, str):
        raise RefusalError(400, "name must be a string.")
    product(store, product_id, missing_status=options.unknown_product_status)
    optional = {key: body[key] for key in OPTIONAL_FIELDS if body.get(key) is not None}
    return json_answer(201, _version(store, add_version(store, product_id, name=name or "", **optional)))


def get_version(store: Store, options: Options, request: Request) -> Answer:
    return json_answer(200, _version(store, request.id))


def delete_version(store: Store, options: Options, request: Request) -> Answer:
    _version(store, request.id)
    store.change("UPDATE version SET deleted_at = ? WHERE id = ?", (store.now_ms(), request.id))
    return Answer(204)


def list_versions(store: Store, options: Options, request: Request) -> Answer:
    query = Query(request.query, FILTERS, options)
    chosen = selection(query, options)
    chosen.is_one_of("product_id", query.many("productIds"))
    chosen.is_one_of("name", query.many("names"))
    for part in query.many("name") or []:
        chosen.where("instr(lower(name), lower(?)) > 0", part)
    ids = query.many("ids")
    if ids is not None:
        found = store.rows(f"SELECT id FROM version WHERE {chosen.filter}", chosen.values)
        require_all("Version", ids, [row[0] for row in found])
    rows = store.rows(f"SELECT {COLUMNS} FROM version WHERE {chosen.page}", chosen.values)
    return json_answer(200, [_shown(row) for row in rows])


def version_of_session(store: Store, options: Options, body: dict[str, Any]) -> tuple[str, str]:
    """Version and product of a new session: `versionId`, else the product's latest version, or its first."""
    if version_id := body.get("versionId"):
        row = store.row("SELECT id, product_id FROM version WHERE id = ? AND deleted_at IS NULL", (version_id,))
        if row is None:
            raise RefusalError(options.unknown_version_status, f"Version {version_id} not found")
        return row[0], row[1]
    product_id = body.get("productId")
    if not product_id:
        raise RefusalError(400, "Either versionId or productId must be provided.")
    product(store, product_id, missing_status=options.unknown_product_status)
    row = store.row(
        "SELECT id FROM version WHERE product_id = ? AND deleted_at IS NULL ORDER BY number DESC LIMIT 1",
        (product_id,),
    )
    return (row[0] if row else add_version(store, product_id)), product_id


def add_version(store: Store, product_id: str, version_id: str = "", *, name: str = "", **more: Any) -> str:
    """The product's next version; numbers are never used twice, nor are names `v<digits>` given freely."""
    last = store.one("SELECT coalesce(max(number), 0) FROM version WHERE product_id = ?", (product_id,))[0]
    name = name.strip() or f"v{last + 1}"
    if _RESERVED_NAME.fullmatch(name) and name.lower() != f"v{last + 1}":
        raise RefusalError(400, f"The name '{name}' is reserved.")
    taken = "SELECT 1 FROM version WHERE product_id = ? AND name = ? AND deleted_at IS NULL"
    if store.row(taken, (product_id, name)):
        raise RefusalError(
            400,
            f"A Version with the same name: '{name}' already exists for product with ID: '{product_id}'.",
        )
    version_id = version_id or new_id("ver")
    store.change(
        "INSERT INTO version (id, product_id, name, number, fields, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (
            version_id,
            product_id,
            name,
            last + 1,
            orjson.dumps({**OPTIONAL_FIELDS, **more}).decode(),
            store.now_ms(),
        ),
    )
    return version_id


def add_seeds(
    store: Store, options: Options, version_ids: Iterable[str], product_ids: Iterable[str], *, bare_products: bool
) -> None:
    """What exists from the start: `prod_123` with `ver_123`, and what was asked for. What is there is kept.

    `bare_products`: the products asked for get no version.
    """
    _add_missing(store, options, "prod_123", "ver_123")
    for product_id in product_ids:
        _add_missing(store, options, product_id, None if bare_products else _derived_id("ver", product_id))
    for version_id in version_ids:
        if store.row("SELECT 1 FROM version WHERE id = ?", (version_id,)) is None:
            _add_missing(store, options, _derived_id("prod", version_id), version_id)


def _add_missing(store: Store, options: Options, product_id: str, version_id: str | None) -> None:
    if store.row("SELECT 1 FROM product WHERE id = ?", (product_id,)) is None:
        add_product(store, options, product_id, f"Product {product_id}", description="Exists from the start.")
    if version_id and store.row("SELECT 1 FROM version WHERE id = ?", (version_id,)) is None:
        add_version(store, product_id, version_id)


def _derived_id(kind: str, other_id: str) -> str:
    return f"{kind}_{hashlib.sha256(other_id.encode()).hexdigest()[:24]}"


def _version(store: Store, version_id: str) -> dict[str, Any]:
    row = store.row(f"SELECT {COLUMNS} FROM version WHERE id = ? AND deleted_at IS NULL", (version_id,))
    if row is None:
        raise RefusalError(404, f"Version {version_id} not found")
    return _shown(row)


def _shown(row: Row) -> dict[str, Any]:
    version_id, product_id, name, number, fields, created_at, deleted_at = row
    return {
        "id": version_id,
        "productId": product_id,
        "userId": USER_ID,
        "name": name,
        "number": number,
        **orjson.loads(fields),
        "createdAt": iso(created_at),
        "deletedAt": iso(deleted_at),
    }
