"""The old product's examples (`old_examples.md`), run as they stand there, get what was shown."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest
from aiohttp import web
from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.video_service_pb2 import WatchJobRequest

from orchestrator import ids
from orchestrator.server import Orchestrator
from tests import media_samples
from tests.e2e.conftest import Backend, Scripted
from tests.http_server import serving
from tests.scripted_worker import ScriptedWorker, Sender
from tests.services import connect, process, settings

KEY = "the-key-of-an-old-client"
HOSTS = r"https?://(your-server\.com|your-server|your-domain\.com|localhost:3000)"
KEYS = r"your-(secure-)?api-key(-here)?"
JOB_ID = "runpod-job-abc123"
TIMEOUT_S = 60
# What the old product showed for results was a path on the worker's disk; here it is a link.
NODE = shutil.which("node")


@dataclass(frozen=True)
class Example:
    name: str
    language: str
    script: str
    shown: Any


def examples() -> list[Example]:
    text = Path(__file__).with_name("old_examples.md").read_text()
    found = re.findall(
        r"^## (.*?)\n\n```(\w+)\n(.*?)```\n\n```json\n(.*?)```", text, flags=re.S | re.M
    )
    return [
        Example(name, language, script, json.loads(shown))
        for name, language, script, shown in found
    ]


EXAMPLES = examples()


def shape(value: Any) -> Any:
    """Names and types of a JSON value, all the way down."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def check(told: Any, shown: Any) -> None:
    """The same members with the same types, and the same fixed words."""
    expected = shape(shown)
    if "stats" in expected:  # the short examples left some of them out
        expected["stats"] = {**shape(told["stats"]), **expected["stats"]}
    assert shape(told) == expected
    fixed = {"code", "message", "status", "service", "error"}
    assert {k: v for k, v in told.items() if k in fixed} == {
        k: v for k, v in shown.items() if k in fixed
    }


async def run(example: Example, url: str, media_url: str = "", job_id: str = "") -> Any:
    """What the example prints or gets, as JSON."""
    script = re.sub(KEYS, KEY, re.sub(HOSTS, url, example.script))
    script = script.replace(JOB_ID, job_id)
    if media_url:
        script = re.sub(r"https://(example\.com|picsum\.photos)", media_url, script)
    if example.language == "js":
        command = [
            "node",
            "--input-type=module",
            "-e",
            script + "\nconsole.log(JSON.stringify(result))",
        ]
    else:
        command = ["bash", "-euc", script.replace("curl ", "curl --silent --show-error ")]
    ran = await asyncio.to_thread(
        subprocess.run,
        command,
        env={**os.environ, "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@dataclass
class Service:
    url: str
    grpc_address: str
    worker: ScriptedWorker


@pytest.fixture
async def service(tmp_path: Path, scripted: Scripted) -> AsyncIterator[Service]:
    worker = ScriptedWorker()
    async with (
        scripted.by(worker) as backend,
        Orchestrator(settings(tmp_path, **backend.settings, x_api_key=KEY)) as running,
    ):
        yield Service(f"http://{running.http_address}", running.address, worker)


async def fetched(url: str) -> bytes:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        return await response.read()


def links(told: Any) -> list[str]:
    return [video["video_url"] for video in told.get("videos", [told]) if "video_url" in video]


MAKING = [one for one in EXAMPLES if JOB_ID not in one.script]


@pytest.mark.one_backend("no service is in it")
def test_no_example_was_lost() -> None:
    assert len(EXAMPLES) == 13
    assert sum("fetch(" in one.script for one in EXAMPLES) == 1


@pytest.mark.parametrize("example", MAKING, ids=lambda example: example.name)
async def test_an_old_example_gets_the_answer_that_was_shown(
    service: Service, example: Example
) -> None:
    if example.language == "js" and NODE is None:
        pytest.skip("no Node.js here to run the fetch example with")
    told = await run(example, service.url)
    check(told, example.shown)
    for link in links(told):
        assert await fetched(link) == b"a video"
    code, _, _ = example.script.partition("// Output")
    asked = re.findall(r"\bid\"?: ['\"]([\w-]+)['\"]", code)
    assert [video["id"] for video in told.get("videos", [])] == asked


async def test_the_job_examples_get_what_was_shown(service: Service) -> None:
    caption, state, cancel = (
        next(one for one in EXAMPLES if one.name == name)
        for name in ("caption", "a job", "cancelling a job")
    )
    made = await run(caption, service.url)
    told = await run(state, service.url, job_id=made["stats"]["jobId"])
    check(told, state.shown)
    assert await fetched(told["output"]["video_url"]) == b"a video"

    begun = asyncio.Event()

    async def never(task: Any, sender: Sender) -> None:
        sender.start()
        begun.set()
        await asyncio.Event().wait()

    async def running(name: str) -> None:
        async with connect(service.grpc_address) as stub:
            async for event in stub.WatchJob(
                WatchJobRequest(name=name), metadata=(("x-api-key", KEY),)
            ):
                if event.state == Job.RUNNING:
                    return

    service.worker.scripts = [never]
    waiting = asyncio.create_task(run(caption, service.url))
    await begun.wait()
    await running(service.worker.tasks[-1].job)
    job_id = ids.id_of(service.worker.tasks[-1].job)
    assert (await run(state, service.url, job_id=job_id))["status"] == "IN_PROGRESS"
    told = await run(cancel, service.url, job_id=job_id)
    check(told, cancel.shown)
    assert told["jobId"] == job_id
    stopped = await waiting
    assert (stopped["error"], stopped["reason"]) == ("Processing failed", "CANCELLED")


async def test_old_examples_make_real_videos(tmp_path: Path, backend: Backend) -> None:
    """The same, with media that is really fetched and encoded, through a service of its own."""
    (tmp_path / "media").mkdir()
    samples = {
        "/video.mp4": media_samples.video(tmp_path / "media" / "v.mp4", duration_s=1.0),
        "/soundtrack.mp3": media_samples.tone(tmp_path / "media" / "a.mp3", 440, 1.0),
        "/subtitles.srt": tmp_path / "media" / "s.srt",
    }
    samples["/video-no-audio.mp4"] = samples["/video.mp4"]
    samples["/subtitles.srt"].write_text("1\n00:00:00,000 --> 00:00:01,000\nOlá!\n")

    async def media(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(samples[request.path])

    environment = {**backend.environment, "X_API_KEY": KEY}
    async with serving(media) as media_url, process(tmp_path / "data", **environment) as running:
        for name, streams in (("caption", {"video"}), ("addaudio", {"video", "audio"})):
            example = next(one for one in EXAMPLES if one.name == name)
            told = await run(example, f"http://{running.http_address}", media_url)
            check(told, example.shown)
            path = tmp_path / f"{name}.mp4"
            path.write_bytes(await fetched(told["video_url"]))
            with av.open(str(path)) as container:
                assert {stream.type for stream in container.streams} == streams
