"""The routes of turns, which the API calls inference results in its paths and traces in its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from pipeline.emulator.json_body import object_body
from pipeline.emulator.options import Options
from pipeline.emulator.query import Query, milliseconds, require_all, selection
from pipeline.emulator.session_life import SessionOfTurn, admit_turns, mark_active, session_for_turn
from pipeline.emulator.spans import delete_spans_of_turn, set_retrieval_context
from pipeline.emulator.store import Row, Store
from pipeline.emulator.turn_batch import check_batch
from pipeline.emulator.turn_rules import PLACE_FIELDS, VALUE_FIELDS, check_create, check_update
from pipeline.emulator.wire import Answer, RefusalError, Request, iso, json_answer, new_id

FILTERS = ("sessionIds", "evaluationIds")
COLUMNS = "id, session_id, position, status, user_id, error, fields, created_at, deleted_at"
INSERT = f"INSERT INTO turn ({COLUMNS}, visible_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def create_turn(store: Store, options: Options, request: Request) -> Answer:
    body = object_body(request, options)
    check_create(body, options)
    session = session_for_turn(store, options, request, body)
    if body.get("index") is not None:
        _check_index(store, options, session.id, body["index"])
    return _created(store, options, request, session, [body], is_batch=False)


def create_turns(store: Store, options: Options, request: Request) -> Answer:
    body = object_body(request, options)
    pairs, refusal = check_batch(body, options)
    session = session_for_turn(store, options, request, body)
    turns = [
        {
            "input": pair.input,
            "actualOutput": pair.output,
            "retrievalContext": pair.retrieval_context,
            "status": "GENERATED",
            "conversationSimulatorVersion": body.get("conversationSimulatorVersion"),
        }
        for pair in pairs[: request.keep_first]
    ]
    answer = _created(store, options, request, session, turns, is_batch=True)
    if refusal is not None:
        refused = refusal.answer()
        answer.status, answer.body = refused.status, refused.body
    return answer


def get_turn(store: Store, options: Options, request: Request) -> Answer:
    row = store.row(
        f"SELECT {COLUMNS} FROM turn WHERE id = ? AND deleted_at IS NULL AND visible_at <= ?",
        (request.id, store.now_ms() / 1000),
    )
    if row is None:
        raise _not_found(request.id)
    return Answer(200, orjson.dumps(shown(row)), session_id=row[1])


def list_turns(store: Store, options: Options, request: Request) -> Answer:
    query = Query(request.query, FILTERS, options)
    chosen = selection(query, options)
    chosen.where("visible_at <= ?", store.now_ms() / 1000)
    chosen.where("created_at <= ?", store.now_ms() - options.list_lag_ms)
    chosen.is_one_of("session_id", query.many("sessionIds"))
    if query.many("evaluationIds") is not None:
        chosen.where("0")  # there are no evaluations here
    if (ids := query.many("ids")) is not None:
        found = store.rows(f"SELECT id FROM turn WHERE {chosen.filter}", chosen.values)
        require_all("Trace", ids, [row[0] for row in found])
    rows = store.rows(f"SELECT {COLUMNS} FROM turn WHERE {chosen.page}", chosen.values)
    return json_answer(200, [_listed(row, options) for row in rows])


def update_turn(store: Store, options: Options, request: Request) -> Answer:
    body = object_body(request, options)
    check_update(body, options)
    row = _live(store, request.id)
    session_id, fields = row[1], orjson.loads(row[6])
    fields.update({name: body[name] for name in VALUE_FIELDS if name in body})
    _store_texts(fields, options)
    changes: dict[str, Any] = {"fields": orjson.dumps(fields)}
    for name, column in (("status", "status"), ("error", "error"), ("userId", "user_id"), ("index", "position")):
        if name in body:
            changes[column] = body[name]
    if options.turn_patch_of_place == "accept":
        changes |= _changes_of_place(store, options, body)
    if changes.get("position", row[2]) != row[2]:
        _check_index(store, options, session_id, changes["position"])
    columns = ", ".join(f"{column} = ?" for column in changes)
    store.change(f"UPDATE turn SET {columns} WHERE id = ?", (*changes.values(), request.id))
    if "retrievalContext" in body:
        set_retrieval_context(store, request.id, session_id, body["retrievalContext"])
    mark_active(store, session_id)
    row = store.one(f"SELECT {COLUMNS} FROM turn WHERE id = ?", (request.id,))
    return Answer(200, orjson.dumps(shown(row)), session_id=session_id)


def delete_turn(store: Store, options: Options, request: Request) -> Answer:
    session_id = _live(store, request.id)[1]
    store.change("UPDATE turn SET deleted_at = ? WHERE id = ?", (store.now_ms(), request.id))
    delete_spans_of_turn(store, request.id)
    return Answer(204, session_id=session_id)


def delete_turns_of_session(store: Store, session_id: str) -> None:
    for (turn_id,) in store.rows("SELECT id FROM turn WHERE session_id = ? AND deleted_at IS NULL", (session_id,)):
        store.change("UPDATE turn SET deleted_at = ? WHERE id = ?", (store.now_ms(), turn_id))
        delete_spans_of_turn(store, turn_id)


def shown(row: Row) -> dict[str, Any]:
    """A turn as the API shows it; its retrieval context is a span."""
    turn_id, session_id, position, status, user_id, error, fields, created_at, deleted_at = row
    return {
        "id": turn_id,
        "sessionId": session_id,
        "userId": user_id,
        "index": position,
        "status": status,
        "error": error,
        **orjson.loads(fields),
        "creditsUsed": 0,
        "traceId": None,
        "createdAt": iso(created_at),
        "deletedAt": iso(deleted_at),
    }


def _listed(row: Row, options: Options) -> dict[str, Any]:
    turn = shown(row)
    if options.listed_turn_order == "hide":
        turn |= {"index": None, "createdAt": iso(row[-2] // 1000 * 1000)}
    return turn


def _created(
    store: Store,
    options: Options,
    request: Request,
    session: SessionOfTurn,
    turns: Sequence[dict[str, Any]],
    *,
    is_batch: bool,
) -> Answer:
    """The answer to new turns, which are stored unless the session is closed and ignores them."""
    status = options.turn_batch_status if is_batch else options.turn_created_status
    is_stored = admit_turns(store, options, session)
    if not is_stored and options.ignored_turn_answer == "empty":
        return Answer(status, b"[]" if is_batch else b"null", session_id=session.id)
    position = _next_index(store, session.id)
    rows: list[Row] = []
    for turn in turns:
        given = turn.get("index")
        rows.append(_row(store, options, session.id, position if given is None else given, turn))
        position += 1
        if is_stored:
            store.change(INSERT, (*rows[-1], request.visible_at))
            set_retrieval_context(store, rows[-1][0], session.id, turn.get("retrievalContext"), request.visible_at)
    results = [shown(row) for row in rows]
    return Answer(
        status,
        orjson.dumps(results if is_batch else results[0]),
        session_id=session.id,
        turn_ids=[row[0] for row in rows] if is_stored else None,
    )


def _row(store: Store, options: Options, session_id: str, position: int, turn: dict[str, Any]) -> Row:
    fields = {name: turn.get(name) for name in VALUE_FIELDS}
    _store_texts(fields, options)
    return (
        new_id("ir"),
        session_id,
        position,
        turn.get("status") or options.default_turn_status,
        turn.get("userId"),
        turn.get("error"),
        orjson.dumps(fields),
        store.now_ms(),
        None,
    )


def _store_texts(fields: dict[str, Any], options: Options) -> None:
    if options.turn_texts == "trim":
        fields |= {name: text.strip() for name in ("input", "actualOutput") if isinstance(text := fields[name], str)}
    if isinstance(fields["input"], str):
        fields["input"] = {"user_message": fields["input"]}


def _next_index(store: Store, session_id: str) -> int:
    last = "SELECT coalesce(max(position) + 1, 0) FROM turn WHERE session_id = ? AND deleted_at IS NULL"
    return int(store.one(last, (session_id,))[0])


def _check_index(store: Store, options: Options, session_id: str, index: int) -> None:
    taken = "SELECT 1 FROM turn WHERE session_id = ? AND position = ? AND deleted_at IS NULL"
    if options.taken_turn_index == "refuse" and store.row(taken, (session_id, index)):
        raise RefusalError(400, f"A Trace with the same index: {index} already exists in session {session_id}.")


def _changes_of_place(store: Store, options: Options, body: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    given = {name: body[name] for name in PLACE_FIELDS if name in body}
    if given.get("sessionId"):
        alive = "SELECT 1 FROM session WHERE id = ? AND deleted_at IS NULL"
        if store.row(alive, (given["sessionId"],)) is None:
            raise RefusalError(options.unknown_session_status, f"Session {given['sessionId']} not found")
        changes["session_id"] = given["sessionId"]
    if given.get("createdAt"):
        changes["created_at"] = milliseconds(given["createdAt"])
    if "deletedAt" in given:
        changes["deleted_at"] = milliseconds(given["deletedAt"]) if given["deletedAt"] else None
    return changes


def _live(store: Store, turn_id: str) -> Row:
    row = store.row(f"SELECT {COLUMNS} FROM turn WHERE id = ? AND deleted_at IS NULL", (turn_id,))
    if row is None:
        raise _not_found(turn_id)
    return row


def _not_found(turn_id: str) -> RefusalError:
    return RefusalError(404, f"Trace {turn_id} not found")
