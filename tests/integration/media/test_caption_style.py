"""How captions look, which fonts draw them, and captions that players switch on: in the pixels
and packets of the results."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from apigpu_common.errors import InvalidInput, PreconditionFailed
from gpu_worker.media import subtitles
from gpu_worker.media.captions_order import CaptionsOrder
from gpu_worker.media.verify import VerificationFailed
from tests.media_samples import Gray, plain_video, video, watch
from tests.studio import Studio

SIZE = (640, 360)
CUE = "1\n00:00:00,200 --> 00:00:01,500\n{text}\n"
WHITE = 150  # how much brighter a letter is than the dark video, at least


def srt(folder: Path, text: str = "Hello") -> Path:
    path = folder / "c.srt"
    path.write_text(CUE.format(text=text), encoding="utf-8")
    return path


async def picture(studio: Studio, text: str = "Hello", **asked: Any) -> tuple[Gray, Gray]:
    """RGB of a frame with captions, and of the same frame without."""
    clip = plain_video(studio.folder / "v.mp4", duration_s=1, size=SIZE)
    made = await studio.caption(clip, srt(studio.folder, text), **asked)
    found = watch(made.path).rgb(5).astype(float), watch(clip).rgb(5).astype(float)
    shutil.rmtree(studio.workspace)
    return found


def box_of(mask: np.ndarray[Any, Any]) -> tuple[int, int, int, int]:
    """left, top, right, bottom."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def letters(found: tuple[Gray, Gray]) -> np.ndarray[Any, Any]:
    after, before = found
    light: np.ndarray[Any, Any] = (after - before).min(axis=2) > WHITE
    return light


@pytest.mark.parametrize(
    ("position", "x", "y"),
    [
        ("BOTTOM_LEFT", 0, 1),
        ("BOTTOM", 0.5, 1),
        ("BOTTOM_RIGHT", 1, 1),
        ("LEFT", 0, 0.5),
        ("CENTER", 0.5, 0.5),
        ("RIGHT", 1, 0.5),
        ("TOP_LEFT", 0, 0),
        ("TOP", 0.5, 0),
        ("TOP_RIGHT", 1, 0),
    ],
)
async def test_captions_stand_in_each_of_the_nine_places(
    studio: Studio, position: str, x: float, y: float
) -> None:
    left, top, right, bottom = box_of(
        letters(await picture(studio, style={"position": f"CAPTION_POSITION_{position}"}))
    )
    middle = ((left + right) / 2, (top + bottom) / 2)
    if x == 0.5:
        assert middle[0] == pytest.approx(320, abs=6)
    else:  # 60 pixels of 1080 rows are 20 of 360
        assert (left if x == 0 else 640 - right) == pytest.approx(20, abs=5)
    if y == 0.5:
        assert middle[1] == pytest.approx(180, abs=8)
    else:
        assert (top if y == 0 else 360 - bottom) < 60


async def test_size_margin_and_colours_are_those_that_were_asked_for(studio: Studio) -> None:
    plain = box_of(letters(await picture(studio, "HH")))
    large = box_of(letters(await picture(studio, "HH", style={"size": 150})))
    huge = box_of(letters(await picture(studio, "HH", style={"size": 300})))
    assert huge[3] - huge[1] == pytest.approx(2 * (large[3] - large[1]), rel=0.1)
    high = box_of(letters(await picture(studio, "HH", style={"marginY": 356})))
    assert plain[3] - high[3] == pytest.approx(100, abs=2)
    after, before = await picture(
        studio,
        "HH",
        style={"size": 150, "color": "#FF0000", "outlineColor": "#00FF00", "outline": 15},
    )
    assert ((after - before)[..., 0] > WHITE).sum() > 200, "nothing is red"
    green = (after[..., 1] > 200) & (after[..., 0] < 90)
    assert green.sum() > 100, "the outline is not green"


async def test_an_outline_is_as_wide_as_asked(studio: Studio) -> None:
    look = {"size": 120, "color": "#FFFFFF", "outlineColor": "#FF0000", "shadow": 0}

    async def red(outline: float) -> int:
        after, _ = await picture(studio, "I", style={**look, "outline": outline})
        return int(((after[..., 0] > 150) & (after[..., 1] < 80)).sum())

    none, thin, thick = await red(0), await red(6), await red(18)
    assert none < 20 < thin < 0.6 * thick


async def test_a_box_lies_behind_all_the_text_in_its_colour(studio: Studio) -> None:
    after, before = await picture(studio, "one\nlonger line", style={"boxColor": "#FF000040"})
    changed = np.abs(after - before).max(axis=2) > 20
    left, top, right, bottom = box_of(changed)
    box = after[top : bottom + 1, left : right + 1]
    filled = changed[top : bottom + 1, left : right + 1].mean()
    assert filled > 0.95, "the box has holes"
    reddish = np.median(box.reshape(-1, 3), axis=0)
    assert reddish[0] == pytest.approx(before[0, 0, 0] * 3 / 4 + 255 / 4, abs=15)


async def test_capital_letters_are_drawn_and_tags_stay_tags(studio: Studio) -> None:
    one = await picture(studio, "<i>straße</i> işi", style={"uppercase": True}, language="tr")
    other = await picture(studio, "<i>STRASSE</i> İŞİ")
    assert np.abs(one[0] - other[0]).max() < 40


async def test_only_what_was_asked_for_changes_in_the_styles_of_an_ass_file(
    studio: Studio,
) -> None:
    ass = studio.folder / "c.ass"
    ass.write_text(
        "[Script Info]\nScriptType: v4.00+\nPlayResX: 640\nPlayResY: 360\n\n[V4+ Styles]\n"
        "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour,"
        " BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle,"
        " BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n"
        "Style: Sign,Noto Sans,60,&H0000FFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,"
        "0,0,1,0,0,8,10,10,20,1\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        "Dialogue: 0,0:00:00.20,0:00:01.50,Sign,,0,0,0,,HH\n"
    )
    clip = plain_video(studio.folder / "v.mp4", duration_s=1, size=SIZE)
    made = await studio.caption(clip, ass, style={"position": "CAPTION_POSITION_BOTTOM"})
    frame = watch(made.path).rgb(5).astype(float)
    yellow = (frame[..., 0] > 180) & (frame[..., 1] > 180) & (frame[..., 2] < 110)
    assert box_of(yellow)[1] > 180, "it is still at the top"


def block_font(path: Path, family: str, char: str) -> Path:
    """A font whose only letter is a full black square."""
    builder = FontBuilder(1000, isTTF=True)
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(char): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000, usWinAscent=1000, usWinDescent=0)
    builder.setupPost()
    builder.save(path)
    return path


async def test_a_font_of_the_callers_draws_what_ours_cannot(studio: Studio) -> None:
    char = "\U00012000"  # a cuneiform sign
    clip = plain_video(studio.folder / "v.mp4", duration_s=1, size=SIZE)
    cues = srt(studio.folder, f"{char}{char}")
    with pytest.raises(InvalidInput) as error:
        await studio.caption(clip, cues)
    assert (error.value.reason, error.value.field) == ("MISSING_GLYPHS", "caption.subtitles")
    assert "U+12000" in error.value.message and "0:00:00.200" in error.value.message
    assert not (studio.workspace / "result.mp4").exists()
    studio.workspace.rename(studio.folder / "refused")

    font = block_font(studio.folder / "blocks.ttf", "Blocks", char)
    made = await studio.caption(clip, cues, fonts=[font])
    light = letters((watch(made.path).rgb(5).astype(float), watch(clip).rgb(5).astype(float)))
    left, top, right, bottom = box_of(light)
    assert light[top : bottom + 1, left : right + 1].mean() > 0.9, "not the caller's squares"
    assert right - left == pytest.approx(2 * (bottom - top), rel=0.25)


async def test_missing_glyphs_can_be_allowed_and_are_told(studio: Studio) -> None:
    clip = plain_video(studio.folder / "v.mp4", duration_s=1, size=SIZE)
    cues = srt(studio.folder, "A\U00012000")
    made = await studio.caption(clip, cues, allowMissingGlyphs=True)
    (warning,) = made.output.warnings
    assert warning.reason == "MISSING_GLYPHS" and "U+12000" in warning.message


async def test_everyday_text_of_many_scripts_is_not_called_missing(studio: Studio) -> None:
    text = "Ação! «Où?» e\u0301 한국어 日本語 العربية עברית हिन्दी ไทย 👩‍🚀 ❤️ \u200fx\u00ad… “q” €"
    clip = plain_video(studio.folder / "v.mp4", duration_s=1, size=SIZE)
    made = await studio.caption(clip, srt(studio.folder, text))
    assert not made.output.warnings


async def test_a_font_that_is_none_and_a_name_without_font_are_refused(studio: Studio) -> None:
    clip = plain_video(studio.folder / "v.mp4", duration_s=1, size=SIZE)
    broken = studio.folder / "broken.ttf"
    broken.write_bytes(b"\x00\x01\x00\x00" + bytes(50))
    with pytest.raises(InvalidInput) as error:
        await studio.caption(clip, srt(studio.folder), fonts=[broken])
    assert (error.value.reason, error.value.field) == ("FONT_UNREADABLE", "caption.fonts[0]")
    studio.workspace.rename(studio.folder / "refused")
    with pytest.raises(InvalidInput) as error:
        await studio.caption(clip, srt(studio.folder), style={"font": "Comic Sans"})
    assert (error.value.reason, error.value.field) == ("FONT_NOT_FOUND", "caption.style.font")
    assert "Noto Sans" in error.value.message


def text_of(sample: bytes) -> str:
    """A sample of timed text: its length, the text, then how it is styled."""
    return sample[2 : 2 + int.from_bytes(sample[:2], "big")].decode("utf-8")


async def test_soft_captions_are_a_track_and_the_picture_is_not_touched(studio: Studio) -> None:
    clip = video(studio.folder / "v.mp4", tone_hz=440)
    cues = studio.folder / "c.srt"
    texts = ["مرحبا بالعالم", "日本語の字幕", "Ação {não} <i>já</i>"]
    cues.write_text(
        "\n".join(
            f"{n}\n00:00:00,{n}00 --> 00:00:00,{n}90\n{text}\n" for n, text in enumerate(texts, 1)
        ),
        encoding="utf-8",
    )
    made = await studio.caption(clip, cues, mode="CAPTION_MODE_SOFT", language="pt-BR")
    assert made.output.encoder.used == "copy"
    with av.open(str(clip)) as before, av.open(str(made.path)) as after:
        kept = [bytes(packet) for packet in after.demux(after.streams.video[0])]
        assert kept == [bytes(packet) for packet in before.demux(before.streams.video[0])]
        track = after.streams.subtitles[0]
        assert track.metadata["language"] == "por"
    with av.open(str(made.path)) as after:
        found = [
            (round(float((packet.pts or 0) * packet.time_base), 2), text_of(bytes(packet)))
            for packet in after.demux(after.streams.subtitles[0])
            if packet.size > 2
        ]
    assert [time for time, _ in found] == [0.1, 0.2, 0.3]
    assert [text for _, text in found] == [*texts[:2], "Ação (não) já"]


async def test_a_picture_that_mp4_cannot_hold_gets_no_soft_captions(studio: Studio) -> None:
    clip = video(
        studio.folder / "v.webm", codec=("-c:v", "libvpx", "-deadline", "realtime"), audio_codec=()
    )
    with pytest.raises(PreconditionFailed) as error:
        await studio.caption(clip, srt(studio.folder), mode="CAPTION_MODE_SOFT")
    assert error.value.field == "caption.video" and "BURN" in error.value.message


async def test_soft_captions_of_every_kind_arrive(studio: Studio) -> None:
    times = [
        ("00:00:00,000", "00:00:00,001"),  # as short as can be
        ("00:00:00,100", "00:00:01,500"),
        ("00:00:00,100", "00:00:01,500"),  # the same time again
        ("00:00:01,000", "00:00:01,200"),  # within another
        ("00:00:01,900", "00:00:04,000"),  # beyond the end of the picture
        ("00:00:09,000", "00:00:10,000"),  # after it
        ("00:00:00,500", "00:00:00,600"),  # not in order
    ]
    cues = studio.folder / "c.srt"
    cues.write_text("".join(f"{n}\n{a} --> {b}\nx{n}\n\n" for n, (a, b) in enumerate(times)))
    made = await studio.caption(video(studio.folder / "v.mp4"), cues, mode="CAPTION_MODE_SOFT")
    with av.open(str(made.path)) as after:
        packets = list(after.demux(after.streams.subtitles[0]))
    assert sum(packet.size > 2 for packet in packets) == len(times)


async def test_a_soft_caption_that_gets_lost_is_a_failure(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = subtitles.convert

    async def forgetful(order: CaptionsOrder, workspace: Path, field: str) -> Any:
        answer = await convert(order, workspace, field)
        target = Path(order.target)
        target.write_text(target.read_text().split("\n\n")[0] + "\n")
        return answer

    monkeypatch.setattr(subtitles, "convert", forgetful)
    cues = studio.folder / "c.srt"
    cues.write_text("1\n00:00:00,1 --> 00:00:00,5\na\n\n2\n00:00:01,0 --> 00:00:01,5\nb\n")
    with pytest.raises(VerificationFailed, match="1 of mov_text"):
        await studio.caption(video(studio.folder / "v.mp4"), cues, mode="CAPTION_MODE_SOFT")
