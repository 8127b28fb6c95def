"""Bounds how many calls come from one caller: in a time, and as streams that are open.

Stands in the chain twice: before the key is looked at, for each address; and after, for each key.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from limits import RateLimitItem, parse
from limits.aio.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from apigpu_common.errors import QuotaExceeded
from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses
from orchestrator.access import identity

log = logging.getLogger(__name__)

# A stream ends when its job or file does: nobody knows when, so come back soon.
_STREAM_RETRY_S = 5.0
_IPV6_NETWORK = 64  # what one subscriber has for itself


@dataclass(frozen=True)
class Quota:
    """Whom a call is counted for, and what it may take: calls in a time (None: any number),
    and answers that are streams, open at a time."""

    subject: str
    rate: RateLimitItem | None
    streams: int


# The quota of a call (by its context), or None where it is not counted.
QuotaOf = Callable[[Any], Quota | None]


class RequestCounter:
    """Counts calls in a store that replicas may share. While that is away, each counts alone."""

    def __init__(self, storage_uri: str) -> None:
        self._shared = _limiter(storage_uri)
        self._own = _limiter("async+memory://")

    async def hit(self, rate: RateLimitItem, subject: str) -> float:
        """Count one call; returns 0, or the seconds until another one is taken."""
        try:
            return await _hit(self._shared, rate, subject)
        except Exception as error:  # of whatever kind the store's client has
            log.error("calls are counted by this replica alone: %s", type(error).__name__)
            return await _hit(self._own, rate, subject)


class LimitInterceptor(WrappingInterceptor):
    def __init__(self, counter: RequestCounter, quota_of: QuotaOf) -> None:
        super().__init__(self._wrap_unary, self._wrap_stream)
        self._counter = counter
        self._quota_of = quota_of
        self._streams: Counter[str] = Counter()

    async def _count(self, quota: Quota | None) -> None:
        if quota is None or quota.rate is None:
            return
        wait_s = await self._counter.hit(quota.rate, quota.subject)
        if wait_s:
            raise QuotaExceeded(
                "TOO_MANY_REQUESTS",
                f"More calls than {quota.rate}: slow down.",
                subject=quota.subject,
                retry_after_s=wait_s,
            )

    @contextmanager
    def _open_stream(self, quota: Quota | None) -> Iterator[None]:
        subject = quota.subject if quota else ""
        if quota is not None and self._streams[subject] >= quota.streams:
            raise QuotaExceeded(
                "TOO_MANY_STREAMS",
                f"{quota.streams} streams are open already: close some first.",
                subject=subject,
                retry_after_s=_STREAM_RETRY_S,
            )
        self._streams[subject] += 1
        try:
            yield
        finally:
            self._streams[subject] -= 1
            if not self._streams[subject]:
                del self._streams[subject]

    def _wrap_unary(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> Any:
            await self._count(self._quota_of(context))
            return await serve(request, context)

        return answer

    def _wrap_stream(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            quota = self._quota_of(context)
            await self._count(quota)
            with self._open_stream(quota):
                async for response in responses(serve(request, context)):
                    yield response

        return answer


def quota_by_peer(rate: str, streams: int) -> QuotaOf:
    """The same for every address. rate: like "100/minute", or empty for any."""
    most = _rate(rate)

    def quota(context: Any) -> Quota | None:
        subject = peer_of(context)
        return Quota(subject, most, streams) if subject else None

    return quota


def quota_by_key(rate: str, streams: int) -> QuotaOf:
    """For every key that has no limits of its own."""

    def quota(context: Any) -> Quota | None:
        caller = identity.current()
        if not caller.key_id:
            return None
        own = caller.limits
        return Quota(f"key {caller.key_id}", _rate(own.requests or rate), own.streams or streams)

    return quota


@functools.lru_cache(maxsize=1000)
def _rate(text: str) -> RateLimitItem | None:
    return parse(text) if text else None


def peer_of(context: Any) -> str:
    """The address that a call comes from, without its port."""
    kind, _, address = unquote(context.peer()).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""  # a unix socket: this machine
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    if kind == "ipv6":
        return f"peer {ipaddress.ip_network(f'{host}/{_IPV6_NETWORK}', strict=False)}"
    return f"peer {host}"


def _limiter(storage_uri: str) -> RateLimiter:
    more = {"implementation": "redispy"} if "redis" in storage_uri.partition(":")[0] else {}
    storage: Any = storage_from_string(storage_uri, **more)
    return SlidingWindowCounterRateLimiter(storage)


async def _hit(limiter: RateLimiter, rate: RateLimitItem, subject: str) -> float:
    if await limiter.hit(rate, subject):
        return 0.0
    window = await limiter.get_window_stats(rate, subject)
    return max(0.1, window.reset_time - time.time())
