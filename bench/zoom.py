"""The clip that all Ken Burns benchmarks make: by our renderer, and by the commands of the product
that this one re-imagines, word for word but for the encoder's name.

Its first release upscaled to 6720x3840 and had NVENC encode; without a GPU it could not run, so
here it has our encoder. Its last release upscaled each picture six times and always used libx264.
Both truncate positions to whole pixels; the first zoomed into the top left corner.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from bench import common
from gpu_worker.media.clip import Clip, renderer
from gpu_worker.media.motion import Box, Motion, boxes, ends

FRAMES, SIZE, ZOOM = 120, (1920, 1080), 1.324
RATE = common.RATE
CORNER = (0.0, 0.0)

_LENGTH_S = FRAMES // RATE
OLD_GRAPH = (
    f"scale=6720:3840:flags=lanczos,zoompan=z='min(1+{ZOOM - 1:.3f}*on/{FRAMES},{ZOOM})'"
    f":d={FRAMES}:s={SIZE[0]}x{SIZE[1]}:fps={RATE},format=nv12"
)
_LAST_RATES = ("-maxrate", "10M", "-bufsize", "20M", "-threads", "0")
RAW = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(RATE))
_THREADS = 2


def photo(work: Path) -> Path:
    """The demo's photograph, cropped to 16:9: the old graph would stretch it."""
    path = work / "photo.jpg"
    with Image.open(common.PHOTO) as image:
        height = image.width * 9 // 16
        top = (image.height - height) // 2
        image.crop((0, top, image.width, top + height)).save(path, quality=95)
    return path


def our_boxes(picture: tuple[int, int]) -> list[Box]:
    """Where our clip looks."""
    return list(boxes(*ends(picture, SIZE, Motion(ZOOM, focal=CORNER)), FRAMES, "linear"))


def old_boxes(picture: tuple[int, int]) -> list[Box]:
    """Where the old graph means to look."""
    zooms = [min(1 + (ZOOM - 1) * index / FRAMES, ZOOM) for index in range(FRAMES)]
    return [Box(0, 0, picture[0] / zoom, picture[1] / zoom) for zoom in zooms]


def render_command(
    picture: Path, work: Path, picture_format: str = "JPEG", frames: int = FRAMES
) -> common.Command:
    motion = Motion(ZOOM, focal=CORNER)
    clip = Clip(str(picture), picture_format, *SIZE, frames, motion, threads=_THREADS)
    return renderer(clip, work)


def old_command(picture: Path) -> list[str | Path]:
    """Of the first release."""
    still = ("-loop", "1", "-framerate", str(RATE), "-i", picture)
    return [*common.FFMPEG, *still, "-vf", OLD_GRAPH, "-t", str(_LENGTH_S)]


def last_command(picture: Path) -> list[str | Path]:
    """Of the last release."""
    with Image.open(picture) as image:
        upscaled = f"{image.width * 6}:{image.height * 6}"
    graph = (
        f"scale={upscaled}:flags=lanczos,zoompan=z='min(1.0+0.4*on/{FRAMES},1.4)':d={FRAMES}"
        f":x='iw/2-(iw/zoom/2)':y='ih/2-(ih/zoom/2)':s={SIZE[0]}x{SIZE[1]}:fps={RATE}"
        f",scale={SIZE[0]}:{SIZE[1]}:flags=bicubic,format=nv12"
    )
    still = ("-framerate", str(RATE), "-loop", "1", "-i", picture)
    return [*common.FFMPEG, *still, "-vf", graph, "-t", str(_LENGTH_S)]


def render_and_encode(render: common.Command, target: Path, *options: str) -> None:
    """As the worker does it: two processes and a pipe."""
    with subprocess.Popen(list(map(str, render)), stdout=subprocess.PIPE) as frames:
        common.run(
            [*common.FFMPEG, *RAW, "-i", "pipe:0", *common.X264, *options, target],
            stdin=frames.stdout,
        )


def at_once(count: int, work: Callable[[int], object]) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def times(work: Path) -> dict[str, common.Cost]:
    """Every way to make the clip, and its parts."""
    picture = photo(work)
    render = render_command(picture, work)
    raw = work / "frames.yuv"
    with raw.open("wb") as file:
        common.run(render, stdout=file)
    old, last = old_command(picture), last_command(picture)

    def encode(index: int, *options: str) -> None:
        common.run(
            [*common.FFMPEG, *RAW, "-i", raw, *common.X264, *options, work / f"encoded-{index}.mp4"]
        )

    def ours(index: int, *options: str) -> None:
        render_and_encode(render, work / f"ours-{index}.mp4", *options)

    works: dict[str, Callable[[], object]] = {
        "old graph, frames alone": partial(common.run, [*old, "-f", "null", "-"]),
        "last release, frames alone": partial(common.run, [*last, "-f", "null", "-"]),
        "ours, frames alone": partial(common.run, render, stdout=subprocess.DEVNULL),
        "encoding alone": partial(encode, 0),
        "old graph and its encoder": partial(
            common.run, [*old, *common.OLD_X264, work / "old.mp4"]
        ),
        "old graph and our encoder": partial(
            common.run, [*old, *common.X264, work / "old-ours.mp4"]
        ),
        "last release and encoding": partial(
            common.run, [*last, *common.OLD_X264, *_LAST_RATES, work / "last.mp4"]
        ),
        "ours and encoding": partial(ours, 0),
        "three at once, encoding alone": partial(at_once, 3, encode),
        # As the worker does it when there are more clips than CPUs.
        "three at once, ours": partial(at_once, 3, lambda index: ours(index, "-threads", "1")),
    }
    return dict(zip(works, common.best(*works.values()), strict=True))
