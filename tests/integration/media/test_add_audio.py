"""A new soundtrack, listened to: the right sound, from the first picture to the common end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apigpu_common.errors import InvalidInput, ServiceError
from tests import media_samples
from tests.media_samples import listen, tone, video, watch
from tests.studio import Studio

OLD_HZ, NEW_HZ = 300, 880
FRAME_S = 1 / 24
AAC_FRAME_S = 1024 / 48_000
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8")
OPUS = ("-c:a", "libopus")


@pytest.mark.parametrize(("video_s", "audio_s"), [(2.0, 5.0), (3.0, 1.37), (2.0, 2.0)])
async def test_the_new_sound_replaces_the_old_and_both_end_with_the_shorter(
    studio: Studio, video_s: float, audio_s: float
) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=video_s, tone_hz=OLD_HZ)
    sound = tone(studio.folder / "a.mp3", NEW_HZ, audio_s)
    made = await studio.add_audio(picture, sound)
    assert made.output.encoder.used == "copy"
    end_s = min(video_s, audio_s)
    seen, heard = watch(made.path), listen(made.path)
    assert heard.pitch_hz() == pytest.approx(NEW_HZ, abs=2)
    assert heard.codec == made.output.audio_codec == "aac"
    assert seen.times_s[0] == 0
    assert end_s <= seen.ends_s + 0.001 < end_s + FRAME_S + 0.002
    assert heard.duration_s == pytest.approx(end_s, abs=AAC_FRAME_S)
    told_s = made.output.duration.ToNanoseconds() / 1e9
    assert told_s == pytest.approx(end_s, abs=0.005)
    assert made.output.audio_duration.ToNanoseconds() / 1e9 == pytest.approx(end_s, abs=0.005)


async def test_a_song_that_was_cut_without_encoding_ends_with_its_last_sample(
    studio: Studio,
) -> None:
    """Its header counts what decoders leave out at the beginning as sound."""
    song, cut = tone(studio.folder / "a.mp3", NEW_HZ, 3), studio.folder / "cut.mp3"
    media_samples.make("-i", song, "-t", "1", "-c", "copy", cut)
    made = await studio.add_audio(video(studio.folder / "v.mp4", duration_s=3), cut)
    told_s = made.output.duration.ToNanoseconds() / 1e9
    assert told_s == pytest.approx(listen(cut).duration_s, abs=0.001)


async def test_the_picture_is_copied_bit_by_bit(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", tone_hz=OLD_HZ)
    made = await studio.add_audio(picture, tone(studio.folder / "a.wav", NEW_HZ, 5))
    before, after = watch(picture), watch(made.path)
    assert made.output.encoder.used == "copy"
    assert len(after.frames) == len(before.frames) == made.output.frame_count
    assert all(np.array_equal(before.gray(n), after.gray(n)) for n in range(len(before.frames)))


@pytest.mark.parametrize(
    ("name", "codec", "audio_codec", "used"),
    [
        ("v.ts", (), (), "copy"),
        ("v.mkv", HEVC, (), "copy"),
        ("v.webm", VP9, OPUS, "copy"),
        ("v.webm", VP8, OPUS, "libx264"),
        ("v.avi", ("-c:v", "libx264", "-bf", "2"), ("-c:a", "mp3"), "libx264"),
    ],
)
async def test_every_container_gives_all_its_pictures(
    studio: Studio, name: str, codec: tuple[str, ...], audio_codec: tuple[str, ...], used: str
) -> None:
    picture = video(
        studio.folder / name,
        tone_hz=OLD_HZ,
        tone_s=3,  # the file lasts longer than its picture
        codec=codec or ("-c:v", "libx264", "-bf", "2"),
        audio_codec=audio_codec or ("-c:a", "aac"),
    )
    made = await studio.add_audio(picture, tone(studio.folder / "a.mp3", NEW_HZ, 5))
    seen = watch(made.path)
    assert len(seen.frames) == 48
    assert seen.times_s[0] == 0
    assert seen.ends_s == pytest.approx(2, abs=0.01)
    heard = listen(made.path)
    assert heard.pitch_hz() == pytest.approx(NEW_HZ, abs=2)
    assert heard.duration_s == pytest.approx(2, abs=AAC_FRAME_S)
    if not studio.tools.encoders[0].works:
        assert made.output.encoder.used == used


async def test_hevc_gets_the_name_that_apple_s_players_know(studio: Studio) -> None:
    picture = video(studio.folder / "v.mkv", codec=HEVC)
    made = await studio.add_audio(picture, tone(studio.folder / "a.wav", NEW_HZ, 5))
    assert made.output.encoder.used == "copy"
    assert b"hvc1" in made.path.read_bytes()[:4096]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.wav", ()),
        ("a.flac", ()),
        ("a.m4a", ()),
        ("a.aac", ()),
        ("a.ogg", ("-c:a", "libvorbis")),
        ("a.opus", OPUS),
        ("a.mp3", ("-id3v2_version", "0", "-write_xing", "0")),
    ],
)
async def test_every_kind_of_sound_is_taken(
    studio: Studio, name: str, codec: tuple[str, ...]
) -> None:
    picture = video(studio.folder / "v.mp4", duration_s=3)
    made = await studio.add_audio(picture, tone(studio.folder / name, NEW_HZ, 1.37, codec))
    heard = listen(made.path)
    assert heard.pitch_hz() == pytest.approx(NEW_HZ, abs=2)
    # Where no header says so, an encoder's run-in cannot be told from sound.
    assert heard.duration_s == pytest.approx(1.37, abs=3 * AAC_FRAME_S)


async def test_the_sound_of_another_video_can_be_taken(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4", tone_hz=OLD_HZ)
    other = video(studio.folder / "other.mkv", duration_s=4, tone_hz=NEW_HZ)
    made = await studio.add_audio(picture, other)
    assert listen(made.path).pitch_hz() == pytest.approx(NEW_HZ, abs=2)


async def test_a_picture_that_began_late_begins_with_the_new_sound(studio: Studio) -> None:
    whole = video(studio.folder / "whole.mp4", tone_hz=OLD_HZ)
    late = studio.folder / "late.mp4"
    media_samples.make(
        *("-i", whole, "-itsoffset", "0.7", "-i", whole),
        *("-map", "0:a", "-map", "1:v", "-c", "copy", late),
    )
    made = await studio.add_audio(late, tone(studio.folder / "a.wav", NEW_HZ, 5))
    seen = watch(made.path)
    assert made.output.encoder.used == "copy"
    assert (seen.times_s[0], len(seen.frames)) == (0, 48)


async def test_a_picture_cut_by_an_edit_list_begins_where_players_begin(studio: Studio) -> None:
    whole = video(studio.folder / "whole.mp4", duration_s=3, tone_hz=OLD_HZ)
    cut = studio.folder / "cut.mp4"
    media_samples.make("-ss", "1.3", "-i", whole, "-c", "copy", cut)
    made = await studio.add_audio(cut, tone(studio.folder / "a.wav", NEW_HZ, 5))
    assert made.output.encoder.used == "copy"
    before, after = watch(cut), watch(made.path)
    assert len(after.frames) == len(before.frames)
    assert np.array_equal(before.gray(0), after.gray(0))


async def test_a_recording_that_begins_between_keyframes_is_taken(studio: Studio) -> None:
    whole = video(studio.folder / "whole.ts", duration_s=4)
    packets = whole.read_bytes()
    recording = studio.folder / "recording.ts"
    recording.write_bytes(packets[188 * 120 :])
    made = await studio.add_audio(recording, tone(studio.folder / "a.wav", NEW_HZ, 5))
    seen = watch(made.path)
    assert len(seen.frames) == 72, "all from the second keyframe on"
    assert seen.times_s[0] == 0


async def test_a_phone_s_rotation_survives_the_copy(studio: Studio) -> None:
    plain = video(studio.folder / "plain.mp4")
    turned = studio.folder / "phone.mp4"
    media_samples.make("-display_rotation", "90", "-i", plain, "-c", "copy", turned)
    made = await studio.add_audio(turned, tone(studio.folder / "a.wav", NEW_HZ, 5))
    assert (made.output.width, made.output.height) == (180, 320)
    assert watch(made.path).frames[0].rotation == watch(turned).frames[0].rotation != 0


async def test_a_cover_picture_is_no_video(studio: Studio) -> None:
    """Of a file with a cover, the film is taken; a song with a cover is no film."""
    sound = tone(studio.folder / "a.wav", NEW_HZ, 5)
    film = video(studio.folder / "film.mp4", tone_hz=OLD_HZ)
    cover = studio.folder / "cover.png"
    media_samples.make("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1", cover)
    with_cover = studio.folder / "with_cover.mp4"
    media_samples.make(
        *("-i", cover, "-i", film, "-map", "0", "-map", "1", "-c", "copy"),
        *("-disposition:v:0", "attached_pic", with_cover),
    )
    made = await studio.add_audio(with_cover, sound)
    assert (made.output.width, made.output.frame_count) == (320, 48)
    song = studio.folder / "song.m4a"
    media_samples.make(
        *("-i", sound, "-i", cover, "-c:v", "copy", "-disposition:v", "attached_pic", song)
    )
    folder = studio.folder / "second"
    folder.mkdir()
    with pytest.raises(InvalidInput) as error:
        await Studio(folder, studio.tools).add_audio(song, sound)
    assert error.value.reason == "NO_VIDEO_STREAM"


async def test_what_cannot_be_used_is_blamed_on_its_field(studio: Studio) -> None:
    picture = video(studio.folder / "v.mp4")
    sound = tone(studio.folder / "a.mp3", NEW_HZ, 1)
    noise = studio.folder / "noise.mp4"
    noise.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(4000))
    text = studio.folder / "text.mp3"
    text.write_text("la la la")
    for number, (the_video, the_audio, reason, blamed) in enumerate(
        (
            (picture, picture, "NO_AUDIO_STREAM", "add_audio.audio"),
            (picture, text, "NOT_AUDIO", "add_audio.audio"),
            (sound, sound, "NOT_A_VIDEO", "add_audio.video"),
            (noise, sound, "MEDIA_UNREADABLE", "add_audio.video"),
            (hostile_manifest(studio.folder, picture), sound, "NOT_A_VIDEO", "add_audio.video"),
        )
    ):
        folder = studio.folder / f"case{number}"
        folder.mkdir()
        with pytest.raises(ServiceError) as error:
            await Studio(folder, studio.tools).add_audio(the_video, the_audio)
        assert isinstance(error.value, InvalidInput)
        assert (error.value.reason, error.value.field) == (reason, blamed)
        assert str(studio.folder) not in error.value.message


def hostile_manifest(folder: Path, victim: Path) -> Path:
    """A DASH manifest that would show somebody else's file."""
    path = folder / "manifest.mp4"
    path.write_text(
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1">'
        f"<BaseURL>file://{victim}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
    return path
