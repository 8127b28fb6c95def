"""How good the pictures of a zoom are: where things are in each frame, and VMAF after encoding.

The reference is Pillow's Lanczos resampling of the full picture in floating point, with the
fractional box that each renderer means: it shares no code with either.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench import common, zoom
from gpu_worker.media.motion import Box

Positions = npt.NDArray[np.float64]  # a row a frame: x and y, in pixels
_SPOT_PX = 10.0  # at the size of the frame
_SPACING_PX = 120


def _spots(work: Path) -> tuple[Path, list[tuple[float, float]]]:
    """A picture of soft spots whose middles are known exactly."""
    size = (2880, 1620)
    centres = [
        (x + 0.37, y + 0.61)
        for x in range(150, 2100, _SPACING_PX)
        for y in range(150, 1150, _SPACING_PX)
    ]
    x, y = np.arange(size[0]) + 0.5, (np.arange(size[1]) + 0.5)[:, None]
    light = np.zeros((size[1], size[0]))
    for cx, cy in centres:
        light += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * _SPOT_PX**2))
    path = work / "spots.png"
    Image.fromarray(np.round(255 * light.clip(0, 1)).astype(np.uint8)).convert("RGB").save(path)
    return path, centres


def _shift(frame: Positions, box: Box, centres: list[tuple[float, float]]) -> Positions:
    """How far the spots are from where they should be, on average."""
    scale = zoom.SIZE[0] / box.width
    reach = round(4 * _SPOT_PX * scale)
    errors = []
    for cx, cy in centres:
        x, y = (cx - box.left) * scale, (cy - box.top) * scale
        left, top = round(x) - reach, round(y) - reach
        window = frame[max(0, top) : top + 2 * reach, max(0, left) : left + 2 * reach]
        if left < 0 or top < 0 or window.shape != (2 * reach, 2 * reach):
            continue
        total = window.sum()
        columns, rows = np.arange(left, left + 2 * reach), np.arange(top, top + 2 * reach)
        found = (window.sum(0) @ (columns + 0.5) / total, window.sum(1) @ (rows + 0.5) / total)
        errors.append((found[0] - x, found[1] - y))
    mean: Positions = np.mean(errors, axis=0)
    return mean


def _luma(command: common.Command) -> Iterable[Positions]:
    """The luma of each raw yuv420p frame that a command writes, without its black."""
    width, height = zoom.SIZE
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while frame := process.stdout.read(width * height * 3 // 2):
            luma = np.frombuffer(frame, np.uint8, width * height).reshape(height, width)
            yield luma.astype(np.float64) - 16


def positions(work: Path) -> dict[str, Positions]:
    """How far each renderer's frames are from where they should be."""
    picture, centres = _spots(work)
    size = Image.open(picture).size
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
    ways = {
        "old graph": ([*zoom.old_command(picture), *raw], zoom.old_boxes(size)),
        "ours": (zoom.render_command(picture, work, "PNG"), zoom.our_boxes(size)),
    }
    return {
        name: np.array(
            [_shift(frame, box, centres) for frame, box in zip(_luma(command), path, strict=True)]
        )
        for name, (command, path) in ways.items()
    }


def rms(values: Positions) -> float:
    return float(np.sqrt((values**2).mean()))


def _reference(picture: Path, boxes: list[Box], target: Path) -> Path:
    """The frames as they should be, losslessly."""
    with Image.open(picture) as image:
        channels = [channel.convert("F") for channel in image.convert("RGB").split()]
    size = f"{zoom.SIZE[0]}x{zoom.SIZE[1]}"
    command = [
        *(*common.FFMPEG, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(zoom.RATE)),
        *("-i", "pipe:0", "-vf", "scale=out_color_matrix=bt709:out_range=tv"),
        *(*common.LOSSLESS, target),
    ]
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for box in boxes:
            area = (box.left, box.top, box.left + box.width, box.top + box.height)
            planes = [
                np.asarray(channel.resize(zoom.SIZE, Image.Resampling.LANCZOS, area))
                for channel in channels
            ]
            frame = np.stack(planes, axis=-1)
            encoder.stdin.write(np.round(frame).clip(0, 255).astype(np.uint8).tobytes())
    return target


def vmaf(encoded: Path, reference: Path, work: Path) -> list[float]:
    """VMAF of each frame."""
    log = work / "vmaf.json"
    # Containers round times differently: frames are paired by their number.
    numbered = f"settb=1/{zoom.RATE},setpts=N"
    pairs = f"[0:v]{numbered}[a];[1:v]{numbered}[b]"
    graph = f"{pairs};[a][b]libvmaf=log_fmt=json:log_path={log}:n_threads=2"
    inputs = ("-i", encoded, "-i", reference)
    common.run([*common.FFMPEG, *inputs, "-lavfi", graph, "-f", "null", "-"])
    return [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]


def vmaf_of_both(work: Path) -> dict[str, list[float]]:
    """Of the files that `zoom.times` has left in the folder."""
    picture = zoom.photo(work)
    with Image.open(picture) as image:
        size = image.size
    return {
        name: vmaf(work / file, _reference(picture, path, work / "reference.mp4"), work)
        for name, file, path in (
            ("old graph", "old.mp4", zoom.old_boxes(size)),
            ("ours", "ours-0.mp4", zoom.our_boxes(size)),
        )
    }
