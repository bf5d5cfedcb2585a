"""Requests to an emulator as an importer sends them."""

from __future__ import annotations

from typing import Any

import httpx

from pipeline.emulator import RunningEmulator

KEY = "gsk_contract"


def client_of(emulator: RunningEmulator, **more: Any) -> httpx.Client:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=emulator.url, headers=headers, trust_env=False, **more)


def post_session(api: httpx.Client, **changes: Any) -> httpx.Response:
    body = {"versionId": "ver_123", "isProduction": False, **changes}
    return api.post("/sessions", json={name: value for name, value in body.items() if value is not ...})
