"""Before the first POST: is the key good, is the version there, does the route answer?"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from pipeline.clock import Clock, iso
from pipeline.config import Config
from pipeline.errors import FatalError, RefusedError, RejectedError, StoppedError, TransientError, UsageError
from pipeline.uploader.client import Client, NoRouteError
from pipeline.uploader.retry import backoff_seconds, parse_retry_after

log = logging.getLogger(__name__)
T = TypeVar("T")


class Preflight:
    """Questions to the API that are asked again until they are answered, or the patience ends."""

    def __init__(
        self, client: Client, config: Config, clock: Clock, chance: random.Random, is_stopping: Callable[[], bool]
    ) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._chance = chance
        self._is_stopping = is_stopping

    async def resolve_version(self) -> str:
        """The version that this run sends to. A product is resolved here, once, not anew by the API at each POST.

        Raises FatalError where the target refuses, UsageError where the product has no version, StoppedError where
        nothing answers for `give_up_after_seconds`, or the run is stopped meanwhile.
        """
        target = self._config.target
        version_id = target.version_id
        if version_id is None:
            version_id = await self._newest_version(target.product_id or "")
        else:
            await self._check_version(version_id)
        try:
            await self._patiently(lambda: self._client.probe_sessions(version_id))
        except RejectedError as error:
            raise FatalError(
                f"{target.base_url} does not serve /sessions for this key and version ({error}); check target.base_url",
                kind="no_route",
                status=error.status,
            ) from error
        return version_id

    async def _check_version(self, version_id: str) -> None:
        base_url = self._config.target.base_url
        try:
            version = await self._patiently(lambda: self._client.get_version(version_id))
        except NoRouteError as error:  # nothing to ask; POST /sessions will say what it thinks of the version
            log.warning("version_not_checked %s: %s", version_id, error)
            return
        except RejectedError as error:
            raise FatalError(
                f"{base_url} does not let this key use version {version_id} ({error}); check target.version_id",
                kind="unknown_version",
                status=error.status,
            ) from error
        if version.id != version_id or version.deletedAt is not None:
            raise FatalError(f"version {version_id} was deleted; choose another one", kind="deleted_version")

    async def _newest_version(self, product_id: str) -> str:
        try:
            versions = await self._patiently(lambda: self._client.versions_of(product_id))
        except RejectedError as error:
            raise FatalError(
                f"the versions of {product_id} cannot be read ({error}); check target.product_id",
                kind="unknown_product",
                status=error.status,
            ) from error
        if not versions:
            raise UsageError(
                f"product {product_id} has no version (or does not exist); make one in Galtea, or name another with "
                "--product-id or --version-id"
            )
        return max(versions, key=lambda version: (version.number or 0, version.createdAt or "")).id

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        upload = self._config.upload
        give_up_at = self._clock.now() + upload.give_up_after_seconds
        attempt = 0
        while True:
            try:
                return await ask()
            except TransientError as error:
                if error.kind == "certificate":
                    raise FatalError(
                        f"{self._config.target.base_url}: {error}; a private CA goes into target.ca_file",
                        kind="certificate",
                    ) from error
                attempt += 1
                wait = backoff_seconds(attempt, self._chance)
                if isinstance(error, RefusedError):
                    longest = upload.max_pause_seconds
                    asked = parse_retry_after(error.retry_after, now=self._clock.wall(), longest_seconds=longest)
                    wait = asked if asked is not None else wait
                if self._clock.now() + wait > give_up_at:
                    raise StoppedError(
                        f"{self._config.target.base_url} does not answer ({error}); run again to go on"
                    ) from error
                until = iso(self._clock.wall() + timedelta(seconds=give_up_at - self._clock.now()))
                log.warning(
                    "preflight_retried target=%s attempt=%s wait_seconds=%.2f "
                    "until=%s (upload.give_up_after_seconds): %s",
                    self._config.target.base_url,
                    attempt,
                    wait,
                    until,
                    error,
                )
                await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        until = self._clock.now() + seconds
        while (left := until - self._clock.now()) > 0:
            if self._is_stopping():
                raise StoppedError("stopped before the first session was sent; run again to go on")
            await self._clock.sleep(min(0.1, left))
