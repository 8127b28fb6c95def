"""Ways in which an HTTP answer goes wrong. A hook names one, or a response to give instead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Reset:
    """The connection breaks before anything is done."""


@dataclass(frozen=True)
class Lost:
    """All is done, but the answer never arrives."""


@dataclass(frozen=True)
class HalfWritten:
    """All is done, but the answer breaks off in the middle."""


@dataclass(frozen=True)
class Swallowed:
    """Nothing is done, and the answer says that all is well."""


@dataclass(frozen=True)
class Slow:
    """All is done after a while, in seconds of real time."""

    seconds: float


Fault = Reset | Lost | HalfWritten | Swallowed | Slow
# operation ("run", "stream", "job-done", ...) -> what goes wrong with this call, if anything
Hook = Callable[[str], web.Response | Fault | None]


def none(operation: str) -> None:
    """All is well."""


def script(operation: str, *faults: Fault | int) -> Hook:
    """The next calls of `operation` go wrong in turn; a number is a status that is answered."""
    left = list(faults)

    def hook(called: str) -> web.Response | Fault | None:
        if called != operation or not left:
            return None
        fault = left.pop(0)
        return web.Response(status=fault, text="told to fail") if isinstance(fault, int) else fault

    return hook


async def through(
    fault: web.Response | Fault | None, request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Have the request answered as the fault says."""
    match fault:
        case web.Response():
            return fault
        case Reset():
            return _broken_off(request)
        case Swallowed():
            return web.Response()
        case Slow(seconds):
            await asyncio.sleep(seconds)
    answer = await handler(request)
    match fault:
        case Lost():
            return _broken_off(request)
        case HalfWritten():
            return await _half(request, answer)
    return answer


def _broken_off(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, answer: web.Response) -> web.StreamResponse:
    body = answer.body if isinstance(answer.body, bytes) else b""
    half = web.StreamResponse(
        status=answer.status,
        headers={"Content-Type": answer.content_type, "Content-Length": str(len(body))},
    )
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # after what is in its buffer
    return half
