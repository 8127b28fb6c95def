"""Streams that are expected to say something: a service that is silent for too long is dead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

_HEARTBEAT_S: Final = 10
# A heartbeat may be late; three in a row are not.
_SILENCE_S: Final = 3.0 * _HEARTBEAT_S


def heartbeat_interval() -> Duration:
    """What to ask the service for."""
    return Duration(seconds=_HEARTBEAT_S)


async def heard(call: Any, silence_s: float = _SILENCE_S) -> AsyncIterator[Any]:
    """The messages of a grpc.aio stream. Ends as if it was cut when none comes for so long."""
    messages = aiter(call)
    try:
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    message = await anext(messages)
            except (StopAsyncIteration, TimeoutError):
                return
            yield message
    finally:
        call.cancel()


def heard_blocking(call: Any, silence_s: float = _SILENCE_S) -> Iterator[Any]:
    """The same for a blocking stream, which then ends with the status CANCELLED."""
    try:
        while True:
            watchdog = threading.Timer(silence_s, call.cancel)
            watchdog.daemon = True
            watchdog.start()
            try:
                message = next(call)
            except StopIteration:
                return
            finally:
                watchdog.cancel()
            yield message
    finally:
        call.cancel()
