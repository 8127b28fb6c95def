"""Bounds how many calls come from one caller: in a time, and as streams that are open.

Stands in the chain twice: before the key is looked at, for each address; and after, for each key.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from limits import RateLimitItem, parse
from limits.aio.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from apigpu_common.errors import QuotaExceeded
from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses
from orchestrator import identity

log = logging.getLogger(__name__)

# A stream ends when its job or file does: nobody knows when, so come back soon.
_STREAM_RETRY_S = 5.0
_IPV6_NETWORK = 64  # what one subscriber has for itself

# Whom a call is counted for, or "" for nobody.
Subject = Callable[[Any], str]


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
    """rate: like "100/minute", or empty for any. max_streams: answers open at a time."""

    def __init__(
        self, counter: RequestCounter, subject: Subject, rate: str, max_streams: int
    ) -> None:
        super().__init__(self._wrap_unary, self._wrap_stream)
        self._counter = counter
        self._subject = subject
        self._rate = parse(rate) if rate else None
        self._max_streams = max_streams
        self._streams: Counter[str] = Counter()

    async def _count(self, subject: str) -> None:
        if not subject or self._rate is None:
            return
        wait_s = await self._counter.hit(self._rate, subject)
        if wait_s:
            raise QuotaExceeded(
                "TOO_MANY_REQUESTS",
                f"More calls than {self._rate}: slow down.",
                subject=subject,
                retry_after_s=wait_s,
            )

    @contextmanager
    def _open_stream(self, subject: str) -> Iterator[None]:
        if subject and self._streams[subject] >= self._max_streams:
            raise QuotaExceeded(
                "TOO_MANY_STREAMS",
                f"{self._max_streams} streams are open already: close some first.",
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
            await self._count(self._subject(context))
            return await serve(request, context)

        return answer

    def _wrap_stream(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            subject = self._subject(context)
            await self._count(subject)
            with self._open_stream(subject):
                async for response in responses(serve(request, context)):
                    yield response

        return answer


def peer_of(context: Any) -> str:
    """The address that a call comes from, without its port."""
    kind, _, address = unquote(context.peer()).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""  # a unix socket: this machine
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    if kind == "ipv6":
        return f"peer {ipaddress.ip_network(f'{host}/{_IPV6_NETWORK}', strict=False)}"
    return f"peer {host}"


def key_of(context: Any) -> str:
    """The key of the caller who was let in."""
    key_id = identity.current().key_id
    return f"key {key_id}" if key_id else ""


def _limiter(storage_uri: str) -> RateLimiter:
    more = {"implementation": "redispy"} if "redis" in storage_uri.partition(":")[0] else {}
    storage: Any = storage_from_string(storage_uri, **more)
    return SlidingWindowCounterRateLimiter(storage)


async def _hit(limiter: RateLimiter, rate: RateLimitItem, subject: str) -> float:
    if await limiter.hit(rate, subject):
        return 0.0
    window = await limiter.get_window_stats(rate, subject)
    return max(0.1, window.reset_time - time.time())
