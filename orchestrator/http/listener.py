"""The one HTTP listener: uvicorn, as a resource of the service that holds it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from orchestrator.http.bounded import BoundedProtocol, Bounds
from orchestrator.http.tls_gate import TlsGate

BACKLOG = 1024
_IDLE_CONNECTION_S = 75
_STOP_TIMEOUT_S = 5


class _Server(uvicorn.Server):
    """Leaves the process's signals to whoever runs the service."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpListener:
    """Over a socket that is bound, so that its URL is known; serves between open and close.

    host: how the address was named.
    """

    def __init__(
        self, listening: socket.socket, host: str, bounds: Bounds, tls: ssl.SSLContext | None = None
    ) -> None:
        self._socket = listening
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self._bounds = bounds
        self._tls = tls
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def open(self, application: ASGIApp) -> None:
        # uvicorn's own TLS would count a connection only once its handshake is done.
        protocol: partial[TlsGate] | partial[BoundedProtocol] = (
            partial(TlsGate, self._tls, self._bounds)
            if self._tls
            else partial(BoundedProtocol, self._bounds)
        )
        config = uvicorn.Config(
            application,
            http=protocol,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_IDLE_CONNECTION_S,
            timeout_graceful_shutdown=_STOP_TIMEOUT_S,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def close(self) -> None:
        """Answer no new request; those that are being served get a few seconds."""
        assert self._server is not None and self._serving is not None
        self._server.should_exit = True
        await self._serving

    def release(self) -> None:
        """Give the address back, whether it was served or not."""
        self._socket.close()
