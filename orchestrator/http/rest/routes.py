"""The REST paths: each handler translates a request into calls of the service, and its answer
back. The table at the end is both the router's and the description's (`openapi.py`)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.video_service_pb2 import BackendStatus
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator import ids
from orchestrator.http.calls import CallContext, Caller, CallRefused, Calls
from orchestrator.http.rest import answers, models, requests
from orchestrator.http.rest.answers import Link
from orchestrator.http.waiting import Answer, PatientResponse

_MAX_BODY_BYTES = 4 * 1024 * 1024  # as for a gRPC message

Endpoint = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True)
class Facts:
    """What the paths tell of this service's configuration."""

    runpod_endpoint_id: str
    runpod_idle_timeout_s: int
    runpod_max_timeout_s: int
    # How long a caller who waits for a job is left without a byte.
    patience_s: float


@dataclass(frozen=True)
class Operation:
    """A path and method, how it is served, and what it takes and gives."""

    method: str
    path: str
    endpoint: Endpoint
    summary: str
    answers: Mapping[int, type[BaseModel]]
    body: type[BaseModel] | None = None
    open: bool = False  # to callers without a key


class RestDoor:
    """Serves the REST paths by calls of the service."""

    def __init__(self, calls: Calls, link: Link, facts: Facts) -> None:
        self._calls = calls
        self._link = link
        self._facts = facts
        self._started_at = time.monotonic()
        self.operations = _table(self)

    def routes(self) -> list[Route]:
        return [
            Route(_starlette(one.path), one.endpoint, methods=[one.method])
            for one in self.operations
        ]

    async def index(self, request: Request) -> Response:
        called = await self._call(
            "GetServerInfo", video_service_pb2.GetServerInfoRequest(), request
        )
        if isinstance(called, Answer):
            return _response(called)
        paths = {f"{one.method} {one.path}": one.summary for one in self.operations}
        return JSONResponse(
            {"message": "API GPU Orchestrator", "version": called.version, "endpoints": paths}
        )

    async def health(self, request: Request) -> Response:
        return JSONResponse(
            {
                "status": "healthy",
                "service": "AutoDark Orchestrator",  # the name that monitors look for
                "timestamp": answers.iso(datetime.now(UTC)),
                "uptime": int(time.monotonic() - self._started_at),
                "runpod": {"configured": bool(self._facts.runpod_endpoint_id)},
            }
        )

    async def caption(self, request: Request) -> Any:
        return await self._make(request, requests.caption)

    async def img2vid(self, request: Request) -> Any:
        return await self._make(request, requests.images)

    async def addaudio(self, request: Request) -> Any:
        return await self._make(request, requests.add_audio)

    async def runpod_health(self, request: Request) -> Response:
        status = await self._backend_status(request)
        if isinstance(status, Answer) and status.status != 503:
            return _response(status)
        if trouble := answers.trouble(None if isinstance(status, Answer) else status):
            return JSONResponse({"status": "unhealthy", "error": trouble}, 503)
        return JSONResponse(
            {
                "status": "healthy",
                "endpoint": "RunPod Serverless",
                "timestamp": answers.iso(datetime.now(UTC)),
            }
        )

    async def runpod_config(self, request: Request) -> Response:
        status = await self._backend_status(request)
        if isinstance(status, Answer):
            return _response(status)
        idle_s = status.configuration.idle_timeout.seconds or self._facts.runpod_idle_timeout_s
        most_s = status.configuration.execution_timeout.seconds or self._facts.runpod_max_timeout_s
        return JSONResponse(
            {"endpointId": status.endpoint_id, "idleTimeout": idle_s, "maxTimeout": most_s}
        )

    async def _backend_status(self, request: Request) -> BackendStatus | Answer:
        asked = video_service_pb2.GetBackendStatusRequest()
        status: BackendStatus | Answer = await self._call("GetBackendStatus", asked, request)
        return status

    async def job(self, request: Request) -> Response:
        get = video_service_pb2.GetJobRequest(name=_job_name(request))
        called = await self._call("GetJob", get, request)
        if isinstance(called, Answer):
            return _response(_of_a_job(called))
        return JSONResponse(answers.state(called, await answers.links_of(called, self._link)))

    async def cancel(self, request: Request) -> Response:
        cancel = video_service_pb2.CancelJobRequest(name=_job_name(request))
        called = await self._call("CancelJob", cancel, request)
        if isinstance(called, Answer):
            return _response(_of_a_job(called))
        job_id = ids.id_of(called.name)
        if called.state not in (Job.CANCELLING, Job.CANCELLED):
            told = {"error": "Failed to cancel job", "message": answers.ALREADY_COMPLETED}
            return JSONResponse(told, 500)
        return JSONResponse({"message": "Job cancelled successfully", "jobId": job_id})

    async def _make(self, request: Request, translate: requests.Translate) -> Any:
        """Create the job, and answer when it has ended."""
        try:
            asked = requests.read(await _body(request), translate)
        except _TooLongError:
            told = f"The request body must have at most {_MAX_BODY_BYTES} bytes"
            return JSONResponse({"error": "Payload too large", "message": told}, 413)
        create = video_service_pb2.CreateJobRequest(
            job=asked.job, request_id=request.headers.get("idempotency-key", "")
        )
        called = await self._call("CreateJob", create, request, asked.complaint)
        if isinstance(called, Answer):
            return _response(called)
        job_id = ids.id_of(called.name)
        return PatientResponse(
            self._finished(called.name, request),
            {"x-job-id": job_id, "location": f"/job/{job_id}"},
            self._facts.patience_s,
        )

    async def _finished(self, name: str, request: Request) -> Answer:
        watch = video_service_pb2.WatchJobRequest(name=name)
        try:
            async for event in self._calls.stream("WatchJob", watch, _context(request)):
                if event.HasField("finished"):
                    job = event.finished
                    return answers.finished(job, await answers.links_of(job, self._link))
        except CallRefused as refused:
            told = answers.refusal(refused)
            body = {**told.body, "code": told.status, "jobId": ids.id_of(name)}
            return Answer(told.status, body, told.headers)
        raise AssertionError("a watch ended without its last event")

    async def _call(self, method: str, message: Any, request: Request, complaint: str = "") -> Any:
        """What the service answers, or the Answer to a call that it refuses."""
        try:
            return await self._calls.unary(method, message, _context(request))
        except CallRefused as refused:
            return answers.refusal(refused, complaint)


def _table(door: RestDoor) -> tuple[Operation, ...]:
    error = models.Error
    refused = {401: error, 429: error}
    waited = {
        **refused,
        400: error,
        409: error,
        413: error,
        500: models.Failure,
        503: models.Failure,
    }
    of_a_job = {**refused, 404: error}
    video, videos = models.VideoResponse, models.Img2VidResponse
    return (
        Operation("GET", "/health", door.health, "Health check", {200: models.Health}, open=True),
        Operation("GET", "/", door.index, "What this API offers", {**refused, 200: models.Index}),
        Operation(
            *("POST", "/video/caption", door.caption, "Add SRT captions to a video"),
            answers={**waited, 200: video},
            body=models.CaptionRequest,
        ),
        Operation(
            *("POST", "/video/img2vid", door.img2vid, "Turn images into videos (batch)"),
            answers={**waited, 200: videos},
            body=models.Img2VidRequest,
        ),
        Operation(
            *("POST", "/video/addaudio", door.addaudio, "Add or replace a video's audio"),
            answers={**waited, 200: video},
            body=models.AddAudioRequest,
        ),
        Operation(
            *("GET", "/runpod/health", door.runpod_health, "State of the RunPod endpoint"),
            answers={**refused, 200: models.RunpodHealth, 503: models.RunpodUnhealthy},
        ),
        Operation(
            *("GET", "/runpod/config", door.runpod_config, "Configuration of RunPod"),
            answers={**refused, 200: models.RunpodConfig},
        ),
        Operation(
            *("GET", "/job/:jobId", door.job, "State of a job"),
            answers={**of_a_job, 200: models.JobState},
        ),
        Operation(
            *("POST", "/job/:jobId/cancel", door.cancel, "Cancel a job"),
            answers={**of_a_job, 200: models.Cancelled, 500: error},
        ),
    )


class _TooLongError(Exception):
    """A request body beyond the limit."""


async def _body(request: Request) -> bytes:
    read = bytearray()
    async for chunk in _chunks(request):
        read += chunk
        if len(read) > _MAX_BODY_BYTES:
            raise _TooLongError
    return bytes(read)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:  # nobody reads the answer; what came is no whole body
        return


def _context(request: Request) -> CallContext:
    client = request.client
    address = f"{client.host}:{client.port}" if client else ""
    return CallContext(Caller.over_http(request.headers.items(), address))


def _starlette(path: str) -> str:
    return path.replace(":jobId", "{jobId}")


def _job_name(request: Request) -> str:
    return ids.job_name(request.path_params["jobId"])


def _of_a_job(refused: Answer) -> Answer:
    """An id that cannot be one of ours does not exist either."""
    if refused.status in (400, 404):
        return Answer(404, {**answers.JOB_UNKNOWN, "reason": "JOB_NOT_FOUND"})
    return refused


def _response(answer: Answer) -> Response:
    return JSONResponse(answer.body, answer.status, answer.headers)
