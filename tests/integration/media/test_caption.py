"""Burnt-in captions, looked for in the pixels: there at their time and place, absent elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apigpu_common.errors import InvalidInput, ServiceError
from tests import media_samples
from tests.media_samples import Gray, listen, plain_video, watch
from tests.studio import Studio

CUE = "1\n00:00:01,000 --> 00:00:02,000\n{text}\n"
RATE = 10
VISIBLE = 60  # steps of luma between white letters and the dark background


def srt(path: Path, text: str = "Hello there") -> Path:
    path.write_text(CUE.format(text=text), encoding="utf-8")
    return path


def drawn(frame: Gray, background: Gray) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which pixels are much lighter than in the video without captions."""
    return frame - background > VISIBLE


async def test_a_caption_is_there_at_its_time_and_only_then(studio: Studio) -> None:
    video = plain_video(studio.folder / "v.mp4", rate=RATE)
    made = await studio.caption(video, srt(studio.folder / "c.srt"))
    before, after = watch(video), watch(made.path)
    assert len(after.frames) == len(before.frames) == made.output.frame_count
    assert after.times_s == pytest.approx(before.times_s, abs=0.001)
    shown = [
        n for n in range(len(after.frames)) if drawn(after.gray(n), before.gray(n)).sum() > 100
    ]
    assert shown == list(range(10, 20))
    changed = np.abs(after.gray(5) - before.gray(5))
    assert changed.mean() < 1, "a picture without a caption has changed"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("at the bottom", "bottom"),
        (r"{\an8}on top", "top"),
        ("two\nlines", "bottom"),
        ("<i>slanted</i> and <b>bold</b>", "bottom"),
        ("Ação, coração, ÀÉÎÕÜ", "bottom"),
        ("Привет, как дела", "bottom"),
        ("日本語の字幕", "bottom"),
        ("مرحبا بالعالم", "bottom"),
    ],
)
async def test_captions_of_all_scripts_are_drawn_in_their_place(
    studio: Studio, text: str, place: str
) -> None:
    video = plain_video(studio.folder / "v.mp4", rate=RATE)
    made = await studio.caption(video, srt(studio.folder / "c.srt", text))
    letters = drawn(watch(made.path).gray(15), watch(video).gray(15))
    rows, columns = np.nonzero(letters)
    assert len(rows) > 100
    assert (rows.min() > 360 / 2) if place == "bottom" else (rows.max() < 360 / 2)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(320, abs=8), "not centred"


@pytest.mark.parametrize(
    "text",
    [
        "春は、あけぼの。とても長い一行の字幕がここで画面の端に届いたときにきちんと折り返されるかどうか",
        "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะกันเถอะ" * 3,
    ],
)
async def test_long_lines_without_spaces_stay_between_the_margins(
    studio: Studio, text: str
) -> None:
    video = plain_video(studio.folder / "v.mp4", rate=RATE)
    made = await studio.caption(video, srt(studio.folder / "c.srt", text))
    letters = drawn(watch(made.path).gray(15), watch(video).gray(15))
    columns = np.flatnonzero(letters.any(axis=0))
    width = letters.shape[1]
    assert width * 0.02 < columns[0] < columns[-1] < width * 0.98
    rows = np.flatnonzero(letters.any(axis=1))
    assert rows[-1] - rows[0] > letters.shape[0] * 0.08, "it should have several lines"


async def test_a_glyph_that_no_font_has_is_the_only_one_that_draws_a_box(studio: Studio) -> None:
    """Two different letters of a script look different: none of them is the box."""
    video = plain_video(studio.folder / "v.mp4", rate=RATE)
    pictures = []
    for number, text in enumerate(("漢", "字", "क", "ข", "א", "😀")):
        folder = studio.folder / str(number)
        folder.mkdir()
        made = await Studio(folder, studio.tools).caption(video, srt(folder / "c.srt", text))
        pictures.append(watch(made.path).gray(15))
    for n, one in enumerate(pictures):
        for other in pictures[n + 1 :]:
            assert np.abs(one - other).max() > VISIBLE


async def test_a_caption_cannot_cover_the_picture_with_a_drawing(studio: Studio) -> None:
    video = plain_video(studio.folder / "v.mp4", rate=RATE)
    trick = r"{\an7\pos(0,0)\p1}m 0 0 l 640 0 640 360 0 360{\p0} words"
    made = await studio.caption(video, srt(studio.folder / "c.srt", trick))
    covered = drawn(watch(made.path).gray(15), watch(video).gray(15)).mean()
    assert 0 < covered < 0.2


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (1280, 720)])
async def test_letters_grow_with_the_video(studio: Studio, size: tuple[int, int]) -> None:
    video = plain_video(studio.folder / "v.mp4", rate=RATE, size=size, duration_s=2)
    made = await studio.caption(video, srt(studio.folder / "c.srt", "H"))
    letters = drawn(watch(made.path).gray(15), watch(video).gray(15))
    height = int(np.ptp(np.nonzero(letters)[0]))
    assert height / min(size) == pytest.approx(58 / 1080 * 0.6, rel=0.35)


@pytest.mark.parametrize(
    ("audio_codec", "name", "kept"),
    [
        (("-c:a", "aac"), "v.mp4", "aac"),
        (("-c:a", "libmp3lame"), "v.mkv", "mp3"),
        (("-c:a", "libopus"), "v.mkv", "aac"),
        (("-c:a", "pcm_s16le"), "v.mkv", "aac"),
    ],
)
async def test_the_sound_is_kept(
    studio: Studio, audio_codec: tuple[str, str], name: str, kept: str
) -> None:
    video = media_samples.video(studio.folder / name, tone_hz=660, audio_codec=audio_codec)
    made = await studio.caption(video, srt(studio.folder / "c.srt"))
    heard = listen(made.path)
    assert made.output.audio_codec == kept
    assert heard.pitch_hz() == pytest.approx(660, abs=2)
    assert heard.duration_s == pytest.approx(2, abs=0.06)


async def test_sound_that_is_longer_than_the_picture_is_kept_whole(studio: Studio) -> None:
    video = media_samples.video(studio.folder / "v.mkv", tone_hz=660, duration_s=2, tone_s=3)
    made = await studio.caption(video, srt(studio.folder / "c.srt"))
    assert len(watch(made.path).frames) == 48
    assert listen(made.path).duration_s == pytest.approx(3, abs=0.06)


async def test_a_rotated_video_is_captioned_upright(studio: Studio) -> None:
    plain = plain_video(studio.folder / "plain.mp4", rate=RATE, duration_s=2)
    turned = studio.folder / "phone.mp4"
    media_samples.make("-display_rotation", "90", "-i", plain, "-c", "copy", turned)
    made = await studio.caption(turned, srt(studio.folder / "c.srt"))
    seen = watch(made.path)
    assert (seen.frames[15].width, seen.frames[15].height) == (360, 640)
    assert (made.output.width, made.output.height) == (360, 640)
    assert seen.frames[15].rotation == 0
    rows = np.nonzero(drawn(seen.gray(15), seen.gray(5)))[0]
    assert rows.min() > 320


@pytest.mark.parametrize(
    "more",
    [
        ("-vf", "scale=321:181", "-pix_fmt", "yuv444p"),
        ("-pix_fmt", "yuv444p"),
        ("-pix_fmt", "yuv420p10le"),
        ("-r", "30000/1001"),
        ("-bf", "3"),
    ],
)
async def test_unusual_videos_become_ordinary_ones_of_the_same_length(
    studio: Studio, more: tuple[str, ...]
) -> None:
    video = media_samples.video(studio.folder / "v.mkv", codec=("-c:v", "libx264"), more=more)
    made = await studio.caption(video, srt(studio.folder / "c.srt"))
    before, after = watch(video), watch(made.path)
    assert (after.codec, after.pixel_format) == ("h264", "yuv420p")
    assert len(after.frames) == len(before.frames)
    assert after.ends_s - after.times_s[0] == pytest.approx(
        before.ends_s - before.times_s[0], abs=0.01
    )


async def test_pictures_keep_their_own_times(studio: Studio) -> None:
    steady = media_samples.video(studio.folder / "steady.mp4", duration_s=3)
    uneven = studio.folder / "uneven.mp4"
    drop = "select='not(mod(n,3))+gt(n,40)'"
    media_samples.make("-i", steady, "-vf", drop, "-fps_mode", "vfr", uneven)
    made = await studio.caption(uneven, srt(studio.folder / "c.srt"))
    assert watch(made.path).times_s == pytest.approx(watch(uneven).times_s, abs=0.002)


async def test_colours_outside_of_the_captions_stay_as_they_are(studio: Studio) -> None:
    for name, tags in {
        "full": ("-vf", "scale=out_range=pc", "-color_range", "pc", "-pix_fmt", "yuvj420p"),
        "hd": ("-vf", "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"),
    }.items():
        folder = studio.folder / name
        folder.mkdir()
        video = media_samples.video(
            folder / "v.mp4", codec=("-c:v", "libx264", "-crf", "10"), more=tags
        )
        made = await Studio(folder, studio.tools).caption(video, srt(folder / "c.srt"))
        before, after = watch(video), watch(made.path)
        difference = after.rgb(2).astype(float) - before.rgb(2)
        assert np.abs(difference.mean(axis=(0, 1))).max() < 1.5, name


ASS = r"""[Script Info]
ScriptType: v4.00+
PlayResX: 640
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Sign,Noto Sans,40,&H00FFFFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,0,0,7,0,0,0,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Sign,,0,0,0,,{\pos(20,20)}SIGN
"""  # noqa: E501


async def test_ass_keeps_its_own_places(studio: Studio) -> None:
    video = plain_video(studio.folder / "v.mp4", rate=RATE)
    subtitles = studio.folder / "c.ass"
    subtitles.write_text(ASS)
    made = await studio.caption(video, subtitles)
    rows, columns = np.nonzero(drawn(watch(made.path).gray(15), watch(video).gray(15)))
    assert 15 < columns.min() < 40
    assert rows.max() < 80


async def test_what_cannot_be_read_is_blamed_on_its_field(studio: Studio) -> None:
    video = plain_video(studio.folder / "v.mp4", duration_s=1)
    page = studio.folder / "page.srt"
    page.write_text("<html>Not found</html>")
    sound = media_samples.tone(studio.folder / "sound.m4a", 440, 1)
    empty = studio.folder / "empty.srt"
    empty.write_bytes(b"")
    good = srt(studio.folder / "good.srt")
    cut = studio.folder / "cut.mp4"
    whole = media_samples.video(studio.folder / "whole.mp4", more=("-movflags", "+faststart"))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    playlist = studio.folder / "playlist.mp4"
    playlist.write_text(f"#EXTM3U\n#EXTINF:4,\nfile://{video}\n#EXT-X-ENDLIST\n")
    for number, (the_video, the_subtitles, reason, blamed) in enumerate(
        (
            (video, page, "SUBTITLES_UNREADABLE", "caption.subtitles"),
            (video, empty, "SUBTITLES_UNREADABLE", "caption.subtitles"),
            (video, video, "SUBTITLES_UNREADABLE", "caption.subtitles"),
            (sound, good, "NO_VIDEO_STREAM", "caption.video"),
            (good, good, "NOT_A_VIDEO", "caption.video"),
            (cut, good, "MEDIA_UNREADABLE", "caption.video"),
            (playlist, good, "NOT_A_VIDEO", "caption.video"),
        )
    ):
        folder = studio.folder / f"case{number}"
        folder.mkdir()
        with pytest.raises(ServiceError) as error:
            await Studio(folder, studio.tools).caption(the_video, the_subtitles)
        assert isinstance(error.value, InvalidInput)
        assert (error.value.reason, error.value.field) == (reason, blamed)
        assert str(studio.folder) not in error.value.message
