"""RunPod's HTTP API for one endpoint: each answer checked, each call with a deadline, all calls
together within the platform's rate limits."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiolimiter import AsyncLimiter
from google.rpc import code_pb2

from apigpu_common.errors import InternalError, NotFound, ServiceError, Unavailable
from orchestrator import metrics

# The platform refuses a longer body of /run.
_MAX_PAYLOAD_BYTES = 10 * 1000 * 1000
# Of 2000 requests in 10 s and 400 at the same time that it allows, we leave half to others.
_RATE = 1000, 10.0
_CONCURRENT = 200
_TIMEOUT_S = 20.0
# How long it holds a call for news of a job.
_HOLD_S = 10.0
_MOST_TRIES = 8
_MAX_PAUSE_S = 10.0


@dataclass(frozen=True)
class RemoteJob:
    """A job as RunPod tells of it. outputs: what its worker has yielded, maybe in part."""

    id: str
    status: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    queue_ms: int | None = None
    execution_ms: int | None = None


class RunpodApi:
    """Use between `open` and `close`."""

    def __init__(self, base_url: str, endpoint_id: str, key: str) -> None:
        self.endpoint_id = endpoint_id
        self._url = f"{base_url.rstrip('/')}/{endpoint_id}"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._rate = AsyncLimiter(*_RATE)
        self._concurrent = asyncio.Semaphore(_CONCURRENT)

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
        )

    async def close(self) -> None:
        await self._session.close()

    async def run(self, task: dict[str, Any], execution_s: float, ttl_s: float) -> str:
        """Queue a job; returns its id. Never repeated here: a lost answer may hide a job."""
        policy = {"executionTimeout": int(execution_s * 1000), "ttl": int(ttl_s * 1000)}
        body = json.dumps({"input": task, "policy": policy}).encode()
        if len(body) > _MAX_PAYLOAD_BYTES:
            raise InternalError("PAYLOAD_TOO_LARGE", "The task is too long for RunPod.")
        answer = await self._ask("POST", "run", body)
        if not isinstance(answer.get("id"), str):
            raise _away("RunPod did not say which job it made.")
        return str(answer["id"])

    async def news(self, job_id: str) -> RemoteJob:
        """What the job has yielded since this was last asked; waits a while for some."""
        hold_ms = int(_HOLD_S * 1000)
        return _job(await self._repeat("GET", f"stream/{job_id}?wait={hold_ms}"), "stream")

    async def status(self, job_id: str) -> RemoteJob:
        """The job, and all of its outputs once it is completed."""
        return _job(await self._repeat("GET", f"status/{job_id}"), "output")

    async def cancel(self, job_id: str) -> None:
        await self._repeat("POST", f"cancel/{job_id}")

    async def health(self) -> dict[str, Any]:
        """The endpoint's workers and jobs, counted by state."""
        return await self._ask("GET", "health")

    async def _repeat(self, method: str, path: str) -> dict[str, Any]:
        """A call that may be made again, until it is answered or the limit is reached."""
        for number in range(1, _MOST_TRIES):
            try:
                return await self._ask(method, path)
            except Unavailable:
                await asyncio.sleep(min(0.25 * 2.0**number, _MAX_PAUSE_S))
        return await self._ask(method, path)

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        async with self._concurrent, self._rate:
            began, status = time.perf_counter(), "no answer"
            try:
                async with self._session.request(
                    method,
                    f"{self._url}/{path}",
                    data=body,
                    headers={"Content-Type": "application/json"},
                ) as response:
                    status = str(response.status)
                    _check(response.status)
                    answer = json.loads(await response.read())
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise _away(f"RunPod cannot be reached ({type(error).__name__}).") from error
            finally:
                call = {"apigpu.call": path.partition("/")[0], "http.response.status_code": status}
                metrics.RUNPOD.record(time.perf_counter() - began, call)
        if not isinstance(answer, dict):
            raise _away("RunPod's answer is not understood.")
        return answer


def _check(status: int) -> None:
    """Raise what a status means: trouble that passes, or trouble that stays."""
    if status in (401, 403):
        raise ServiceError(
            code_pb2.FAILED_PRECONDITION,
            "RUNPOD_KEY_REFUSED",
            "RunPod refuses the key of this service: its operator must check RUNPOD_API_KEY.",
        )
    if status == 404:
        raise NotFound("RUNPOD_NOT_FOUND", "RunPod knows no such endpoint or job (any more).")
    if status == 429 or status >= 500:
        raise _away(f"RunPod answers {status}.")
    if status >= 400:
        raise InternalError("RUNPOD_REFUSED", f"RunPod refused the request ({status}).")


def _away(message: str) -> Unavailable:
    return Unavailable("RUNPOD_UNAVAILABLE", message)


def _job(answer: dict[str, Any], outputs: str) -> RemoteJob:
    """Tolerant: what is missing or of another kind is left out."""
    found = answer.get(outputs)
    parts = found if isinstance(found, list) else []
    if outputs == "stream":
        parts = [part.get("output") for part in parts if isinstance(part, dict)]
    return RemoteJob(
        id=str(answer.get("id", "")),
        status=str(answer.get("status", "")),
        outputs=[part for part in parts if isinstance(part, dict)],
        queue_ms=_number(answer.get("delayTime")),
        execution_ms=_number(answer.get("executionTime")),
    )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value >= 0 else None
