"""The routes of products, and the ones that exist from the start."""

from __future__ import annotations

from typing import Any

import orjson

from pipeline.emulator.auth import ORGANIZATION_ID, USER_ID
from pipeline.emulator.json_body import object_body
from pipeline.emulator.options import Options
from pipeline.emulator.query import Query, require_all, selection
from pipeline.emulator.store import Row, Store
from pipeline.emulator.wire import Answer, RefusalError, Request, iso, json_answer, new_id

FILTERS = ("organizationIds", "names", "name", "tags")
COLUMNS = "id, name, fields, created_at, deleted_at"
OPTIONAL_FIELDS: dict[str, Any] = {
    "riskLevel": None,
    "operatorType": None,
    "capabilities": None,
    "inabilities": None,
    "policies": None,
    "tags": [],
    "autoCloseScope": None,
    "autoCloseInactivityMinutes": None,
    "closedSessionInferenceCreationPolicy": None,
    "otelProductKey": None,
}
CHOICES = {
    "autoCloseScope": ("NONE", "DEVELOPMENT", "PRODUCTION", "ALL"),
    "closedSessionInferenceCreationPolicy": ("REJECT", "IGNORE", "REOPEN_AND_REEVALUATE"),
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
    check_settings(body)
    optional = {key: body[key] for key in OPTIONAL_FIELDS if body.get(key) is not None}
    product_id = add_product(store, options, new_id("prod"), name, description=description, **optional)
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


def add_product(store: Store, options: Options, product_id: str, name: str, **more: Any) -> str:
    fields = {
        **OPTIONAL_FIELDS,
        "autoCloseScope": options.auto_close_scope,
        "autoCloseInactivityMinutes": options.auto_close_minutes,
        "closedSessionInferenceCreationPolicy": options.closed_session_policy,
        **more,
    }
    store.change(
        "INSERT INTO product (id, name, fields, created_at) VALUES (?, ?, ?, ?)",
        (product_id, name, orjson.dumps(fields).decode(), store.now_ms()),
    )
    return product_id


def change_product(store: Store, product_id: str, changes: dict[str, Any]) -> dict[str, Any]:
    """What people do in the dashboard; there is no documented route for it."""
    check_settings(changes)
    if not set(changes) <= set(OPTIONAL_FIELDS):
        raise RefusalError(400, f"a product has {', '.join(OPTIONAL_FIELDS)}")
    product(store, product_id)
    store.change(
        "UPDATE product SET fields = json_patch(fields, ?) WHERE id = ?",
        (orjson.dumps(changes).decode(), product_id),
    )
    return product(store, product_id)


def check_settings(body: dict[str, Any]) -> None:
    """The settings that decide how sessions live; null is the same as left out."""
    for name, known in CHOICES.items():
        if body.get(name) is not None and body[name] not in known:
            raise RefusalError(400, f"{name} must be one of {', '.join(known)}.")
    minutes = body.get("autoCloseInactivityMinutes")
    if minutes is not None and (not isinstance(minutes, int) or isinstance(minutes, bool) or minutes < 1):
        raise RefusalError(400, "autoCloseInactivityMinutes must be a positive integer.")


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
