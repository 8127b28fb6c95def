"""What a file really is, by its first bytes. FFmpeg is told this answer, and only formats on this
list reach it: a playlist that calls itself video.mp4 could make it read any file of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from apigpu_common.errors import InvalidInput

Kind = Literal["video", "audio", "image"]
_HEAD_BYTES = 4096
_TS_PACKET_BYTES = 188


@dataclass(frozen=True)
class Format:
    """demuxer: FFmpeg's name, to be forced with -f; for images Pillow's name instead."""

    demuxer: str
    kinds: frozenset[Kind]


def _format(demuxer: str, *kinds: Kind) -> Format:
    return Format(demuxer, frozenset(kinds))


MP4 = _format("mov", "video", "audio")
_MATROSKA = _format("matroska", "video", "audio")
_PREFIXES = (
    (b"\x1a\x45\xdf\xa3", _MATROSKA),
    (b"OggS", _format("ogg", "video", "audio")),
    (b"fLaC", _format("flac", "audio")),
    (b"ID3", _format("mp3", "audio")),
    (b"\xff\xd8\xff", _format("JPEG", "image")),
    (b"\x89PNG\r\n\x1a\n", _format("PNG", "image")),
    (b"GIF87a", _format("GIF", "image")),
    (b"GIF89a", _format("GIF", "image")),
    (b"BM", _format("BMP", "image")),
    (b"II*\x00", _format("TIFF", "image")),
    (b"MM\x00*", _format("TIFF", "image")),
)
_RIFF = {
    b"WAVE": _format("wav", "audio"),
    b"AVI ": _format("avi", "video", "audio"),
    b"WEBP": _format("WEBP", "image"),
}
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
# Phones' photographs. They say by their brands how they are coded, the first of which may be
# "mif1", any of them.
_PICTURE_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIF": {b"heic", b"heix", b"heim", b"heis"},
}


@dataclass(frozen=True)
class _Wanted:
    reason: str
    noun: str
    accepted: str


_WANTED: dict[Kind, _Wanted] = {
    "video": _Wanted("NOT_A_VIDEO", "a video", "MP4, MOV, Matroska, WebM, MPEG-TS, AVI or Ogg"),
    "audio": _Wanted(
        "NOT_AUDIO", "sound", "MP3, AAC, M4A, WAV, FLAC, Ogg, or a video with a sound track"
    ),
    "image": _Wanted("NOT_AN_IMAGE", "a picture", "JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF"),
}

# For -format_whitelist: what the forced demuxers call themselves.
FFMPEG_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flac,mp3,wav,avi,mpegts,aac"


def identify(head: bytes) -> Format | None:
    """The format of a file that begins with `head`, or None where it is none of ours."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] in _MOV_ATOMS:
        return _picture(head) or MP4
    for prefix, found in _PREFIXES:
        if head.startswith(prefix):
            return found
    if head[:1] == b"\x47" and head[_TS_PACKET_BYTES : _TS_PACKET_BYTES + 1] == b"\x47":
        return _format("mpegts", "video", "audio")
    return _mpeg_audio(head)


def _picture(head: bytes) -> Format | None:
    """AVIF or HEIC, which are files of the MP4 family."""
    if head[4:8] != b"ftyp":
        return None
    listed = head[8:12] + head[16 : max(16, int.from_bytes(head[:4], "big"))]
    brands = {listed[place : place + 4] for place in range(0, len(listed), 4)}
    if listed[:4] not in {b"mif1", *_PICTURE_BRANDS["AVIF"], *_PICTURE_BRANDS["HEIF"]}:
        return None
    found = (name for name, known in _PICTURE_BRANDS.items() if brands & known)
    return _format(next(found, "HEIF"), "image")


def _mpeg_audio(head: bytes) -> Format | None:
    """MP3 or ADTS AAC without a tag in front: a frame's sync word."""
    if len(head) < 2 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _format("aac", "audio")
    if head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0:
        return _format("mp3", "audio")
    return None


def require(path: Path, kind: Kind, field: str) -> Format:
    """The file's format. Raises InvalidInput where it cannot be a `kind`. Reads a few bytes."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    found = identify(head)
    if found is not None and kind in found.kinds:
        return found
    wanted = _WANTED[kind]
    what = "is empty" if not head else "is something else"
    raise InvalidInput(
        wanted.reason,
        f"This should be {wanted.noun}, but the file {what}: send {wanted.accepted}.",
        field=field,
    )
