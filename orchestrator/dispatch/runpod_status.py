"""How a RunPod endpoint is: asked of RunPod at most every few seconds, whoever asks us."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from apigpu.video.v1.video_service_pb2 import BackendProblem, BackendStatus

from apigpu_common.errors import ServiceError
from orchestrator.dispatch.runpod_api import RunpodApi

_KEPT_S = 5.0


class RunpodStatus:
    """Asks, and keeps the answer for a while."""

    def __init__(self, api: RunpodApi) -> None:
        self._api = api
        self._lock = asyncio.Lock()
        self.known = BackendStatus()
        self._asked_at = -_KEPT_S

    async def get(self) -> BackendStatus:
        async with self._lock:  # who comes while we ask gets the same answer
            if time.monotonic() - self._asked_at >= _KEPT_S:
                self.known = await self._ask()
                self._asked_at = time.monotonic()
            return self.known

    async def _ask(self) -> BackendStatus:
        status = BackendStatus(backend="runpod", endpoint_id=self._api.endpoint_id)
        status.observe_time.GetCurrentTime()
        try:
            _count(status, await self._api.health())
        except ServiceError as error:
            status.problems.add(
                severity=BackendProblem.ERROR, reason=error.reason, message=error.message
            )
        return status


def _count(status: BackendStatus, health: dict[str, Any]) -> None:
    """Take over what /health tells. Tolerant: RunPod has added and left out counts before."""
    workers, jobs = _part(health, "workers"), _part(health, "jobs")
    for name in ("idle", "running", "initializing", "throttled", "unhealthy"):
        setattr(status.workers, name, _number(workers.get(name)))
    status.tasks.queued = _number(jobs.get("inQueue"))
    status.tasks.in_progress = _number(jobs.get("inProgress"))
    for name in ("completed", "failed", "retried"):
        setattr(status.tasks, name, _number(jobs.get(name)))


def _part(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found = answer.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
