"""Before the first POST: is the key good, is the version there, does the route answer?"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.clock import Clock
from pipeline.config import Config
from pipeline.errors import AmbiguousError, FatalError, RefusedError, RejectedError, StoppedError, TransientError, UsageError
from pipeline.uploader.client import Client
from pipeline.uploader.retry import backoff_seconds, parse_retry_after

log = logging.getLogger(__name__)
T = TypeVar("T")


async def resolve_version(
    client: Client, config: Config, clock: Clock, chance: random.Random, is_stopping: Callable[[], bool]
) -> str:
    """The version that this run sends to. A product is resolved here, once, and not anew by the API at each POST.

    Raises FatalError where the target refuses, UsageError where the product has no version, StoppedError where
    nothing answers for `give_up_after_seconds` (or `is_stopping`).
    """

    async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
        return await _patiently(ask, config, clock, chance, is_stopping)

    target = config.target
    if target.version_id is not None:
        version_id = target.version_id
        try:
            version = await patiently(lambda: client.get_version(version_id))
        except RejectedError as error:
            if error.status == 404 and error.kind != "no_route":
                raise FatalError(
                    f"{target.base_url} has no version {version_id} ({error}); check target.version_id",
                    kind="unknown_version",
                    status=404,
                ) from error
            if error.status == 403:
                raise FatalError(f"this key may not read version {version_id} ({error})", kind="forbidden", status=403) from error
            log.warning("version_not_checked", extra={"version_id": version_id, "reason": str(error)})
        else:
            if version.id != version_id or version.deletedAt is not None:
                raise FatalError(f"version {version_id} was deleted; choose another one", kind="deleted_version")
    else:
        version_id = await _newest_version(client, target.product_id or "", patiently)
    try:
        await patiently(lambda: client.probe_sessions(version_id))
    except RejectedError as error:
        raise FatalError(
            f"{target.base_url} does not serve /sessions for this key and version ({error}); check target.base_url",
            kind="no_route",
            status=error.status,
        ) from error
    return version_id


async def _newest_version(
    client: Client, product_id: str, patiently: Callable[[Callable[[], Awaitable[T]]], Awaitable[T]]
) -> str:
    try:
        versions = await patiently(lambda: client.versions_of(product_id))  # type: ignore[arg-type]
    except RejectedError as error:
        raise FatalError(f"the versions of {product_id} cannot be read ({error})", kind="unknown_product") from error
    if not versions:  # type: ignore[truthy-bool]
        raise UsageError(
            f"product {product_id} has no version (or does not exist); make one in Galtea, or name another with "
            "--product-id or --version-id"
        )
    newest = max(versions, key=lambda version: (version.number or 0, version.createdAt or ""))  # type: ignore[call-overload]
    return str(newest.id)


async def _patiently(
    ask: Callable[[], Awaitable[T]],
    config: Config,
    clock: Clock,
    chance: random.Random,
    is_stopping: Callable[[], bool],
) -> T:
    give_up_at = clock.now() + config.upload.give_up_after_seconds
    attempt = 0
    while True:
        try:
            return await ask()
        except TransientError as error:
            attempt += 1
            wait = backoff_seconds(attempt, chance)
            if isinstance(error, RefusedError):
                asked = parse_retry_after(
                    error.retry_after, now=clock.wall(), longest_seconds=config.upload.max_pause_seconds
                )
                wait = asked if asked is not None else wait
            if clock.now() + wait > give_up_at:
                raise StoppedError(f"{config.target.base_url} does not answer ({error}); run again to go on") from error
            log.warning("preflight_retried", extra={"attempt": attempt, "wait_seconds": round(wait, 2), "reason": str(error)})
            await _sleep(wait, clock, is_stopping)


async def _sleep(seconds: float, clock: Clock, is_stopping: Callable[[], bool]) -> None:
    until = clock.now() + seconds
    while clock.now() < until:
        if is_stopping():
            raise StoppedError("stopped before the first session was sent; run again to go on")
        await clock.sleep(min(0.1, until - clock.now()))
