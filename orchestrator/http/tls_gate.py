"""TLS in front of HTTP. Connections count from their first byte on, and have to end their handshake
soon; the server behind is told of them only then."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from orchestrator.http.bounded import SURPLUS, BoundedProtocol, Bounds

_HANDSHAKE_S = 10.0


class TlsGate(asyncio.Protocol):
    """One connection until its handshake is done; then a BoundedProtocol has it."""

    def __init__(self, tls: ssl.SSLContext, bounds: Bounds, **of_uvicorn: Any) -> None:
        self._tls = tls
        self._bounds = bounds
        self._of_uvicorn = of_uvicorn
        # Those of the server: it asks each of them to end when it does.
        self._connections: set[Any] = of_uvicorn["server_state"].connections
        self._early = b""  # came with the end of the handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._connections.add(self)
        if len(self._connections) > self._bounds.connections + SURPLUS:
            transport.abort()
            return
        self._work = asyncio.create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def shutdown(self) -> None:
        self._transport.abort()

    async def _shake_hands(self) -> None:
        within_s = min(_HANDSHAKE_S, self._bounds.timeout_s)
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                self._tls,
                server_side=True,
                ssl_handshake_timeout=within_s,
                ssl_shutdown_timeout=within_s,
            )
        except OSError:  # ssl.SSLError and a handshake that takes too long are such
            self._transport.abort()
            self._connections.discard(self)
            return
        self._connections.discard(self)
        if transport is None or transport.is_closing():
            return
        protocol = BoundedProtocol(self._bounds, **self._of_uvicorn)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._early:
            protocol.data_received(self._early)
