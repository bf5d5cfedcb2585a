"""The routes of products, and the ones that exist from the start."""

from __future__ import annotations

from typing import Any

import orjson

from pipeline.emulator.auth import ORGANIZATION_ID, USER_ID
from pipeline.emulator.json_body import object_body
from pipeline.emulator.options import Options
from pipeline.emulator.query import Query, require_all, selection
from pipeline.emulator.store import Row, Store
from pipeline.emulator.wire import Answer, RefusalError, Request, iso, json_answer, new_id, now_ms

FILTERS = ("organizationIds", "names", "name", "tags")
COLUMNS = "id, name, fields, created_at, deleted_at"
OPTIONAL_FIELDS: dict[str, Any] = {
    "riskLevel": None,
    "operatorType": None,
    "capabilities": None,
    "inabilities": None,
    "policies": None,
    "tags": [],
    "autoCloseScope": "ALL",
    "autoCloseInactivityMinutes": 30,
    "closedSessionInferenceCreationPolicy": "REOPEN_AND_REEVALUATE",
    "otelProductKey": None,
}


def create_product(store: Store, options: Options, request: Request) -> Answer:
    body = object_body(request, options)
    name, description = body.get("name"), body.get("description")
    if not isinstance(name, str) or not name.strip():
        raise RefusalError(400, "name is required and must be a string.")
    if not isinstance(description, str):
        raise RefusalError(400, "description is required and must be a string.")
    if store.row("SELECT 1 FROM product WHERE name = ? AND deleted_at IS NULL", (name,)):
        raise RefusalError(400, f"A Product with the same name: '{name}' already exists.")
    optional = {key: body[key] for key in OPTIONAL_FIELDS if body.get(key) is not None}
    product_id = add_product(store, new_id("prod"), name, description=description, **optional)
    return json_answer(201, product(store, product_id))


def get_product(store: Store, options: Options, request: Request) -> Answer:
    return json_answer(200, product(store, request.id))


def list_products(store: Store, options: Options, request: Request) -> Answer:
    query = Query(request.query, FILTERS, options)
    chosen = selection(query, options)
    chosen.is_one_of("name", query.many("names"))
    for part in query.many("name") or []:
        chosen.where("instr(lower(name), lower(?)) > 0", part)
    organizations = query.many("organizationIds")
    if organizations is not None and ORGANIZATION_ID not in organizations:
        chosen.where("0")
    for tag in query.many("tags") or []:
        chosen.where("EXISTS (SELECT 1 FROM json_each(fields, '$.tags') WHERE value = ?)", tag)
    ids = query.many("ids")
    if ids is not None:
        require_all(
            "Product",
            ids,
            [row[0] for row in store.rows(f"SELECT id FROM product WHERE {chosen.filter}", chosen.values)],
        )
    rows = store.rows(f"SELECT {COLUMNS} FROM product WHERE {chosen.page}", chosen.values)
    return json_answer(200, [_shown(row) for row in rows])


def product(store: Store, product_id: str, *, missing_status: int = 404) -> dict[str, Any]:
    row = store.row(f"SELECT {COLUMNS} FROM product WHERE id = ? AND deleted_at IS NULL", (product_id,))
    if row is None:
        raise RefusalError(missing_status, f"Product {product_id} not found")
    return _shown(row)


def add_product(store: Store, product_id: str, name: str, **more: Any) -> str:
    store.change(
        "INSERT INTO product (id, name, fields, created_at) VALUES (?, ?, ?, ?)",
        (product_id, name, orjson.dumps({**OPTIONAL_FIELDS, **more}).decode(), now_ms()),
    )
    return product_id


def _shown(row: Row) -> dict[str, Any]:
    product_id, name, fields, created_at, deleted_at = row
    return {
        "id": product_id,
        "organizationId": ORGANIZATION_ID,
        "userId": USER_ID,
        "name": name,
        **orjson.loads(fields),
        "createdAt": iso(created_at),
        "deletedAt": iso(deleted_at),
    }
