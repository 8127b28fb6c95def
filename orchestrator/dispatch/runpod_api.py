"""RunPod's HTTP API for one endpoint: each answer checked, each call with a deadline, all calls
together within the platform's rate limits."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from google.rpc import code_pb2

from apigpu_common.errors import InternalError, NotFound, ServiceError, Unavailable
from orchestrator import metrics
from orchestrator.dispatch.call_budget import CallBudget

# The platform refuses a longer body of /run, and keeps no longer output.
_MAX_PAYLOAD_BYTES = 10 * 1000 * 1000
_MAX_ANSWER_BYTES = 3 * _MAX_PAYLOAD_BYTES
# On top of what the platform may hold a call for.
_TIMEOUT_S = 20.0
# It keeps results for 30 minutes: to ask for longer would be of no use.
_PATIENCE_S = 25 * 60.0
# Somebody waits for the cancel, and its time limit ends the job all the same.
_CANCEL_PATIENCE_S = 30.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 10.0


class NotDone(Unavailable):
    """It is certain that RunPod has not done what was asked: 429, or not reached at all."""


class KeyRefused(ServiceError):
    """RunPod does not take our key."""

    def __init__(self) -> None:
        super().__init__(
            code_pb2.FAILED_PRECONDITION,
            "RUNPOD_KEY_REFUSED",
            "RunPod refuses the key of this service: its operator must check RUNPOD_API_KEY.",
        )


@dataclass(frozen=True)
class RemoteJob:
    """A job as RunPod tells of it. outputs: what its worker has yielded, maybe in part."""

    id: str
    status: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    queue_ms: int | None = None
    execution_ms: int | None = None
    worker_id: str = ""
    error: str = ""


class RunpodApi:
    """Use between `open` and `close`. patience_s: how long what may be asked again is asked again
    before it is given up."""

    def __init__(
        self,
        base_url: str,
        rest_url: str,
        endpoint_id: str,
        key: str,
        *,
        budget: CallBudget | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.endpoint_id = endpoint_id
        self.budget = budget or CallBudget()
        self._url = f"{base_url.rstrip('/')}/{endpoint_id}"
        self._rest_url = f"{rest_url.rstrip('/')}/endpoints/{endpoint_id}" if rest_url else ""
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._patience_s = patience_s

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(headers=self._headers)

    async def close(self) -> None:
        await self._session.close()

    async def run(self, task: dict[str, Any], execution_s: float, ttl_s: float) -> str:
        """Queue a job; returns its id. Repeated only where it is certain that there is none: a
        lost answer may hide one."""
        policy = {"executionTimeout": int(execution_s * 1000), "ttl": int(ttl_s * 1000)}
        body = json.dumps({"input": task, "policy": policy}).encode()
        if len(body) > _MAX_PAYLOAD_BYTES:
            raise _too_large()
        answer = await self._repeat("POST", "run", body, again=NotDone)
        if not isinstance(answer.get("id"), str) or not answer["id"]:
            raise _away("RunPod did not say which job it made.")
        return str(answer["id"])

    async def news(self, job_id: str) -> RemoteJob:
        """What the job has yielded since this was last asked; waits a while for some."""
        hold_s = self.budget.hold_s
        path = f"stream/{job_id}?wait={int(hold_s * 1000)}"
        return _job(await self._repeat("GET", path, hold_s=hold_s), "stream")

    async def status(self, job_id: str) -> RemoteJob:
        """The job, and all of its outputs once it is completed."""
        return _job(await self._repeat("GET", f"status/{job_id}"), "output")

    async def cancel(self, job_id: str) -> None:
        await self._repeat("POST", f"cancel/{job_id}", patience_s=_CANCEL_PATIENCE_S)

    async def health(self) -> dict[str, Any]:
        """The endpoint's workers and jobs, counted by state."""
        return await self._ask("GET", "health")

    async def configuration(self) -> dict[str, Any]:
        """How the endpoint is set up: rest.runpod.io, which may need a key with more rights.
        Empty where there is no such API."""
        if not self._rest_url:
            return {}
        return await self._fetch("configuration", "GET", self._rest_url, None, 0.0)

    async def _repeat(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        hold_s: float = 0.0,
        patience_s: float | None = None,
        again: type[ServiceError] | tuple[type[ServiceError], ...] = (Unavailable, KeyRefused),
    ) -> dict[str, Any]:
        """A call that is made again after the errors `again`, until it is answered or our
        patience ends. A refused key is one: whoever changes it starts us anew, and work that
        goes on at RunPod must not be lost for that."""
        patience_s = self._patience_s if patience_s is None else patience_s
        give_up_at, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return await self._ask(method, path, body, hold_s)
            except again:
                if time.monotonic() + pause_s > give_up_at:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, hold_s: float = 0.0
    ) -> dict[str, Any]:
        kind = path.partition("/")[0]
        async with self.budget.call(kind):
            try:
                return await self._fetch(kind, method, f"{self._url}/{path}", body, hold_s)
            except _TooMany as error:
                self.budget.close(kind, error.retry_after_s or _FIRST_PAUSE_S)
                raise

    async def _fetch(
        self, kind: str, method: str, url: str, body: bytes | None, hold_s: float
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S + hold_s)
        began, status = time.perf_counter(), "no answer"
        try:
            async with self._session.request(method, url, data=body, timeout=timeout) as response:
                status = str(response.status)
                _check(response)
                answer = json.loads(await _read(response))
        except aiohttp.ClientConnectorError as error:
            raise NotDone("RUNPOD_UNAVAILABLE", "RunPod cannot be reached.") from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _away(f"RunPod's answer was lost ({type(error).__name__}).") from error
        finally:
            call = {"apigpu.call": kind, "http.response.status_code": status}
            metrics.RUNPOD.record(time.perf_counter() - began, call)
        if not isinstance(answer, dict):
            raise _away("RunPod's answer is not understood.")
        return answer


class _TooMany(NotDone):
    """429."""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise ValueError("longer than any answer should be")
    return bytes(body)


def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what a status means: trouble that passes, or trouble that stays."""
    status = response.status
    if status in (401, 403):
        raise KeyRefused
    if status == 404:
        raise NotFound("RUNPOD_NOT_FOUND", "RunPod knows no such endpoint or job (any more).")
    if status == 413:
        raise _too_large()
    if status == 429:
        wait = response.headers.get("Retry-After", "")
        wait_s = min(float(wait), _MAX_PAUSE_S) if wait.isdecimal() else 0.0
        raise _TooMany("RUNPOD_BUSY", "RunPod answers 429: too many calls.", retry_after_s=wait_s)
    if status >= 500 or status < 200:
        raise _away(f"RunPod answers {status}.")
    if status >= 300:
        raise InternalError("RUNPOD_REFUSED", f"RunPod refused the request ({status}).")


def _away(message: str) -> Unavailable:
    return Unavailable("RUNPOD_UNAVAILABLE", message)


def _too_large() -> ServiceError:
    return InternalError(
        "PAYLOAD_TOO_LARGE",
        "The task is too long for RunPod's limit of 10 MB: set APIGPU_MAX_ITEMS_PER_TASK lower.",
    )


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
        worker_id=str(answer.get("workerId") or ""),
        error=str(answer.get("error") or ""),
    )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e15 else None
