"""Which streams an MP4 file can hold as they are. Pure."""

from __future__ import annotations

from gpu_worker.media.probe import AudioStream

# Pictures that players expect in MP4: with the name that they expect them under, where FFmpeg
# would not choose it by itself.
COPYABLE = {"h264": "", "hevc": "hvc1", "av1": "", "mpeg4": "", "vp9": ""}
# Sound; anything else becomes AAC.
_AUDIO = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac"})
AUDIO_BITRATE = "192k"


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
    return ["-map", f"0:{audio.index}", "-c:a", "aac", "-b:a", AUDIO_BITRATE]
