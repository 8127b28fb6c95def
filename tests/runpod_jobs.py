"""Jobs on an emulated RunPod, for tests: a service that dispatches there, and work for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from apigpu.video.v1 import job_pb2, operations_pb2
from PIL import Image

from tests import processes, requests
from tests.runpod_emulator import ENDPOINT, KEY, Cloud
from tests.runpod_emulator.worker import die_with_us
from tests.services import in_process

_NONE: Mapping[str, str] = MappingProxyType({})


def environment(url: str, rest_url: str) -> dict[str, str]:
    """What a service that uses the emulated endpoint there needs."""
    return {
        "RUNPOD_API_KEY": KEY,
        "RUNPOD_ENDPOINT_ID": ENDPOINT,
        "APIGPU_RUNPOD_URL": url,
        "APIGPU_RUNPOD_REST_URL": rest_url,
    }


def settings(url: str, rest_url: str) -> dict[str, Any]:
    """The same, for one in this process."""
    variables = environment(url, rest_url)
    return {name.removeprefix("APIGPU_").lower(): value for name, value in variables.items()}


@dataclass(frozen=True)
class Emulator:
    """An endpoint in a process of its own. work_dir: where its workers' files and logs are."""

    pid: int
    environment: dict[str, str]
    settings: dict[str, Any]
    work_dir: Path


@contextmanager
def emulator(
    work_dir: Path, *options: str, workers: int = 1, variables: Mapping[str, str] = _NONE
) -> Iterator[Emulator]:
    """With so many warm workers. variables: further ones of their environment."""
    command = (sys.executable, "-m", "tests.runpod_emulator", "--work-dir", str(work_dir))
    process = subprocess.Popen(
        (
            *die_with_us(),
            *command,
            "--min-workers",
            str(workers),
            "--max-workers",
            str(workers),
            *options,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables},
        text=True,
    )
    assert process.stdout is not None
    try:
        said, *urls = process.stdout.readline().split()
        assert said == "ready"
        yield Emulator(process.pid, environment(*urls), settings(*urls), work_dir)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def service(cloud: Cloud, data_dir: Path, **more: object) -> AbstractAsyncContextManager[Any]:
    return in_process(data_dir, (), **{**settings(cloud.url, cloud.rest_url), **more})


async def picture(stub: Any, folder: Path) -> str:
    """The name of an uploaded picture whose encoding takes a while."""
    path = folder / "noise.jpg"
    Image.effect_noise((1600, 900), 60).convert("RGB").save(path)
    file = await stub.UploadFile(requests.chunks("noise.jpg", path.read_bytes()))
    return str(file.name)


def clips(file: str, duration_s: float, *ids: str, **batch: Any) -> job_pb2.Job:
    """A batch of the same picture. batch: further fields of the request."""
    spec = operations_pb2.ImagesToVideos(**batch)
    for item_id in ids or ("noise",):
        spec.images.add(
            id=item_id,
            image=operations_pb2.MediaSource(file=file),
            duration=requests.seconds(duration_s),
        )
    return job_pb2.Job(images_to_videos=spec)


async def batch(stub: Any, folder: Path, duration_s: float, *ids: str) -> job_pb2.Job:
    return clips(await picture(stub, folder), duration_s, *ids)


async def encoding(events: Any) -> job_pb2.JobEvent:
    """Read events until frames are being made."""
    async for event in events:
        if event.item.progress.frames_done:
            return event  # type: ignore[no-any-return]
    raise AssertionError("the job ended before it was seen encoding")


def ffmpegs(pid: int) -> set[int]:
    """The FFmpeg processes below `pid`."""
    return {child for child in processes.descendants(pid) if _is_ffmpeg(child)}


def _is_ffmpeg(pid: int) -> bool:
    return b"ffmpeg" in processes.command_line(pid).partition(b"\0")[0]
