"""Tells webhooks what stands in the outbox: signed, again for a day until it is taken, in order
for each job. What comes of it is written down, and never touches the job."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import yarl
from standardwebhooks import Webhook

from apigpu_common.guard import AddressRefused, guarded_socket
from orchestrator.store.deliveries import DELIVERED, GIVEN_UP, PENDING, Deliveries
from orchestrator.store.records import StoredDelivery
from orchestrator.webhooks.settings import WebhookSettings

log = logging.getLogger(__name__)

_POLL_S = 0.5
_PAUSE_AFTER_ERROR_S = 2.0
_FORGET_S = 3600.0
_PARALLEL = 16
# A try ends long before its lease does: nobody else begins with it meanwhile.
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=10)
_LEASE_S = 60.0
_LONGEST_PAUSE_S = 2 * 3600.0
_GONE = 410


class Secrets:
    """One secret for each owner, derived from a key of the service: nothing to store or leak.

    keys: the first one signs; webhooks carry a signature of each, so that a key can be changed.
    """

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    def of(self, owner: str) -> list[str]:
        derived = (hmac.new(key, f"webhook/{owner}".encode(), hashlib.sha256) for key in self._keys)
        return [f"whsec_{base64.b64encode(each.digest()).decode()}" for each in derived]


class Webhooks:
    def __init__(self, store: Deliveries, secrets: Secrets, settings: WebhookSettings) -> None:
        self._store = store
        self._secrets = secrets
        self._settings = settings
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._sending: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(
            socket_factory=guarded_socket(self._settings.webhook_allow),
            resolver=aiohttp.ThreadedResolver(),
            force_close=True,
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would look up and connect for us, past the guard
        ) as session:
            loops = [
                asyncio.create_task(self._send_all(session)),
                asyncio.create_task(self._forget_old()),
            ]
            try:
                yield
            finally:
                for task in (*loops, *self._sending):
                    task.cancel()
                await asyncio.gather(*loops, *self._sending, return_exceptions=True)

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self._slots.acquire()
            delivery = None
            try:
                delivery = await self._store.claim_delivery(_LEASE_S)
            except Exception:  # the store is away: what is in it waits
                log.exception("cannot read what webhooks are to be told")
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)
            if delivery is None:
                self._slots.release()
                await asyncio.sleep(_POLL_S)
                continue
            task = asyncio.create_task(self._send(session, delivery))
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._slots.release()

    async def _send(self, session: aiohttp.ClientSession, delivery: StoredDelivery) -> None:
        status, error = 0, ""
        try:
            status = await self._post(session, delivery)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
            error = _words(failure)
        try:
            await self._settle(delivery, status, error)
        except Exception:  # its lease runs out, and it is told once more
            log.exception("cannot note what came of webhook %s", delivery.id)

    async def _post(self, session: aiohttp.ClientSession, delivery: StoredDelivery) -> int:
        now = datetime.now(UTC)
        text = delivery.payload.decode()
        signatures = " ".join(
            Webhook(secret).sign(delivery.id, now, text)
            for secret in self._secrets.of(delivery.owner)
        )
        headers = {
            "content-type": "application/json",
            "user-agent": "api-gpu",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signatures,
        }
        url = yarl.URL(delivery.url, encoded=True)
        # Not redirected: where a receiver is, its owner says.
        async with session.post(
            url, data=delivery.payload, headers=headers, allow_redirects=False
        ) as response:
            return response.status

    async def _settle(self, delivery: StoredDelivery, status: int, error: str) -> None:
        if 200 <= status < 300:
            await self._store.settle_delivery(delivery.id, DELIVERED, status, "")
            return
        error = error or f"The receiver answered {status}."
        age_s = time.time() - delivery.since
        over = status == _GONE or age_s > self._settings.webhook_retry_for_s
        pause_s = self._pause_s(delivery.attempts)
        log.warning("webhook %s of job %s: %s", delivery.id, delivery.job_id, error)
        await self._store.settle_delivery(
            delivery.id, GIVEN_UP if over else PENDING, status, error, 0.0 if over else pause_s
        )

    def _pause_s(self, attempts: int) -> float:
        """5 s, 15 s, 45 s ... up to 2 hours, spread so that receivers are not hit at once."""
        full_s = self._settings.webhook_first_pause_s * 3.0 ** min(attempts - 1, 20)
        return min(full_s, _LONGEST_PAUSE_S) * (0.75 + 0.5 * random.random())  # noqa: S311

    async def _forget_old(self) -> None:
        while True:
            try:
                await self._store.forget_deliveries()
            except Exception:
                log.exception("cannot forget old webhooks")
            await asyncio.sleep(_FORGET_S)


def _words(failure: Exception) -> str:
    """What may be told of it: no address, and of the URL nothing."""
    cause = getattr(failure, "os_error", failure)
    if isinstance(cause, AddressRefused):
        return "The address is not a public one."
    if isinstance(failure, TimeoutError):
        return "The receiver did not answer in time."
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        return "The receiver has no valid certificate."
    return "The receiver cannot be reached, or breaks off."
