"""Which streams an MP4 file can hold as they are, and how they are kept. Pure."""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import EncoderUse

from gpu_worker.media.probe import AudioStream, MediaInfo
from gpu_worker.media.verify import Expected

# Pictures that players expect in MP4: with the name that they expect them under, where FFmpeg
# would not choose it by itself.
COPYABLE = {"h264": "", "hevc": "hvc1", "av1": "", "mpeg4": "", "vp9": ""}
# Sound; anything else becomes AAC.
_AUDIO = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac"})
# FFmpeg's `fast` search instead of its default `twoloop`: half the time, and at this bit rate
# nearer to the original in all that people listen to (docs/encoders.md). By itself it ends at
# 18 kHz, where twoloop goes on to 20.
AAC = ("-c:a", "aac", "-b:a", "192k", "-aac_coder", "fast", "-cutoff", "20000")
# What is told of a picture that is copied.
COPIED = EncoderUse(requested="copy", used="copy")
# Files count in different units of time, and sound is kept in whole packets.
_TOLERANCE_S = 0.25


def copy_picture(codec: str) -> list[str]:
    """FFmpeg's arguments; codec: one of COPYABLE."""
    tag = COPYABLE[codec]
    return ["-c:v", "copy", *(["-tag:v", tag] if tag else [])]


def audio_options(audio: AudioStream | None) -> list[str]:
    """FFmpeg's arguments that keep the sound of the first input, as it is where possible."""
    if audio is None:
        return []
    if audio.codec in _AUDIO:
        return ["-map", f"0:{audio.index}", "-c:a", "copy"]
    return ["-map", f"0:{audio.index}", *AAC]


def as_long_as(info: MediaInfo) -> Expected:
    """What a result must be that keeps the length of a file's picture and sound."""
    assert info.video is not None
    audio_s = info.audio.duration_s if info.audio else None
    return Expected(info.video.duration_s, audio_s, tolerance_s=_TOLERANCE_S)
