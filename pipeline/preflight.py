"""Before the first POST: is the key good, is the version there, does the route answer?"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from pipeline.clock import Clock, iso
from pipeline.config import Config
from pipeline.errors import FatalError, RefusedError, RejectedError, StoppedError, TransientError, UsageError
from pipeline.uploader.client import Client, NoRouteError
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from pipeline.uploader.questions import ask, ask_until_answered
from pipeline.uploader.retry import backoff_seconds

LOOK_EVERY_SECONDS = 0.1
PRODUCT_ATTEMPTS = 3
log = logging.getLogger(__name__)
T = TypeVar("T")


class Preflight:
    """Questions to the API that are asked again until they are answered, or the patience ends."""

    def __init__(
        self,
        client: Client,
        pace: Pace,
        counts: Counts,
        config: Config,
        clock: Clock,
        chance: random.Random,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._client = client
        self._pace = pace
        self._counts = counts
        self._config = config
        self._clock = clock
        self._chance = chance
        self._is_stopping = is_stopping
        self._product_id: str | None = None
        """Of the version, once it was asked about."""

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

    async def closed_policy(self, version_id: str) -> str | None:
        """What the product does with a turn for a closed session (api-contract 2.5); None where it does not say.

        Nothing depends on it but a request more for sessions that are closed, so nobody waits long for it.
        """
        product_id = self._config.target.product_id or self._product_id
        if product_id is None:
            return None
        question = ask_until_answered(
            self._pace,
            self._clock,
            self._counts,
            self._chance,
            lambda: self._client.get_product(product_id),
            max_attempts=PRODUCT_ATTEMPTS,
        )
        try:
            product = await self._unless_stopped(question)
        except (RejectedError, TransientError) as error:
            log.warning("product_not_read product=%s version=%s: %s", product_id, version_id, error)
            return None
        return product.closedSessionInferenceCreationPolicy

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
        self._product_id = version.productId
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

    async def _patiently(self, question: Callable[[], Awaitable[T]]) -> T:
        upload = self._config.upload
        give_up_at = self._clock.now() + upload.give_up_after_seconds
        attempt = 0
        while True:
            try:
                return await self._unless_stopped(ask(self._pace, self._clock, self._counts, question))
            except TransientError as error:
                if error.kind == "certificate":
                    raise FatalError(
                        f"{self._config.target.base_url}: {error}; a private CA goes into target.ca_file",
                        kind="certificate",
                    ) from error
                attempt += 1
                wait = self._pace.pause_seconds  # what was told, where the API said "later"
                if not isinstance(error, RefusedError):
                    wait = max(wait, backoff_seconds(attempt, self._chance))
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
                self._counts.retries += 1
                await self._unless_stopped(self._clock.sleep(wait))

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        try:
            while not task.done():
                if self._is_stopping():
                    raise StoppedError("stopped before the target had answered; run again to go on")
                await asyncio.wait([task], timeout=LOOK_EVERY_SECONDS)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
