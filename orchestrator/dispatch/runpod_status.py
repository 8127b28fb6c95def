"""How a RunPod endpoint is: asked of RunPod at most every few seconds, whoever asks us."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from apigpu.video.v1.video_service_pb2 import (
    BackendProblem,
    BackendStatus,
    EndpointConfiguration,
)

from apigpu_common.errors import ServiceError
from orchestrator.dispatch.runpod_api import RunpodApi
from orchestrator.dispatch.runpod_problems import problems
from orchestrator.jobs.prices import PriceList

log = logging.getLogger(__name__)

_KEPT_S = 5.0
# How the endpoint is set up changes by hand only.
_CONFIGURATION_KEPT_S = 60.0


class RunpodStatus:
    """Asks, and keeps the answer for a while. known: the newest answer."""

    def __init__(self, api: RunpodApi, prices: PriceList) -> None:
        self._api = api
        self._prices = prices
        self._lock = asyncio.Lock()
        self.known = BackendStatus()
        self._asked_at = -_KEPT_S
        self._configured_at = -_CONFIGURATION_KEPT_S

    async def get(self) -> BackendStatus:
        async with self._lock:  # who comes while we ask gets the same answer
            if time.monotonic() - self._asked_at >= _KEPT_S:
                self.known = await self._ask()
                self._asked_at = time.monotonic()
            return self.known

    async def _ask(self) -> BackendStatus:
        status = BackendStatus(backend="runpod", endpoint_id=self._api.endpoint_id)
        status.observe_time.GetCurrentTime()
        if self.known.HasField("configuration"):
            status.configuration.CopyFrom(self.known.configuration)
        try:
            _count(status, await self._api.health())
        except ServiceError as error:
            status.problems.add(
                severity=BackendProblem.ERROR, reason=error.reason, message=_what_to_do(error)
            )
            return status
        if time.monotonic() - self._configured_at >= _CONFIGURATION_KEPT_S:
            await self._configuration(status)
        status.problems.extend(problems(status, self._prices))
        return status

    async def _configuration(self, status: BackendStatus) -> None:
        self._configured_at = time.monotonic()
        try:
            told = await self._api.configuration()
        except ServiceError as error:  # such a key can do all else: nothing is wrong
            log.info("RunPod does not tell how the endpoint is set up: %s", error.message)
            return
        if told:
            status.configuration.CopyFrom(_read_configuration(told))


def _read_configuration(told: dict[str, Any]) -> EndpointConfiguration:
    """What of RunPod's answer is of use. Never its `env`: that may hold secrets."""
    found = EndpointConfiguration(
        display_name=str(told.get("name") or ""),
        min_workers=_number(told.get("workersMin")),
        max_workers=_number(told.get("workersMax")),
    )
    found.idle_timeout.FromSeconds(_number(told.get("idleTimeout")))
    if execution_ms := _number(told.get("executionTimeoutMs")):
        found.execution_timeout.FromMilliseconds(execution_ms)
    gpus = told.get("gpuTypeIds")
    if isinstance(gpus, list):
        found.gpu_types.extend(str(gpu) for gpu in gpus if gpu)
    return found


def _count(status: BackendStatus, health: dict[str, Any]) -> None:
    """Take over what /health tells. Tolerant: RunPod has added and left out counts before."""
    workers, jobs = _part(health, "workers"), _part(health, "jobs")
    for name in ("idle", "running", "initializing", "throttled", "unhealthy"):
        setattr(status.workers, name, _number(workers.get(name)))
    status.tasks.queued = _number(jobs.get("inQueue"))
    status.tasks.in_progress = _number(jobs.get("inProgress"))
    for name in ("completed", "failed", "retried"):
        setattr(status.tasks, name, _number(jobs.get(name)))


def _what_to_do(error: ServiceError) -> str:
    if error.reason == "RUNPOD_NOT_FOUND":
        return "RunPod knows no such endpoint: check RUNPOD_ENDPOINT_ID, or make one."
    return error.message


def _part(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found = answer.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return 0
    return min(value, 2**31 - 1)
