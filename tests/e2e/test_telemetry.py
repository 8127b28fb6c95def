"""One job as it is seen from outside: its trace, its metrics, its log."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from apigpu.video.v1 import job_pb2, operations_pb2
from apigpu.video.v1.job_pb2 import Job
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests import requests, runpod_jobs
from tests.otlp import Collected, collector
from tests.runpod_emulator import Cloud, running
from tests.services import Process, connect, free_port, process

ROOT = Path(__file__).resolve().parents[2]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture(params=["child", "runpod"])
def backend(request: pytest.FixtureRequest) -> str:
    """RunPod's worker needs an environment of its own here: no test shares it."""
    return str(request.param)


@asynccontextmanager
async def observed(backend: str, folder: Path, **environment: str) -> AsyncIterator[Process]:
    """A service and its worker with this environment. Both end in peace, and tell all they know."""
    async with AsyncExitStack() as stack:
        if backend == "runpod":
            cloud = await stack.enter_async_context(running(folder / "cloud"))
            cloud.fleet.environment.update(environment)
            stack.push_async_callback(_retired, cloud)
            environment |= runpod_jobs.environment(cloud.url, cloud.rest_url)
        yield await stack.enter_async_context(process(folder / "data", **environment))


async def _retired(cloud: Cloud) -> None:
    for worker in list(cloud.workers.values()):
        cloud.fleet.retire(worker)
        await worker.wait()


async def clip(address: str, metadata: tuple[tuple[str, str], ...] = ()) -> Job:
    """Have a short clip made."""
    async with connect(address) as stub:
        picture = next((ROOT / "demo" / "media").glob("01*.jpg"))
        file = await stub.UploadFile(requests.chunks("beach.jpg", picture.read_bytes()))
        image = operations_pb2.Image(
            id="beach",
            image=operations_pb2.MediaSource(file=file.name),
            duration=requests.seconds(0.5),
        )
        spec = job_pb2.Job(images_to_videos=operations_pb2.ImagesToVideos(images=[image]))
        done = await requests.finished(stub.RunJob(requests.run(spec), metadata=metadata))
    assert done.state == Job.SUCCEEDED, done.error
    return done


def tree(found: Collected) -> dict[str, tuple[str, Span]]:
    """Of the caller's trace: the path of names to each span, the service it ran in, and itself."""
    ours = {s.span_id: (service, s) for service, s in found.spans if s.trace_id.hex() == TRACE}

    def path(span: Span) -> str:
        if span.parent_span_id.hex() == CALLER:
            return span.name
        _, parent = ours[span.parent_span_id]
        within = (parent.start_time_unix_nano, parent.end_time_unix_nano)
        assert within[0] <= span.start_time_unix_nano <= span.end_time_unix_nano <= within[1]
        return f"{path(parent)} > {span.name}"

    return {path(span): (service, span) for service, span in ours.values()}


def told(span: Span) -> dict[str, str | int]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


async def test_one_trace_leads_from_the_call_to_each_ffmpeg(tmp_path: Path, backend: str) -> None:
    caller = (("traceparent", f"00-{TRACE}-{CALLER}-01"),)
    # At their end both programs send what they have left, before the collector ends.
    async with (
        collector(tmp_path) as found,
        observed(backend, tmp_path, **found.environment()) as service,
    ):
        done = await clip(service.address, caller)
    spans = tree(found)
    call = "apigpu.video.v1.VideoService/RunJob"
    job, item = f"{call} > job images_to_videos", f"{call} > attempt > task > item"
    programs = {name for name in spans if name.startswith(f"{item} > ")}
    programs -= {f"{item} > fetch", f"{item} > deliver"}
    served = {name: service for name, (service, _) in spans.items()}
    assert served == {
        **dict.fromkeys((call, job, f"{call} > attempt"), "apigpu-orchestrator"),
        **dict.fromkeys((f"{call} > attempt > task", item), "apigpu-worker"),
        **dict.fromkeys((f"{item} > fetch", f"{item} > deliver", *programs), "apigpu-worker"),
    }
    assert f"{item} > gpu_worker.media.render_child" in programs
    assert any(name.startswith(f"{item} > ffmpeg") for name in programs), programs
    assert {told(spans[name][1])["process.exit.code"] for name in programs} == {0}
    assert done.trace_parent.split("-")[1] == TRACE
    assert spans[call][1].kind == Span.SPAN_KIND_SERVER
    assert told(spans[call][1])["rpc.response.status_code"] == "OK"
    assert told(spans[job][1])["apigpu.job"] == done.name
    assert told(spans[job][1])["apigpu.state"] == "SUCCEEDED"
    assert told(spans[f"{call} > attempt"][1])["apigpu.attempt"] == done.attempts[0].id
    assert told(spans[item][1])["apigpu.item"] == "beach"
    assert {"apigpu.jobs.finished", "rpc.server.call.duration"} <= found.metrics


async def test_metrics_tell_what_was_done_and_with_which_encoder(
    tmp_path: Path, backend: str
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    async with observed(backend, tmp_path, APIGPU_METRICS_LISTEN=listen) as service:
        await clip(service.address)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{listen}/metrics") as answer,
        ):
            text = await answer.text()
    done = (
        r'apigpu_jobs_finished_total\{apigpu_operation="images_to_videos",[^}]*SUCCEEDED"[^}]*\} 1'
    )
    assert re.search(done, text), text
    assert re.search(r'apigpu_items_finished_total\{apigpu_encoder="libx264"', text), text
    assert "apigpu_item_phase_duration_seconds" in text
    assert re.search(r"apigpu_event_lag_seconds_count\S* [1-9]", text), text
    assert re.search(r"apigpu_watchers\S* 0\.0", text), "a watcher that left is still counted"
    assert 'rpc_response_status_code="OK"' in text


async def test_the_log_carries_the_ids_of_job_and_attempt(tmp_path: Path, backend: str) -> None:
    logs = {"APIGPU_LOGS_DIR": str(tmp_path / "logs"), "APIGPU_LOG_FORMAT": "json"}
    async with observed(backend, tmp_path, **logs, APIGPU_LOG_LEVEL="DEBUG") as service:
        done = await clip(service.address)
    lines = (tmp_path / "logs" / "worker.log").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    ours = [record for record in records if record.get("job") == done.name]
    assert ours, records
    assert {record["attempt"] for record in ours} == {done.attempts[0].id}
