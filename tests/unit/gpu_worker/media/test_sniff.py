"""What a file really is decides, never its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigpu_common.errors import InvalidInput
from gpu_worker.media.sniff import Kind, identify, require


@pytest.mark.parametrize(
    ("head", "demuxer"),
    [
        (b"\x00\x00\x00\x18ftypisom", "mov"),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "mov"),
        (b"\x00\x00\x00\x1cftypavif", "AVIF"),
        (b"\x00\x00\x00\x1cftypheic", "HEIF"),
        (b"\x00\x00\x00\x1cftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\x00\x00\x00\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\x00\x00\x00\x1cftypisom\0\0\0\0isomavif", "mov"),
        (b"\x00\x00\x00\x18ftypmif1\0\0\0\0mif1miaf", "HEIF"),
        (b"\x1a\x45\xdf\xa3\x01", "matroska"),
        (b"OggS\x00", "ogg"),
        (b"fLaC\x00", "flac"),
        (b"ID3\x04\x00", "mp3"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "WEBP"),
        (b"\x47" + bytes(187) + b"\x47", "mpegts"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"II*\x00", "TIFF"),
    ],
)
def test_formats_are_known_by_their_first_bytes(head: bytes, demuxer: str) -> None:
    found = identify(head + bytes(16))
    assert found is not None
    assert found.demuxer == demuxer


@pytest.mark.parametrize(
    "head",
    [b"RIFF\x00\x00\x00\x00CDXA", b"\x47" + bytes(400), b"\x00\x00\x00\x18styp", b"\xff\xe8"],
)
def test_what_only_begins_like_media_is_none(head: bytes) -> None:
    assert identify(head + bytes(16)) is None


@given(
    st.sampled_from(
        [b"", b"RIFF", b"\xff", b"\x47", b"\x00\x00\x00\x1cftyp", b"\x00\x00\x00\x14ftypmif1"]
    ),
    st.binary(max_size=600),
)
def test_any_bytes_are_a_known_format_or_none(start: bytes, rest: bytes) -> None:
    found = identify(start + rest)
    assert found is None or found.kinds


@given(
    st.sampled_from([b"#EXTM3U\n", b"<?xml version", b"<MPD xmlns", b"ffconcat ", b"<svg xmlns"]),
    st.binary(),
)
def test_a_script_is_never_media_whatever_follows(start: bytes, rest: bytes) -> None:
    assert identify(start + rest) is None


@pytest.mark.parametrize(
    ("name", "content", "kind", "reason"),
    [
        ("video.mp4", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "video", "NOT_A_VIDEO"),
        ("video.mp4", b"<?xml version='1.0'?><MPD></MPD>", "video", "NOT_A_VIDEO"),
        ("video.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "video", "NOT_A_VIDEO"),
        ("picture.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image", "NOT_AN_IMAGE"),
        ("picture.jpg", b"just text", "image", "NOT_AN_IMAGE"),
        ("video.mp4", b"\x89PNG\r\n\x1a\n", "video", "NOT_A_VIDEO"),
        ("sound.mp3", b"\xff\xd8\xff\xe0", "audio", "NOT_AUDIO"),
        ("sound.mp3", b"", "audio", "NOT_AUDIO"),
    ],
)
def test_anything_else_is_refused_with_its_field(
    tmp_path: Path, name: str, content: bytes, kind: Kind, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        require(path, kind, "caption.video")
    assert (error.value.reason, error.value.field) == (reason, "caption.video")
    assert str(tmp_path) not in error.value.message
