"""`/__emulator__`: what happened, what is stored, and the levers. No key, no faults, no limits, not logged.

GET  /__emulator__/log?after=N&limit=M       requests in order of arrival
GET  /__emulator__/sessions?after=N&limit=M  all sessions, with the deleted and the not yet visible
POST /__emulator__/reset                     as at the start, with an empty store
POST /__emulator__/faults                    a new fault script (YAML or JSON)
POST /__emulator__/settings                  {"max_per_second": 20, "burst": 20, "latency_ms": 5}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from pipeline.emulator.faults import Faults, FaultScriptError, read_script
from pipeline.emulator.sessions import COLUMNS, shown
from pipeline.emulator.wire import Answer, RefusalError, Request, html_answer, json_answer

if TYPE_CHECKING:
    from pipeline.emulator.app import Emulator

PREFIX = "/__emulator__/"
LOG_COLUMNS = (
    "n",
    "time",
    "method",
    "path",
    "query",
    "bytes",
    "custom_id",
    "status",
    "fault",
    "session_id",
    "stored",
)
SETTINGS = ("max_per_second", "burst", "latency_ms")


async def answer(emulator: Emulator, request: Request) -> Answer:
    """What is not yet committed is committed first, so that nothing shown here can be lost."""
    await emulator.store.settled()
    route = _ROUTES.get((request.method, request.path.removeprefix(PREFIX)))
    try:
        return route(emulator, request) if route else html_answer(404, f"Cannot {request.method} {request.path}")
    except RefusalError as refusal:
        return refusal.answer()


def _log(emulator: Emulator, request: Request) -> Answer:
    after, limit = _page(request)
    rows = emulator.store.rows(
        f"SELECT {', '.join(LOG_COLUMNS)} FROM log WHERE n > ? ORDER BY n LIMIT ?", (after, limit)
    )
    return json_answer(200, [dict(zip(LOG_COLUMNS, row, strict=True)) for row in rows])


def _sessions(emulator: Emulator, request: Request) -> Answer:
    after, limit = _page(request)
    rows = emulator.store.rows(
        f"SELECT {COLUMNS}, seq, visible_at FROM session WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
    )
    return json_answer(200, [{**shown(row), "n": row[-2], "visibleAt": row[-1] or None} for row in rows])


def _page(request: Request) -> tuple[int, int]:
    query = parse_qs(request.query)
    try:
        return int(query.get("after", ["0"])[0]), int(query.get("limit", ["-1"])[0])
    except ValueError as error:
        raise RefusalError(400, "after and limit are integers") from error


def _reset(emulator: Emulator, request: Request) -> Answer:
    emulator.reset()
    return json_answer(200, {"status": "reset"})


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
}
