"""A picture of videos: frames from start to end of each, a row a video, with its measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

_FONTS = Path(__file__).resolve().parent.parent / "gpu_worker" / "fonts"
_FRAMES = 4
_WIDTH_PX, _GAP_PX, _LABEL_PX, _MARGIN_PX = 420, 10, 34, 24
_PAPER, _INK, _FAINT = (24, 26, 30), (236, 238, 240), (150, 156, 164)


def draw(videos: Sequence[Path], target: Path) -> Path:
    """Write the sheet as PNG to `target`."""
    name_font = ImageFont.truetype(_FONTS / "NotoSans-Bold.ttf", 17)
    note_font = ImageFont.truetype(_FONTS / "NotoSans-Regular.ttf", 15)
    height_px = _WIDTH_PX * 9 // 16
    row_px = _LABEL_PX + height_px + 2 * _GAP_PX
    sheet = Image.new(
        "RGB",
        (
            2 * _MARGIN_PX + _FRAMES * _WIDTH_PX + (_FRAMES - 1) * _GAP_PX,
            2 * _MARGIN_PX + len(videos) * row_px - _GAP_PX,
        ),
        _PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    for row, video in enumerate(videos):
        frames, note = _sample(video)
        top = _MARGIN_PX + row * row_px
        pen.text((_MARGIN_PX, top), video.stem, _INK, name_font)
        left = _MARGIN_PX + pen.textlength(video.stem, name_font) + 14
        pen.text((left, top + 2), note, _FAINT, note_font)
        for column, frame in enumerate(frames):
            place = (_MARGIN_PX + column * (_WIDTH_PX + _GAP_PX), top + _LABEL_PX)
            sheet.paste(frame.resize((_WIDTH_PX, height_px), Image.Resampling.LANCZOS), place)
    sheet.save(target, optimize=True)
    return target


def _sample(video: Path) -> tuple[list[Image.Image], str]:
    """Frames spread over the video, the last one included, and a line about it."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        total = stream.frames
        wanted = {round(index * (total - 1) / (_FRAMES - 1)) for index in range(_FRAMES)}
        frames = [
            frame.to_image()  # type: ignore[no-untyped-call]
            for number, frame in enumerate(container.decode(stream))
            if number in wanted
        ]
        sound = ", with sound" if container.streams.audio else ""
        rate = float(stream.average_rate or 0)
        note = (
            f"{stream.width}x{stream.height}, {total} frames at {rate:g} fps,"
            f" {video.stat().st_size / 1e6:.1f} MB{sound}"
        )
    return frames, note
