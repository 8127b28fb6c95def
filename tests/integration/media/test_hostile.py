"""Files made to do harm, or broken in the middle: refused soon, and blamed on who sent them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from apigpu_common.errors import InvalidInput
from gpu_worker.media import ffmpeg, sniff
from gpu_worker.media.captions_order import CaptionsOrder
from gpu_worker.media.process import ChildFailed
from gpu_worker.media.subtitles import convert
from tests import media_samples
from tests.studio import Studio

SRT = "1\n00:00:01,000 --> 00:00:02,000\n{}\n"


@pytest.mark.parametrize(
    "text",
    [
        "1" * 8_000_000,
        SRT.format("{\\" * 4_000_000),
        SRT.format("<font " * 1_300_000),
        SRT.format("< " * 4_000_000),
        "WEBVTT\n\n" + "00:" * 2_600_000,
    ],
)
async def test_captions_made_to_be_slow_do_not_hold_up_the_worker(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "slow.srt"
    path.write_text(text)
    order = CaptionsOrder(str(path), str(tmp_path / "out.ass"), 640, 360)
    work = asyncio.create_task(convert(order, tmp_path, "caption.subtitles"))
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10, "the event loop stood still"
    error = work.exception()
    assert error is None or isinstance(error, InvalidInput)


async def test_ffmpeg_itself_opens_nothing_but_the_format_it_was_told(studio: Studio) -> None:
    """The second wall: even a playlist that passed for a video leads nowhere."""
    victim = media_samples.video(studio.folder / "victim.mp4")
    playlist = studio.folder / "playlist.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {victim.name}\n")
    out = studio.folder / "out.mp4"
    for demuxer in ("concat", "hls", "mov"):
        told = sniff.Format(demuxer, frozenset({"video"}))
        with pytest.raises(ChildFailed):
            await ffmpeg.run(
                studio.tools.ffmpeg,
                [*ffmpeg.safe_input(playlist, told), "-c", "copy", str(out)],
                cwd=studio.folder,
            )


async def test_a_video_that_breaks_off_in_the_middle_is_the_caller_s_fault(
    studio: Studio,
) -> None:
    whole = media_samples.video(studio.folder / "whole.mp4", duration_s=4)
    data = bytearray(whole.read_bytes())
    start = data.index(b"mdat") + 4
    broken = studio.folder / "broken.mp4"
    first, last = start + 60_000, data.rindex(b"moov") - 8
    data[first:last] = bytes(last - first)
    broken.write_bytes(data)
    captions = studio.folder / "c.srt"
    captions.write_text(SRT.format("Hello"))
    with pytest.raises(InvalidInput) as error:
        await studio.caption(broken, captions)
    assert (error.value.reason, error.value.field) == ("MEDIA_UNREADABLE", "caption.video")
