"""A real HTTP server on loopback whose behaviour a test scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Every request goes to `handler`; yields the base URL."""
    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", handler)
    # Long enough to hear a client out that was refused; not 10 s for one that has gone.
    runner = web.AppRunner(application, access_log=None, lingering_time=1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def cut(request: web.Request) -> None:
    """Break the connection off, as networks do."""
    assert request.transport is not None
    request.transport.close()
