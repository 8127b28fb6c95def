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
from gpu_worker.operations.mp4_streams import AAC

_LENGTH_S = 60


def samples(work: Path) -> tuple[Path, Path]:
    """A minute that is as hard to encode as footage from a hand-held camera: it pans and shakes
    over a photograph, with the grain of a sensor; and speech that is a little shorter."""
    video, sound = work / "clip.mp4", work / "sound.wav"
    picture = ("-loop", "1", "-framerate", "24", "-t", str(_LENGTH_S), "-i", common.PHOTO)
    graph = (
        "scale=2400:-2:out_range=tv:out_color_matrix=bt709,crop=1920:1080"
        ":x='240+160*sin(t/3)+9*sin(7*t)+4*sin(17*t)':y='300+120*cos(t/4)+7*sin(5*t+1)'"
        ",noise=alls=5:allf=t,format=yuv420p"
        ",setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    )
    common.run([*common.FFMPEG, *picture, "-vf", graph, *common.OLD_X264, video])
    speech = ("-stream_loop", "-1", "-i", common.ROOT / "demo" / "media" / "narration.mp3")
    length = ("-t", str(_LENGTH_S - 0.6), "-ac", "2", "-ar", "48000")
    common.run([*common.FFMPEG, *speech, *length, sound])
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
    old = [*both, *common.OLD_X264, *aac, "-shortest"]
    works = {
        "encoding again": partial(common.run, [*old, work / "old.mp4"]),
        "AAC alone": partial(common.run, [*common.FFMPEG, "-i", sound, *aac, work / "alone.m4a"]),
        "copy and our AAC, FFmpeg alone": partial(
            common.run, [*both, "-c:v", "copy", *AAC, work / "copied.mp4"]
        ),
        "ours, all of it": partial(_ours, tools, video, sound, work),
    }
    return dict(zip(works, common.best(*works.values()), strict=True))
