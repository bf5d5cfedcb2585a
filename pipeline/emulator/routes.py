"""Which function answers which method and path."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.emulator import auth, products, sessions, spans, turns, versions
from pipeline.emulator.options import Options
from pipeline.emulator.store import Store
from pipeline.emulator.wire import Answer, Request

Route = Callable[[Store, Options, Request], Answer]

ANY = "*"
ROUTES: dict[tuple[str, ...], Route] = {
    ("POST", "sessions"): sessions.create_session,
    ("GET", "sessions"): sessions.list_sessions,
    ("DELETE", "sessions", "batch"): sessions.delete_sessions,
    ("GET", "sessions", ANY): sessions.get_session,
    ("PATCH", "sessions", ANY): sessions.update_session,
    ("DELETE", "sessions", ANY): sessions.delete_session,
    ("PATCH", "sessions", ANY, "finish"): sessions.finish_session,
    ("POST", "inferenceResults"): turns.create_turn,
    ("POST", "inferenceResults", "batch"): turns.create_turns,
    ("GET", "inferenceResults"): turns.list_turns,
    ("GET", "inferenceResults", ANY): turns.get_turn,
    ("PATCH", "inferenceResults", ANY): turns.update_turn,
    ("DELETE", "inferenceResults", ANY): turns.delete_turn,
    ("POST", "traces"): spans.create_span,
    ("POST", "traces", "batch"): spans.create_spans,
    ("GET", "traces"): spans.list_spans,
    ("GET", "traces", ANY): spans.get_span,
    ("DELETE", "traces", ANY): spans.delete_span,
    ("POST", "versions"): versions.create_version,
    ("GET", "versions"): versions.list_versions,
    ("GET", "versions", ANY): versions.get_version,
    ("DELETE", "versions", ANY): versions.delete_version,
    ("POST", "products"): products.create_product,
    ("GET", "products"): products.list_products,
    ("GET", "products", ANY): products.get_product,
    ("GET", "auth", "user"): auth.get_user,
    ("GET", "organizations"): auth.list_organizations,
    ("GET", "minimum-sdk-version"): auth.get_minimum_sdk_version,
}
WITHOUT_KEY = (auth.get_minimum_sdk_version,)


def route_of(request: Request) -> Route | None:
    """Fixed paths win over `/things/{id}`; an empty id (as a double slash makes it) is no id."""
    key = (request.method, *request.segments)
    route = ROUTES.get(key)
    if route is not None or len(key) < 3 or not key[2]:
        return route
    return ROUTES.get((key[0], key[1], ANY, *key[3:]))
