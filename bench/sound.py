"""add_audio beside what most people do: encode the picture again and trust -shortest."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from apigpu.video.v1.operations_pb2 import AddAudio, MediaSource
from apigpu.worker.v1.worker_service_pb2 import Task

from bench import common
from gpu_worker.media.encoders import Toolbox, discover
from gpu_worker.operations.add_audio import add_audio
from gpu_worker.operations.base import ItemContext

_LENGTH_S = 60


def samples(work: Path) -> tuple[Path, Path]:
    """A video that moves, and a sound that is a little shorter."""
    video, sound = work / "clip.mp4", work / "sound.wav"
    picture = ("-loop", "1", "-t", str(_LENGTH_S), "-i", common.PHOTO)
    graph = "scale=2880:1620,crop=1920:1080:x='t*10':y='t*5',fps=24,format=yuv420p"
    common.run([*common.FFMPEG, *picture, "-vf", graph, *common.X264, video])
    pink = f"anoisesrc=d={_LENGTH_S - 0.6}:c=pink:r=48000:a=0.3"
    common.run([*common.FFMPEG, "-f", "lavfi", "-i", pink, "-ac", "2", sound])
    return video, sound


def _ours(tools: Toolbox, video: Path, sound: Path, work: Path) -> None:
    async def fetch(source: MediaSource, field: str) -> Path:
        return video if field.endswith("video") else sound

    context = ItemContext(work, work / "ours.mp4", lambda progress: None, fetch, tools)
    asyncio.run(add_audio(Task(add_audio=AddAudio()), "video", context))


def times(work: Path, video: Path, sound: Path) -> dict[str, common.Cost]:
    """A minute of 1080p with new sound. Ours is everything: probing, cutting exactly, measuring
    the loudness of the result, verifying it."""
    tools = asyncio.run(discover(None))
    both = [*common.FFMPEG, "-i", video, "-i", sound, "-map", "0:v", "-map", "1:a"]
    aac = ("-c:a", "aac", "-b:a", "192k")
    old = [*both, *common.X264, *aac, "-shortest"]
    works = {
        "encoding again": partial(common.run, [*old, work / "old.mp4"]),
        "AAC alone": partial(common.run, [*common.FFMPEG, "-i", sound, *aac, work / "alone.m4a"]),
        "copy and AAC, FFmpeg alone": partial(
            common.run, [*both, "-c:v", "copy", *aac, work / "copied.mp4"]
        ),
        "ours, all of it": partial(_ours, tools, video, sound, work),
    }
    return dict(zip(works, common.best(*works.values()), strict=True))
