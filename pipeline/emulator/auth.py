"""Keys, and the routes that tell who one is."""

from __future__ import annotations

import hmac

from pipeline.emulator.options import Options
from pipeline.emulator.store import Store
from pipeline.emulator.wire import Answer, RefusalError, Request, json_answer

USER_ID = "user_123"
ORGANIZATION_ID = "org_123"
_SINCE = "2026-01-01T00:00:00.000Z"


def check_key(request: Request, api_key: str | None, options: Options) -> None:
    """With a configured key only that one is valid; without, every key of Galtea's two shapes."""
    scheme, _, key = request.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise RefusalError(401, "Authorization header with a Bearer API key is required.", error="Unauthorized")
    if options.read_only_key and hmac.compare_digest(key.encode(), options.read_only_key.encode()):
        if request.method != "GET":
            raise RefusalError(403, "You do not have permission to perform this action.")
        return
    is_valid = hmac.compare_digest(key.encode(), api_key.encode()) if api_key else key.startswith(("gsk_", "gsk-"))
    if not is_valid:
        raise RefusalError(401, "Invalid API key.", error="Unauthorized")


def get_minimum_sdk_version(store: Store, options: Options, request: Request) -> Answer:
    return json_answer(200, {"minimumSdkVersionSupported": "1.0.0", "latestSdkVersionPublished": "5.12.0"})


def get_user(store: Store, options: Options, request: Request) -> Answer:
    user = {
        "id": USER_ID,
        "name": "Emulated User",
        "email": "user@example.com",
        "organizationId": ORGANIZATION_ID,
    }
    return json_answer(200, {**user, "createdAt": _SINCE, "deletedAt": None})


def list_organizations(store: Store, options: Options, request: Request) -> Answer:
    organization = {
        "id": ORGANIZATION_ID,
        "name": "Emulated Organization",
        "createdAt": _SINCE,
        "deletedAt": None,
    }
    return json_answer(200, [organization])
