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


def new_session(api: httpx.Client, **changes: Any) -> str:
    answer = post_session(api, **changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def post_turn(api: httpx.Client, session_id: str, **changes: Any) -> httpx.Response:
    """POST /inferenceResults with the given fields changed; `...` leaves one out."""
    body = {"sessionId": session_id, "input": "question", "actualOutput": "answer", **changes}
    return api.post("/inferenceResults", json={name: value for name, value in body.items() if value is not ...})


def new_turn(api: httpx.Client, session_id: str, **changes: Any) -> str:
    answer = post_turn(api, session_id, **changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def messages(*contents: str) -> list[dict[str, str]]:
    """Alternating, the user first."""
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


def post_batch(api: httpx.Client, session_id: str, turns: Any, **more: Any) -> httpx.Response:
    return api.post("/inferenceResults/batch", json={"sessionId": session_id, "conversationTurns": turns, **more})


def post_spans(api: httpx.Client, *spans: Any, query: str = "?includeRejected=true") -> httpx.Response:
    return api.post(f"/traces/batch{query}", json={"traces": list(spans)})
