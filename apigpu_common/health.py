"""Health for those who balance and restart: grpc_health's service, with the List that its
asyncio version lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc_health.v1 import health, health_pb2

_messages: Any = health_pb2  # its type stubs do not know List


class Health(health.aio.HealthServicer):
    """Tells of `services`, which serve from the start until `enter_graceful_shutdown`."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__()
        self._services = tuple(services)

    async def open(self) -> None:
        for name in self._services:
            await self.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def List(self, request: Any, context: Any) -> Any:
        statuses = {
            name: await self.Check(health_pb2.HealthCheckRequest(service=name), context)
            for name in self._services
        }
        return _messages.HealthListResponse(statuses=statuses)
