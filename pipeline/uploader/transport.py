"""The seam to the network: one request goes out as bytes, one answer comes back as bytes.

Everything above knows only `Transport`. `send` tells the one thing that matters when no answer came: whether
the request can have reached the API. NotSentError is raised only where that is known to be impossible;
whatever is in doubt is an AmbiguousError. Nothing is ever sent twice, and no redirect is followed.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
import ssl
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import pipeline
from pipeline.errors import UsageError

CONNECT_SECONDS = 10.0
"""The most that DNS, TCP and TLS may take together."""
IDLE_SECONDS = 50.0
"""An idle connection is closed by us before it is closed on us: load balancers commonly wait for 60 s."""
OVERALL_FACTOR = 2.0
"""A whole exchange may take so many times `timeout_seconds`: a dripping server holds no slot for ever."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Longer answers, counted after decompression, are broken off."""
TOO_LONG = "answer_too_large"
"""The kind of error that they are."""
USER_AGENT = f"trace-import/{pipeline.__version__}"

Kind = Literal["auto", "pyreqwest", "httpx"]


class Answer(NamedTuple):
    """What came back, complete and decompressed; of headers sent twice, one is kept."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Transport(Protocol):
    """One target, a pool of kept-alive connections to it."""

    async def send(self, method: str, path_and_query: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Send once and return whatever the server answers, 3xx and 5xx included.

        Raises NotSentError (no connection came about: nothing reached the server) or AmbiguousError (no
        complete answer: the request may have been carried out). If the task is cancelled, treat it as
        ambiguous: the request may go on behind our back until its time is over.
        """
        ...

    async def close(self) -> None:
        """Give the connections back; wait for running requests first, they end as ambiguous otherwise."""
        ...


def open_transport(
    base_url: str,
    *,
    timeout_seconds: float,
    max_at_once: int,
    ca_file: Path | None = None,
    kind: Kind = "auto",
) -> Transport:
    """Open the transport to `base_url`; `auto` takes the fastest one that can be imported here.

    `ca_file` is trusted besides SSL_CERT_FILE or the system's authorities. The proxy is the environment's.
    """
    base = base_url.rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise UsageError("target.base_url must be http(s)://host[:port][/path], without user and password")
    check_ca_file(ca_file)
    proxy = proxy_for(base)
    if kind != "httpx":
        _load_for_good("pyreqwest._pyreqwest")
        try:
            from pipeline.uploader.transport_pyreqwest import PyreqwestTransport  # noqa: PLC0415  (when used)
        except ImportError:  # no wheel for this machine
            if kind == "pyreqwest":
                raise
        else:
            return PyreqwestTransport(
                base, timeout_seconds=timeout_seconds, max_at_once=max_at_once, ca_file=ca_file, proxy=proxy
            )
    from pipeline.uploader.transport_httpx import HttpxTransport, connections  # noqa: PLC0415  (when used)

    return HttpxTransport(
        base,
        timeout_seconds=timeout_seconds,
        max_at_once=max_at_once,
        new_connection=connections(ca_file=ca_file, proxy=proxy),
    )


def _load_for_good(library: str) -> None:
    """Load a native library in a thread that lives as long as the process.

    The allocator in pyreqwest (mimalloc) takes the thread that loads it for the main one, and frees that one's heap
    when it ends: then a thread that begins later dies of a segmentation fault. A run's own threads end with it, and
    whoever calls may be in one that ends, too. What cannot be loaded is told where it is imported.
    """
    if library in sys.modules:
        return
    is_over = threading.Event()

    def load() -> None:
        try:
            importlib.import_module(library)
        except ImportError:
            return
        finally:
            is_over.set()
        threading.Event().wait()

    threading.Thread(target=load, name=library, daemon=True).start()
    is_over.wait()


def connect_seconds(timeout_seconds: float) -> float:
    """How long connecting may take: it ends before the read timeout, for that one is ambiguous."""
    return min(CONNECT_SECONDS, 0.8 * timeout_seconds)


def check_ca_file(ca_file: Path | None) -> None:
    """Refuse a file without certificates here: rustls would pass over it in silence."""
    if ca_file is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"target.ca_file {ca_file} holds no certificate in PEM: {error}") from error


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what cannot stand in a header, without quoting it: it may be the API key."""
    for name, value in headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            raise UsageError(
                f"the value of the header {name} holds a character that cannot be sent "
                "(a line break or a letter beyond ASCII, perhaps from copying GALTEA_API_KEY)"
            )


def proxy_for(base_url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY name for this target, NO_PROXY considered.

    Decided here and not by the libraries, for they disagree: on NO_PROXY with networks (10.0.0.0/8), and on
    loopback, which never goes through a proxy here. This is the one place that reads these variables.
    """
    from urllib.request import getproxies_environment  # noqa: PLC0415  (slow to load)

    parts = urlsplit(base_url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_direct(parts.hostname or "", proxies.get("no", "")):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        at = urlsplit(proxy)
        usable = at.scheme in _PROXY_SCHEMES and bool(at.hostname) and at.port != 0
    except ValueError:
        usable = False
    if not usable:  # not quoted: it may hold a password
        raise UsageError(f"the environment's {parts.scheme}_proxy is not a proxy's URL (http://host:port)")
    return proxy


def _is_direct(host: str, no_proxy: str) -> bool:
    """NO_PROXY lists names (with all names below them), addresses, networks, or `*`."""
    address = _address(host)
    if host == "localhost" or host.endswith(".localhost") or (address and address.is_loopback):
        return True
    for entry in (entry.strip().lower() for entry in no_proxy.split(",")):
        if entry == "*":
            return True
        if address:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:  # a name
                continue
        elif (name := entry.removeprefix("*").removeprefix(".")) and f".{host}".endswith(f".{name}"):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
