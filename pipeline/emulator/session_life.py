"""The life of a session beyond its own routes: idle ones close, and a turn meets an open or a closed one."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from pipeline.emulator.options import Options
from pipeline.emulator.products import product
from pipeline.emulator.store import Store
from pipeline.emulator.wire import RefusalError, Request

SCOPES = {"NONE": (), "DEVELOPMENT": (0,), "PRODUCTION": (1,), "ALL": (0, 1)}
"""`is_production` of the sessions that close by themselves."""
LOOK_EVERY_MS = 1_000


class SessionOfTurn(NamedTuple):
    id: str
    product_id: str
    status: str


class AutoClose:
    """Closes what has been idle for too long; looks at most once a second, because every request asks."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._look_again_at = 0

    def look(self, store: Store) -> None:
        now = store.now_ms()
        if now < self._look_again_at:
            return
        self._look_again_at = now + LOOK_EVERY_MS
        for product_id, fields in store.rows("SELECT id, fields FROM product WHERE deleted_at IS NULL"):
            settings = orjson.loads(fields)
            idle_since = now - settings["autoCloseInactivityMinutes"] * 60_000
            for is_production in SCOPES[settings["autoCloseScope"]]:
                self._close(store, product_id, idle_since, is_production)

    def forget(self) -> None:
        """After a reset, which turns the clock back."""
        self._look_again_at = 0

    def _close(self, store: Store, product_id: str, idle_since: int, is_production: int) -> None:
        idle = (
            "product_id = ? AND status = 'PENDING' AND coalesce(active_at, created_at) <= ? "
            "AND is_production = ? AND deleted_at IS NULL"
        )
        values = (product_id, idle_since, is_production)
        if store.row(f"SELECT 1 FROM session WHERE {idle} LIMIT 1", values):  # without one, nothing is written
            store.change(
                f"UPDATE session SET status = ? WHERE {idle}",
                (self._options.auto_close_status, *values),
            )


def session_for_turn(store: Store, options: Options, request: Request, body: dict[str, Any]) -> SessionOfTurn:
    """By its id, or by its custom id within a version or a product; the turn routes never create one."""
    conditions = ["deleted_at IS NULL"]
    values: list[Any] = []
    if not options.hidden_sessions_are_writable:
        conditions.append("visible_at <= ?")
        values.append(store.now_ms() / 1000)
    if session_id := body.get("sessionId"):
        conditions.append("id = ?")
        values.append(session_id)
        missing = RefusalError(options.unknown_session_status, f"Session {session_id} not found")
    else:
        custom_id = body["sessionCustomId"]
        anchor = "version" if body.get("versionId") else "product"
        anchor_id = body[f"{anchor}Id"]
        conditions += ["custom_key = ?", f"{anchor}_id = ?"]
        values += [custom_id if options.custom_ids_case_sensitive else custom_id.lower(), anchor_id]
        missing = RefusalError(
            400, f"No Session with customId: '{custom_id}' exists for {anchor} with ID: '{anchor_id}'."
        )
    found = store.row(
        f"SELECT id, product_id, status FROM session WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT 1",
        values,
    )
    if found is None:
        raise missing
    return SessionOfTurn(*found)


def admit_turns(store: Store, options: Options, session: SessionOfTurn) -> bool:
    """False: what comes is ignored. A closed session reopens, or refuses, as its product says."""
    if session.status != "PENDING":
        policy = product(store, session.product_id)["closedSessionInferenceCreationPolicy"]
        if policy == "REJECT":
            raise RefusalError(400, f"Session {session.id} is closed and does not accept new traces.")
        if policy == "IGNORE":
            return False
        end = "" if options.reopened_keeps_end else ", stopping_reason = NULL, error = NULL"
        store.change(f"UPDATE session SET status = 'PENDING'{end} WHERE id = ?", (session.id,))
    mark_active(store, session.id)
    return True


def mark_active(store: Store, session_id: str) -> None:
    """Its idle time begins anew."""
    store.change("UPDATE session SET active_at = ? WHERE id = ?", (store.now_ms(), session_id))
