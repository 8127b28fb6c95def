"""`apigpu doctor`: is all in place, from the service to a finished clip, and if not, what to do."""

from __future__ import annotations

import asyncio
import json
import struct
import tempfile
import zlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import click
from apigpu.video.v1.job_pb2 import Item, Job
from apigpu.video.v1.operations_pb2 import Image, ImagesToVideos
from apigpu.video.v1.video_service_pb2 import BackendProblem, BackendStatus, ServerInfo
from rich.console import Console
from rich.table import Table
from rich.text import Text

from apigpu_client.cli import options as common
from apigpu_client.cli.exits import Exit
from apigpu_client.cli.options import Options, Session
from apigpu_client.client import VideoClient
from apigpu_client.errors import ApiGpuError, details_of

_WIDTH, _HEIGHT, _CLIP_S = 320, 180, 1
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}
# What keeps a worker from its input or its result from us: the address is wrong, or closed.
_UNREACHED = ("SOURCE_", "DELIVERY_", "TARGET_", "RESULT_MISSING")


@dataclass(frozen=True)
class Finding:
    """verdict: "warn" where work is done all the same. hint: what to do."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    message: str
    hint: str = ""


@click.command()
@click.option("--no-job", is_flag=True, help="Make no test clip: it costs a second of GPU.")
@click.option(
    "--timeout", default=600.0, show_default=True, help="Longest wait for the clip, in seconds."
)
@common.everywhere
@click.pass_obj
def doctor(options: Options, no_job: bool, timeout: float) -> None:
    """Check the service, its backend and a whole round trip; say what to do where one fails."""

    async def work(session: Session) -> Exit:
        failed = False
        async for finding in examine(session.client, None if no_job else timeout):
            _show(finding, session.console, as_json=options.as_json)
            failed |= finding.verdict == "fail"
        return Exit.FAILED if failed else Exit.DONE

    common.run(options, work)


async def examine(client: VideoClient, job_timeout_s: float | None) -> AsyncIterator[Finding]:
    """The findings, one after the other. job_timeout_s: None leaves out the round trip."""
    info = await client.server_info()
    yield _service(info)
    status = await client.backend_status()
    broken = False
    for finding in [*_backend(status), *_workers(info)]:
        broken |= finding.verdict == "fail"
        yield finding
    if broken or job_timeout_s is None:
        return
    with tempfile.TemporaryDirectory(prefix="apigpu-doctor-") as folder:
        try:
            async with asyncio.timeout(job_timeout_s):
                async for finding in _round_trip(client, info, Path(folder)):
                    yield finding
        except TimeoutError:
            hint = "see `apigpu backend`: are there workers, and do they start?"
            yield Finding("round trip", "fail", f"no clip after {job_timeout_s:.0f} s", hint)


def _service(info: ServerInfo) -> Finding:
    ours = version("api-gpu")
    if info.version != ours:
        message = f"version {info.version}, this command is {ours}"
        return Finding("service", "warn", message, "install the same version of both")
    return Finding("service", "ok", f"version {info.version}, backend {info.backend}")


def _backend(status: BackendStatus) -> list[Finding]:
    """Key and endpoint, and whatever the service knows to be wrong."""
    if status.backend != "runpod":
        return []
    wrong = {problem.reason for problem in status.problems}
    found = []
    if "RUNPOD_KEY_REFUSED" not in wrong and "RUNPOD_UNAVAILABLE" not in wrong:
        found.append(Finding("key", "ok", "RunPod takes it"))
        if "RUNPOD_NOT_FOUND" not in wrong:
            found.append(Finding("endpoint", "ok", _endpoint(status)))
    for problem in status.problems:
        check = "key" if problem.reason == "RUNPOD_KEY_REFUSED" else "endpoint"
        verdict: Literal["warn", "fail"] = (
            "fail" if problem.severity == BackendProblem.ERROR else "warn"
        )
        found.append(Finding(check, verdict, problem.reason, problem.message))
    return found


def _endpoint(status: BackendStatus) -> str:
    told = f"{status.endpoint_id}: {status.tasks.queued} jobs wait, {status.workers.running} run"
    if status.HasField("configuration"):
        known = status.configuration
        idle_s = known.idle_timeout.seconds
        told += f"; up to {known.max_workers} workers, kept {idle_s} s without work"
    return told


def _workers(info: ServerInfo) -> list[Finding]:
    """Of backends whose workers can be asked without a job."""
    if info.backend == "runpod":
        return []
    if not info.workers:
        hint = "start one (`python -m gpu_worker`), or look at the service's log"
        return [Finding("workers", "fail", "none answers", hint)]
    return [Finding("workers", "ok", f"{len(info.workers)} answer")]


async def _round_trip(
    client: VideoClient, info: ServerInfo, folder: Path
) -> AsyncIterator[Finding]:
    picture = folder / "doctor.png"
    picture.write_bytes(_png())
    try:
        (source,) = await client.sources([picture])
        yield Finding("upload", "ok", "the service stores files")
        images = ImagesToVideos(width=_WIDTH, height=_HEIGHT)
        images.images.append(Image(id="doctor", image=source))
        images.images[0].duration.seconds = _CLIP_S
        job = await _done(client, Job(images_to_videos=images, labels={"made-by": "doctor"}))
        for finding in _findings(job, info):
            yield finding
        if job.state == Job.SUCCEEDED:
            await client.download(job.items[0].output.file, folder / "doctor.mp4")
            yield Finding("download", "ok", "the clip arrived here whole (SHA-256 compared)")
        await client.delete_job(job.name)
        await client.delete_file(source.file)
    except ApiGpuError as error:
        yield Finding("round trip", "fail", str(error), error.details.reason)


async def _done(client: VideoClient, job: Job) -> Job:
    """The job when it has ended. Nobody waits for it any more where this is cancelled."""
    created = await client.create_job(job)
    try:
        async for event in client.watch(created.name):
            if event.HasField("finished"):
                return event.finished
    except asyncio.CancelledError:
        await client.cancel_job(created.name)
        raise
    raise AssertionError("watch ends with `finished`, or raises")


def _findings(job: Job, info: ServerInfo) -> list[Finding]:
    """What a finished job shows of the worker and of the ways to it."""
    found = [_worker_version(job, info), _gpu(job)]
    (item,) = job.items
    if item.state != Item.SUCCEEDED:
        reason = details_of(item.error).reason
        check = "storage" if reason.startswith(_UNREACHED) else "round trip"
        hint = (
            "workers must reach APIGPU_PUBLIC_URL, or the object store, from where they are"
            if check == "storage"
            else "see the service's log, and the worker's"
        )
        return [*found, Finding(check, "fail", f"{item.error.message} [{reason}]", hint)]
    encoder = item.output.encoder
    if encoder.reason:
        hint = "fine without a GPU; else choose one with NVENC (docs/runpod.md)"
        found.append(Finding("encoder", "warn", f"{encoder.used}: {encoder.reason}", hint))
    else:
        found.append(Finding("encoder", "ok", encoder.used))
    found.append(Finding("storage", "ok", "the worker got its input and brought its result"))
    return [*found, Finding("round trip", "ok", _took(job))]


def _worker_version(job: Job, info: ServerInfo) -> Finding:
    told = job.attempts[-1].worker_version if job.attempts else ""
    told = told or next((worker.version for worker in info.workers), "")
    if not told:
        return Finding("worker", "warn", "it does not tell its version", "update its image")
    if told != info.version:
        hint = "have the endpoint use the image of the service's version"
        return Finding("worker", "fail", f"version {told}, the service is {info.version}", hint)
    return Finding("worker", "ok", f"version {told}")


def _gpu(job: Job) -> Finding:
    gpu = job.attempts[-1].gpu if job.attempts else ""
    if gpu:
        return Finding("GPU", "ok", gpu)
    return Finding("GPU", "warn", "none: everything is done in software", "fine on this machine")


def _took(job: Job) -> str:
    took = job.end_time.ToDatetime() - job.create_time.ToDatetime()
    told = f"a clip in {took.total_seconds():.1f} s"
    stats = job.stats
    if stats.HasField("queue_time"):
        told += f", {stats.queue_time.ToNanoseconds() / 1e9:.1f} s of it waiting for a worker"
    if stats.HasField("cold_start_time"):
        told += f" ({stats.cold_start_time.ToNanoseconds() / 1e9:.1f} s of that its start)"
    if stats.HasField("cost_micros"):
        told += f", ${stats.cost_micros / 1e6:.6f}"
    return told


def _show(finding: Finding, console: Console, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(finding)), flush=True)
        return
    mark, style = _MARKS[finding.verdict]
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=1)
    row.add_column(width=11)
    row.add_column(overflow="fold")
    row.add_row(Text(mark, style), finding.check, Text(finding.message))
    if finding.hint:
        row.add_row("", "", Text(finding.hint, "dim"))
    console.print(row)


def _png() -> bytes:
    """A small picture, made without any library for pictures."""
    rows = b"".join(
        b"\0" + bytes(value for x in range(_WIDTH) for value in (x % 256, y, 128))
        for y in range(_HEIGHT)
    )
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
