"""Jobs and refusals in the words of the REST paths."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from apigpu.video.v1.job_pb2 import Item, Job, Output
from apigpu.video.v1.video_service_pb2 import BackendProblem, BackendStatus
from google.protobuf import timestamp_pb2
from google.rpc import code_pb2, status_pb2

from apigpu_common.errors import reason_of
from orchestrator import ids
from orchestrator.http.calls import CallRefused, blamed_by
from orchestrator.http.rest import requests
from orchestrator.http.waiting import Answer

# Where a client fetches an output.
Link = Callable[[Output], Awaitable[str]]
Links = Mapping[str, str]  # by the file's name

JOB_UNKNOWN: Mapping[str, str] = {"error": "Job not found", "message": "Job ID does not exist"}
ALREADY_COMPLETED = "Job is already completed"
DONE = {
    "caption": "Video caption added successfully",
    "add_audio": "Video addaudio completed successfully",
    "images_to_videos": "Images converted to videos successfully",
}
_STATUS = {
    Job.QUEUED: "IN_QUEUE",
    Job.RUNNING: "IN_PROGRESS",
    Job.CANCELLING: "IN_PROGRESS",
    Job.SUCCEEDED: "COMPLETED",
    Job.PARTIALLY_SUCCEEDED: "COMPLETED",
    Job.FAILED: "FAILED",
    Job.CANCELLED: "CANCELLED",
}
_REFUSED = {
    code_pb2.INVALID_ARGUMENT: (400, "Bad Request"),
    code_pb2.OUT_OF_RANGE: (400, "Bad Request"),
    code_pb2.FAILED_PRECONDITION: (409, "Conflict"),
    code_pb2.ALREADY_EXISTS: (409, "Conflict"),
    code_pb2.UNAUTHENTICATED: (401, "Unauthorized"),
    code_pb2.PERMISSION_DENIED: (403, "Forbidden"),
    code_pb2.NOT_FOUND: (404, "Not found"),
    code_pb2.RESOURCE_EXHAUSTED: (429, "Too many requests"),
    code_pb2.UNIMPLEMENTED: (501, "Not implemented"),
    code_pb2.UNAVAILABLE: (503, "Service unavailable"),
    code_pb2.DEADLINE_EXCEEDED: (504, "Timeout"),
}


def refusal(refused: CallRefused, complaint: str = "") -> Answer:
    """A call that was not accepted. complaint: better words where the request is to blame."""
    status, error = _REFUSED.get(refused.status.code, (500, "Internal server error"))
    message = complaint if complaint and status == 400 else _message(refused.status)
    if status == 401:
        message = "Invalid or missing API key"
    headers = {}
    if refused.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(refused.retry_after_s))
    return Answer(status, {"error": error, "message": message, **_why(refused.status)}, headers)


async def links_of(job: Job, link: Link) -> Links:
    """Where the job's outputs can be fetched."""
    outputs = [item.output for item in job.items if item.state == Item.SUCCEEDED]
    return {output.file: await link(output) for output in outputs}


def finished(job: Job, links: Links) -> Answer:
    """What a caller is told who has waited for the job."""
    if job.state not in (Job.SUCCEEDED, Job.PARTIALLY_SUCCEEDED):
        return Answer(500, {**failure(job), "code": 500, "jobId": ids.id_of(job.name)})
    operation = job.WhichOneof("operation") or ""
    stats: dict[str, Any] = {"jobId": ids.id_of(job.name), **times(job)}
    if operation == "images_to_videos":
        done = sum(item.state == Item.SUCCEEDED for item in job.items)
        stats |= {"total": len(job.items), "processed": done}
    body = {
        "code": 200,
        "message": DONE[operation],
        **output(job, links),
        "execution": _execution(job),
        "stats": stats,
    }
    return Answer(200, body)


def failure(job: Job) -> dict[str, Any]:
    """Why there is no result."""
    # A job with one item fails for that item's reason.
    errors = [item.error for item in job.items if item.HasField("error")]
    status = errors[0] if len(job.items) == 1 and errors else job.error
    return {"error": "Processing failed", "message": _message(status), **_why(status)}


def output(job: Job, links: Links) -> dict[str, Any]:
    """The results that are there, and which are not."""
    done = [item for item in job.items if item.state == Item.SUCCEEDED]
    if job.WhichOneof("operation") != "images_to_videos":
        return {"video_url": links[done[0].output.file]} if done else {}
    told: dict[str, Any] = {
        "videos": [{"id": item.id, "video_url": links[item.output.file]} for item in done]
    }
    failed = [item for item in job.items if item.state == Item.FAILED]
    if failed:
        told["failed"] = [
            {"id": item.id, "message": _message(item.error), **_why(item.error)} for item in failed
        ]
    return told


def state(job: Job, links: Links) -> dict[str, Any]:
    """A job as RunPod would tell of it."""
    told: dict[str, Any] = {"id": ids.id_of(job.name), "status": _STATUS[job.state], **times(job)}
    if job.state in (Job.SUCCEEDED, Job.PARTIALLY_SUCCEEDED):
        told["output"] = output(job, links)
    elif job.state == Job.FAILED:
        told["error"] = failure(job)["message"]
    return told


def trouble(status: BackendStatus | None) -> str:
    """What keeps RunPod from doing work. Empty: nothing does. None: it could not be asked."""
    if status is None:
        return "RunPod endpoint not responding"
    if not status.endpoint_id:
        return "RunPod is not configured: set RUNPOD_API_KEY and RUNPOD_ENDPOINT_ID"
    errors = [one for one in status.problems if one.severity == BackendProblem.ERROR]
    return errors[0].message if errors else ""


def times(job: Job) -> dict[str, int]:
    """Milliseconds in the queue and at work, as far as known."""
    told = {}
    if job.HasField("start_time"):
        told["delayTime"] = _ms(job.start_time) - _ms(job.create_time)
        if job.HasField("end_time"):
            told["executionTime"] = _ms(job.end_time) - _ms(job.start_time)
    return told


def iso(at: datetime) -> str:
    """A time as JavaScript writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _execution(job: Job) -> dict[str, Any]:
    duration_ms = _ms(job.end_time) - _ms(job.create_time)
    seconds = duration_ms / 1000
    return {
        "startTime": iso(job.create_time.ToDatetime(UTC)),
        "endTime": iso(job.end_time.ToDatetime(UTC)),
        "durationMs": duration_ms,
        "durationSeconds": int(seconds) if seconds.is_integer() else seconds,
    }


def _ms(at: timestamp_pb2.Timestamp) -> int:
    return at.ToMilliseconds()


def _message(status: status_pb2.Status) -> str:
    """The status's message, with the field that it begins with in this door's words."""
    field, colon, rest = status.message.partition(": ")
    return f"{requests.word(field)}{colon}{rest}"


def _why(status: status_pb2.Status) -> dict[str, str]:
    """What a program can act on: a stable reason, and the field to blame."""
    why = {"reason": reason_of(status)}
    fields = blamed_by(status)
    if fields:
        why["field"] = requests.word(fields[0])
    return why
