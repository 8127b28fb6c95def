"""Jobs on an emulated RunPod, for tests: a service that dispatches there, and work for it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from apigpu.video.v1 import job_pb2, operations_pb2
from PIL import Image

from tests import processes, requests
from tests.runpod_emulator import ENDPOINT, KEY, Cloud
from tests.services import in_process


def service(cloud: Cloud, data_dir: Path, **more: object) -> AbstractAsyncContextManager[Any]:
    values = {
        "runpod_api_key": KEY,
        "runpod_endpoint_id": ENDPOINT,
        "runpod_url": cloud.url,
        "runpod_rest_url": cloud.rest_url,
    }
    return in_process(data_dir, (), **{**values, **more})


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
