"""The routes of sessions."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from pipeline.emulator.auth import USER_ID
from pipeline.emulator.json_body import object_body
from pipeline.emulator.options import Options
from pipeline.emulator.session_list import select_sessions
from pipeline.emulator.session_rules import check_create, check_update, outcome_of_finish
from pipeline.emulator.store import Row, Store
from pipeline.emulator.turns import delete_turns_of_session
from pipeline.emulator.versions import version_of_session
from pipeline.emulator.wire import Answer, RefusalError, Request, iso, json_answer, new_id

COLUMNS = (
    "id, custom_id, version_id, user_id, test_case_id, context, stopping_reason, error, status, "
    "is_production, metadata, run_id, created_at, deleted_at"
)
INSERT = (
    f"INSERT INTO session ({COLUMNS}, custom_key, product_id, visible_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def create_session(store: Store, options: Options, request: Request) -> Answer:
    body = object_body(request, options)
    check_create(body, options)
    version_id, product_id = version_of_session(store, options, body)
    custom_id = body.get("customId")
    row: Row = (
        new_id("session"),
        custom_id,
        version_id,
        None if body["isProduction"] else USER_ID,
        body.get("testCaseId") or None,
        _stored_json(_context(body.get("context"))),
        None,
        None,
        body.get("status") or options.default_status,
        body["isProduction"],
        _stored_json(body.get("metadata")),
        None,
        store.now_ms(),
        None,
    )
    try:
        store.change(INSERT, (*row, _custom_key(custom_id, options), product_id, request.visible_at))
    except sqlite3.IntegrityError as error:
        raise _same_custom_id(custom_id, version_id) from error
    return Answer(201, orjson.dumps(shown(row)), session_id=row[0], stored=row[0])


def get_session(store: Store, options: Options, request: Request) -> Answer:
    row = store.row(
        f"SELECT {COLUMNS} FROM session WHERE id = ? AND deleted_at IS NULL AND visible_at <= ?",
        (request.id, store.now_ms() / 1000),
    )
    if row is None:
        raise _not_found(request.id)
    return Answer(200, orjson.dumps(shown(row)), session_id=request.id)


def list_sessions(store: Store, options: Options, request: Request) -> Answer:
    chosen = select_sessions(store, options, request)
    return json_answer(
        200,
        [shown(row) for row in store.rows(f"SELECT {COLUMNS} FROM session WHERE {chosen.page}", chosen.values)],
    )


def update_session(store: Store, options: Options, request: Request) -> Answer:
    body = object_body(request, options)
    check_update(body, options)
    before = _live(store, options, request.id)
    changes: dict[str, Any] = {}
    for name, column in (("status", "status"), ("stoppingReason", "stopping_reason"), ("error", "error")):
        if name in body:
            changes[column] = body[name]
    if "customId" in body:
        changes["custom_id"] = body["customId"]
        changes["custom_key"] = _custom_key(body["customId"], options)
    if "context" in body:
        changes["context"] = _stored_json(_context(body["context"]))
    if "metadata" in body:
        changes["metadata"] = _stored_json(_patched_metadata(before, body["metadata"], options))
    try:
        return _changed(store, request.id, changes)
    except sqlite3.IntegrityError as error:
        raise _same_custom_id(body["customId"], before["versionId"]) from error


def finish_session(store: Store, options: Options, request: Request) -> Answer:
    status, reason, error = outcome_of_finish(object_body(request, options), options)
    if _live(store, options, request.id)["status"] != "PENDING" and options.second_finish != "accept":
        if options.second_finish == "refuse":
            raise RefusalError(400, "The session is already finished.")
        return _changed(store, request.id, {})
    return _changed(store, request.id, {"status": status, "stopping_reason": reason, "error": error})


def delete_session(store: Store, options: Options, request: Request) -> Answer:
    _live(store, options, request.id)
    _delete(store, options, request.id)
    return Answer(204, session_id=request.id)


def delete_sessions(store: Store, options: Options, request: Request) -> Answer:
    """All or, where one is missing, none."""
    ids = object_body(request, options).get("ids")
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
        raise RefusalError(400, "ids must be a non-empty array of strings.")
    for session_id in ids:
        _live(store, options, session_id)
    for session_id in ids:
        _delete(store, options, session_id)
    if options.batch_delete_status == 204:
        return Answer(204)
    return json_answer(options.batch_delete_status, {"ids": ids})


def shown(row: Row) -> dict[str, Any]:
    """A session as the API shows it; context and metadata stay the JSON text that they are."""
    return {
        "id": row[0],
        "customId": row[1],
        "versionId": row[2],
        "userId": row[3],
        "testCaseId": row[4],
        "context": None if row[5] is None else orjson.Fragment(row[5]),
        "stoppingReason": row[6],
        "error": row[7],
        "status": row[8],
        "isProduction": bool(row[9]),
        "metadata": None if row[10] is None else orjson.Fragment(row[10]),
        "runId": row[11],
        "recordingUri": None,
        "isSeed": False,
        "createdAt": iso(row[12]),
        "deletedAt": iso(row[13]),
    }


def _live(store: Store, options: Options, session_id: str) -> dict[str, Any]:
    """Writes see every session that is not deleted, by default also one that reads do not show yet."""
    row = store.row(f"SELECT {COLUMNS}, visible_at FROM session WHERE id = ? AND deleted_at IS NULL", (session_id,))
    if row is None or not (options.hidden_sessions_are_writable or row[-1] <= store.now_ms() / 1000):
        raise _not_found(session_id)
    return {**shown(row[:-1]), "metadata": None if row[10] is None else orjson.loads(row[10])}


def _changed(store: Store, session_id: str, changes: dict[str, Any]) -> Answer:
    if changes:
        changes["active_at"] = store.now_ms()
        columns = ", ".join(f"{column} = ?" for column in changes)
        store.change(f"UPDATE session SET {columns} WHERE id = ?", (*changes.values(), session_id))
    row = store.one(f"SELECT {COLUMNS} FROM session WHERE id = ?", (session_id,))
    return Answer(200, orjson.dumps(shown(row)), session_id=session_id)


def _delete(store: Store, options: Options, session_id: str) -> None:
    release = "" if options.deleted_hold_custom_id else ", custom_key = NULL"
    store.change(f"UPDATE session SET deleted_at = ?{release} WHERE id = ?", (store.now_ms(), session_id))
    if not options.deleted_sessions_keep_turns:
        delete_turns_of_session(store, session_id)


def _patched_metadata(
    before: dict[str, Any], metadata: dict[str, Any] | None, options: Options
) -> dict[str, Any] | None:
    if options.metadata_patch == "replace" or metadata is None:
        return metadata
    return {**(before["metadata"] or {}), **metadata}


def _context(context: str | dict[str, Any] | None) -> dict[str, Any] | None:
    return {"value": context} if isinstance(context, str) else context


def _stored_json(value: dict[str, Any] | None) -> bytes | None:
    return None if value is None else orjson.dumps(value)


def _custom_key(custom_id: str | None, options: Options) -> str | None:
    return custom_id if custom_id is None or options.custom_ids_case_sensitive else custom_id.lower()


def _same_custom_id(custom_id: str | None, version_id: str) -> RefusalError:
    return RefusalError(
        400,
        f"A Session with the same customId: '{custom_id}' already exists for version with ID: '{version_id}'.",
    )


def _not_found(session_id: str) -> RefusalError:
    return RefusalError(404, f"Session {session_id} not found")
