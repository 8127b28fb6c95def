"""Run FFmpeg: inputs made safe, progress from its own machine-readable report, errors typed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Progress

from gpu_worker.media.process import (
    CODING,
    DRAWING,
    Child,
    ChildFailed,
    Limits,
    SourceFailed,
    child,
)
from gpu_worker.media.sniff import FFMPEG_FORMATS, Format

log = logging.getLogger(__name__)

_REPORT_INTERVAL_S = "0.1"
_MAX_PIXELS = 100_000_000
# A source whose reader has gone notices it with its next write.
_SOURCE_GRACE_S = 5.0
# No picture takes so long: something hangs.
_SILENCE_S = 300.0


@dataclass(frozen=True)
class Report:
    """FFmpeg's own account of a running encode. time: of the media, as FFmpeg writes it."""

    frames: int
    fps: float
    speed: float
    time: str = ""


def safe_input(path: Path, format_: Format) -> list[str]:
    """Arguments that open a local file as what it was found to be, and nothing else."""
    return [
        "-protocol_whitelist",
        "file,pipe",
        "-format_whitelist",
        FFMPEG_FORMATS,
        "-max_pixels",
        str(_MAX_PIXELS),
        "-f",
        format_.demuxer,
        "-i",
        f"file:{path}",
    ]


async def run(
    ffmpeg: Path,
    arguments: Sequence[str],
    *,
    cwd: Path,
    on_report: Callable[[Report], None] | None = None,
    limits: Limits = CODING,
    frames_from: Sequence[str | Path] = (),
    environment: Mapping[str, str] | None = None,
    silence_s: float = _SILENCE_S,
) -> str:
    """Run FFmpeg to its end; returns the last lines of its log. Raises ChildFailed.

    frames_from: a program whose standard output becomes FFmpeg's standard input. If it
    fails, SourceFailed is raised, not FFmpeg's complaint about missing frames.
    silence_s: without any progress for so long, it is killed.
    """
    command: list[str | Path] = [
        ffmpeg,
        "-hide_banner",
        "-nostdin",
        "-y",
        "-loglevel",
        "warning",
        "-progress",
        "pipe:1",
        "-nostats",
        "-stats_period",
        _REPORT_INTERVAL_S,
        *arguments,
    ]
    if not frames_from:
        async with child(command, cwd=cwd, limits=limits, environment=environment) as encoder:
            return await _follow(encoder, on_report, silence_s)
    return await _run_fed(command, frames_from, cwd, on_report, limits, environment, silence_s)


async def _run_fed(
    command: Sequence[str | Path],
    source_command: Sequence[str | Path],
    cwd: Path,
    on_report: Callable[[Report], None] | None,
    limits: Limits,
    environment: Mapping[str, str] | None,
    silence_s: float,
) -> str:
    """Two children, joined by a pipe that this process does not touch."""
    read_end, write_end = os.pipe()
    try:
        async with child(source_command, cwd=cwd, limits=DRAWING, stdout=write_end) as source:
            os.close(write_end)
            write_end = -1
            async with child(
                command, cwd=cwd, limits=limits, stdin=read_end, environment=environment
            ) as encoder:
                os.close(read_end)
                read_end = -1
                try:
                    tail = await _follow(encoder, on_report, silence_s)
                except ChildFailed:
                    # Where the source has failed, the encoder only suffers from it.
                    await _end_of_source(source)
                    raise
                await _end_of_source(source)
                return tail
    finally:
        for end in (read_end, write_end):
            if end >= 0:
                os.close(end)


async def _end_of_source(source: Child) -> None:
    """Raise SourceFailed if the source failed by itself, not because nobody read on."""
    try:
        await asyncio.wait_for(source.wait(), _SOURCE_GRACE_S)
    except TimeoutError:
        return  # it hangs on, and is killed by its owner
    except ChildFailed as error:
        if "BrokenPipeError" not in error.stderr:
            raise SourceFailed(error.program, error.code, error.stderr) from None


async def _follow(
    encoder: Child, on_report: Callable[[Report], None] | None, silence_s: float
) -> str:
    now = asyncio.get_running_loop().time
    reached = None
    try:
        async with asyncio.timeout(silence_s) as deadline:
            async for report in _reports(encoder.lines()):
                place = (report.frames, report.time)
                if place != reached:
                    reached = place
                    deadline.reschedule(now() + silence_s)
                if on_report is not None:
                    on_report(report)
            await encoder.wait()
    except TimeoutError:
        raise ChildFailed("ffmpeg", -1, f"no progress for {silence_s:g} s") from None
    return encoder.stderr


async def _reports(lines: AsyncIterator[str]) -> AsyncIterator[Report]:
    """FFmpeg reports in blocks of key=value lines; `progress=` ends a block."""
    block: dict[str, str] = {}
    async for line in lines:
        key, _, value = line.partition("=")
        block[key.strip()] = value.strip()
        if key == "progress":
            yield parse_report(block)
            block = {}


def parse_report(block: Mapping[str, str]) -> Report:
    """One block of `-progress`. What FFmpeg does not know yet (N/A) counts as 0."""
    return Report(
        frames=int(_number(block.get("frame", ""))),
        fps=_number(block.get("fps", "")),
        speed=_number(block.get("speed", "").removesuffix("x")),
        time=block.get("out_time", ""),
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if value >= 0 and value != float("inf") else 0.0


def encode_progress(report: Report, frames_total: int, span: tuple[float, float]) -> Progress:
    """What to tell the caller while frames are made.

    span: the part of the item's 0 to 100 percent that encoding stands for.
    """
    done = min(report.frames / frames_total, 1.0) if frames_total else 0.0
    start, end = span
    progress = Progress(
        stage=job_pb2.STAGE_ENCODING,
        percent=start + (end - start) * done,
        frames_done=report.frames,
        frames_total=max(frames_total, report.frames),
        fps=report.fps,
        speed=report.speed,
    )
    if report.fps > 0 and frames_total:
        left_s = max(0, frames_total - report.frames) / report.fps
        progress.time_left.FromMilliseconds(round(left_s * 1000))
    return progress
