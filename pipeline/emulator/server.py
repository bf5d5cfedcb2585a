"""The HTTP server: uvicorn on h11, with two things of ours.

A route can reach the transport of its connection (faults reset and cut it), and the server says when it
accepts connections and ends without an exit code when it is asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.emulator.app import Emulator
from pipeline.emulator.broken_answers import TRANSPORT

GRACE_SECONDS = 2


def serve(emulator: Emulator, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; `on_ready` gets the URL. OSError: the port is taken."""
    listener = socket.create_server((host, port), family=_family(host), backlog=2048)
    listener.setblocking(False)
    config = uvicorn.Config(
        emulator,
        http=ReachableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=emulator.options.keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    with listener:
        _Server(config, emulator, lambda: on_ready(url)).run(sockets=[listener])


class ReachableProtocol(H11Protocol):
    """Puts its transport into the ASGI state, which uvicorn hands to every request of the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, TRANSPORT: transport}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, emulator: Emulator, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._emulator = emulator
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._emulator.closing.set()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Like uvicorn's, but a signal that was obeyed is not raised again: the process ends with 0."""
        before: dict[int, Any] = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
