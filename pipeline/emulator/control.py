"""`/__emulator__`: what happened, what is stored, and the levers. No key, no faults, no limits, not logged.

GET  /__emulator__/log?after=N&limit=M       requests in order of arrival
GET  /__emulator__/sessions?after=N&limit=M  all sessions, with the deleted and the not yet visible;
                                             with turns=true, each with its turns, and these with their spans
POST /__emulator__/reset                     as at the start, with an empty store
POST /__emulator__/faults                    a new fault script (YAML or JSON)
POST /__emulator__/settings                  {"max_per_second": 20, "burst": 20, "latency_ms": 5}
POST /__emulator__/product                   {"id": "prod_123", "closedSessionInferenceCreationPolicy": "REJECT"}
POST /__emulator__/clock                     {"forward_seconds": 1800}: so much time has passed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from pipeline.emulator.faults import Faults, FaultScriptError, read_script
from pipeline.emulator.products import change_product
from pipeline.emulator.sessions import COLUMNS, shown
from pipeline.emulator.store import LOG_COLUMNS, Row
from pipeline.emulator.whole_sessions import turns_by_session
from pipeline.emulator.wire import Answer, RefusalError, Request, html_answer, iso, json_answer

if TYPE_CHECKING:
    from pipeline.emulator.app import Emulator

PREFIX = "/__emulator__/"
SETTINGS = ("max_per_second", "burst", "latency_ms")


async def answer(emulator: Emulator, request: Request) -> Answer:
    """What is not yet committed is committed first, so that nothing shown here can be lost."""
    emulator.auto_close.look(emulator.store)
    await emulator.store.settled()
    route = _ROUTES.get((request.method, request.path.removeprefix(PREFIX)))
    try:
        done = route(emulator, request) if route else html_answer(404, f"Cannot {request.method} {request.path}")
    except RefusalError as refusal:
        return refusal.answer()
    await emulator.store.settled()
    return done


def _log(emulator: Emulator, request: Request) -> Answer:
    after, limit = _page(request)
    rows = emulator.store.rows(
        f"SELECT {', '.join(LOG_COLUMNS)} FROM log WHERE n > ? ORDER BY n LIMIT ?", (after, limit)
    )
    return json_answer(200, [_shown_entry(row) for row in rows])


def _shown_entry(row: Row) -> dict[str, Any]:
    entry = dict(zip(LOG_COLUMNS, row, strict=True))
    entry["turn_ids"] = orjson.loads(entry["turn_ids"] or b"[]")
    return {**entry, "spans": entry["spans"] or 0, "rejected_spans": entry["rejected_spans"] or 0}


def _sessions(emulator: Emulator, request: Request) -> Answer:
    after, limit = _page(request)
    rows = emulator.store.rows(
        f"SELECT {COLUMNS}, seq, visible_at FROM session WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
    )
    found = [{**shown(row), "n": row[-2], "visibleAt": row[-1] or None} for row in rows]
    if _is_true(request, "turns"):
        turns = turns_by_session(emulator.store, rows[0][-2], rows[-1][-2]) if rows else {}
        found = [{**session, "turns": turns.get(session["id"], [])} for session in found]
    return json_answer(200, found)


def _is_true(request: Request, name: str) -> bool:
    return parse_qs(request.query).get(name, [""])[-1].lower() == "true"


def _page(request: Request) -> tuple[int, int]:
    query = parse_qs(request.query)
    try:
        return int(query.get("after", ["0"])[0]), int(query.get("limit", ["-1"])[0])
    except ValueError as error:
        raise RefusalError(400, "after and limit are integers") from error


def _reset(emulator: Emulator, request: Request) -> Answer:
    emulator.reset()
    return json_answer(200, {"status": "reset"})


def _change_product(emulator: Emulator, request: Request) -> Answer:
    given = request.content
    if not isinstance(given, dict) or not isinstance(given.get("id"), str):
        raise RefusalError(400, "a product is an object with its id")
    changes = {name: value for name, value in given.items() if name != "id"}
    return json_answer(200, change_product(emulator.store, given["id"], changes))


def _move_clock(emulator: Emulator, request: Request) -> Answer:
    given = request.content
    seconds = given.get("forward_seconds") if isinstance(given, dict) else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds < 0:
        raise RefusalError(400, "forward_seconds is a number that is not negative")
    emulator.store.forward(int(seconds * 1000))
    emulator.auto_close.look(emulator.store)
    return json_answer(200, {"now": iso(emulator.store.now_ms())})


def _set_faults(emulator: Emulator, request: Request) -> Answer:
    try:
        emulator.faults = Faults(read_script(request.body.decode()), emulator.random_seed)
    except (FaultScriptError, UnicodeDecodeError) as error:
        raise RefusalError(400, str(error)) from error
    return json_answer(200, {"rules": len(emulator.faults)})


def _set_settings(emulator: Emulator, request: Request) -> Answer:
    """Only what is named changes; `max_per_second: null` lifts the limit."""
    given = request.content
    if not isinstance(given, dict) or not set(given) <= set(SETTINGS):
        raise RefusalError(400, f"settings are an object of {', '.join(SETTINGS)}")
    if not all(_is_setting(name, value) for name, value in given.items()):
        raise RefusalError(400, "settings are numbers; max_per_second and burst may be null")
    emulator.latency_ms = given.get("latency_ms", emulator.latency_ms)
    if "max_per_second" in given:
        emulator.set_limit(given["max_per_second"], given.get("burst"))
    return json_answer(200, given)


def _is_setting(name: str, value: Any) -> bool:
    if value is None:
        return name != "latency_ms"
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


_ROUTES = {
    ("GET", "log"): _log,
    ("GET", "sessions"): _sessions,
    ("POST", "reset"): _reset,
    ("POST", "faults"): _set_faults,
    ("POST", "settings"): _set_settings,
    ("POST", "product"): _change_product,
    ("POST", "clock"): _move_clock,
}
