"""Burning captions in, beside decoding and encoding without them."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

from bench import common
from gpu_worker.media import subtitles
from gpu_worker.media.captions_order import CaptionsOrder

_LENGTH_S = 10


def times(work: Path, video: Path) -> dict[str, common.Cost]:
    """Ten seconds of 1080p with two lines of captions all the time."""
    cues = "".join(
        f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},990\nThe caption of this second,\nof two lines\n\n"
        for n in range(_LENGTH_S)
    )
    (work / "c.srt").write_text(cues)
    order = CaptionsOrder(str(work / "c.srt"), str(work / "captions.ass"), 1920, 1080)
    asyncio.run(subtitles.convert(order, work, ""))
    environment = subtitles.font_environment(work, [])
    start = [*common.FFMPEG, "-t", str(_LENGTH_S), "-i", video]
    burn = [*start, "-vf", "ass=captions.ass", *common.X264, "burnt.mp4"]
    works = {
        "decoding and encoding": partial(common.run, [*start, *common.X264, work / "plain.mp4"]),
        "with captions": partial(common.run, burn, cwd=work, env={**os.environ, **environment}),
    }
    return dict(zip(works, common.best(*works.values()), strict=True))
