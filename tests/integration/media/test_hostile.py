"""Files made to do harm, or broken in the middle: refused soon, and blamed on who sent them."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from apigpu.video.v1 import operations_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apigpu_common.errors import InvalidInput
from gpu_worker.media import ffmpeg, sniff
from gpu_worker.media.captions_order import CaptionsOrder
from gpu_worker.media.probe import probe
from gpu_worker.media.process import ChildFailed
from gpu_worker.media.subtitles import convert
from tests import media_samples
from tests.requests import seconds
from tests.studio import Studio, source

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


HLS = """#EXTM3U
#EXT-X-TARGETDURATION:5
#EXTINF:2,
file://{victim}
#EXT-X-ENDLIST
"""
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"
 profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" minBufferTime="PT1S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1000000" width="320"
 height="180"><BaseURL>file://{victim}</BaseURL><SegmentBase/></Representation></AdaptationSet>
</Period></MPD>
"""
CONCAT = "ffconcat version 1.0\nfile '{victim}'\n"


def opens(ffmpeg_path: Path, *options: str | Path) -> bool:
    """Whether this FFmpeg shows something of the file."""
    command = [ffmpeg_path, "-v", "error", "-nostdin", *options, "-f", "null", "-"]
    made = subprocess.run(list(map(str, command)), capture_output=True, timeout=60, check=False)
    return made.returncode == 0


@pytest.mark.parametrize(
    ("script", "opened_by"),
    [(HLS, ("5",)), (DASH, ("5", "9")), (CONCAT, ())],
    ids=["HLS", "DASH", "concat"],
)
async def test_a_script_that_calls_itself_a_video_shows_nobody_else_s_file(
    studio: Studio, script: str, opened_by: tuple[str, ...]
) -> None:
    name = "victim.ts" if script == HLS else "victim.mp4"
    victim = media_samples.video(studio.folder / name)
    bait = studio.folder / "bait.mp4"
    bait.write_text(script.format(victim=victim))
    # What an unwary service does, and what is often advised against it.
    leaks = opens(studio.tools.ffmpeg, "-i", bait)
    whitelist = ("-protocol_whitelist", "file,pipe")
    version = studio.tools.ffmpeg_version.partition(".")[0]
    if version in ("5", "9"):
        assert leaks == (version in opened_by), "the test shows nothing on this FFmpeg"
        if script == DASH:
            assert opens(studio.tools.ffmpeg, *whitelist, "-i", bait)
    captions = studio.folder / "c.srt"
    captions.write_text(SRT.format("Hello"))
    with pytest.raises(InvalidInput) as error:
        await studio.caption(bait, captions)
    assert (error.value.reason, error.value.field) == ("NOT_A_VIDEO", "caption.video")
    # Were it taken for a video all the same, FFmpeg would still open nothing.
    for demuxer in ("mov", "hls", "dash", "concat"):
        told = sniff.Format(demuxer, frozenset({"video"}))
        assert not opens(studio.tools.ffmpeg, *ffmpeg.safe_input(bait, told))


async def test_a_picture_that_is_a_program_is_no_picture(studio: Studio) -> None:
    svg = studio.folder / "photo.jpg"
    svg.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64">'
        '<image href="file:///etc/passwd" width="64" height="64"/></svg>'
    )
    image = operations_pb2.Image(id="it", image=source(svg), duration=seconds(1))
    with pytest.raises(InvalidInput) as error:
        await studio.animate(image, item_id="it", batch=operations_pb2.ImagesToVideos())
    assert error.value.reason == "NOT_AN_IMAGE"


async def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused_by_its_header(
    studio: Studio,
) -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = studio.folder / "bomb.png"
    with bomb.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000)))):
            crc = zlib.crc32(kind + content)
            file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc))
    image = operations_pb2.Image(id="it", image=source(bomb), duration=seconds(1))
    with pytest.raises(InvalidInput) as error:
        await studio.animate(image, item_id="it", batch=operations_pb2.ImagesToVideos())
    assert error.value.reason == "TOO_MANY_PIXELS"


async def test_ffmpeg_that_hangs_meets_a_deadline(studio: Studio) -> None:
    fifo = studio.folder / "never.mp4"
    os.mkfifo(fifo)
    with pytest.raises(ChildFailed) as failed:
        await ffmpeg.run(
            studio.tools.ffmpeg,
            ["-f", "mov", "-i", str(fifo), "-f", "null", "-"],
            cwd=studio.folder,
            silence_s=0.5,
        )
    assert "no progress" in failed.value.stderr


async def test_ffmpeg_that_is_slow_but_moves_on_is_left_alone(studio: Studio) -> None:
    clip = media_samples.video(studio.folder / "v.mp4", duration_s=3)
    at_its_own_pace = ["-re", "-i", str(clip), "-f", "null", "-"]
    await ffmpeg.run(studio.tools.ffmpeg, at_its_own_pace, cwd=studio.folder, silence_s=1.5)


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


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=5),
    kept=st.floats(0.2, 1),
)
def test_a_damaged_video_is_refused_or_examined(
    tmp_path: Path, damage: list[tuple[float, bytes]], kept: float
) -> None:
    """Whatever the parsers stumble over, it is the file's fault, and told as that."""
    whole = tmp_path / "whole.mp4"
    if not whole.exists():
        media_samples.video(whole, duration_s=0.5, tone_hz=440)
    data = bytearray(whole.read_bytes())
    for part, junk in damage:
        place = int(part * (len(data) - 1))
        data[place : place + len(junk)] = junk
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data[: int(len(data) * kept)])
    try:
        found = asyncio.run(probe(damaged, "video", "caption.video"))
    except InvalidInput as error:
        assert error.field == "caption.video"
    else:
        assert found.video is not None and found.video.frame_count > 0
