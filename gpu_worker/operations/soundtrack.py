"""How a picture and a sound become one file: what is copied, encoded, held, looped or cut, and
why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.operations_pb2 import AddAudio

from apigpu_common.errors import PreconditionFailed
from gpu_worker.media.probe import AudioStream, MediaInfo, VideoStream
from gpu_worker.operations.mp4_streams import COPYABLE

# Files that do not say when a picture is shown: only a decoder finds its order.
_WITHOUT_TIMES = frozenset({"avi"})
# Files whose sound is cut, and primed, exactly where they say.
_WITH_EXACT_SOUND = frozenset({"mov"})

Fill = Literal["none", "pad", "loop"]


@dataclass(frozen=True)
class Plan:
    """length_s: of the result. encode_why: why the picture must be encoded; empty: copy it.
    picture, sound: what comes after their own ends. copy_sound: as it is."""

    length_s: float
    encode_why: str
    picture: Fill
    sound: Fill
    copy_sound: bool

    def frames(self, video: VideoStream) -> int:
        return round(self.length_s * video.frame_rate)


def plan(asked: AddAudio, picture: MediaInfo, sound: MediaInfo) -> Plan:
    """Raises PreconditionFailed where the picture should be copied, but cannot be."""
    video, audio = picture.video, sound.audio
    assert video is not None and audio is not None
    length_s = {
        contract.END_POLICY_VIDEO: video.duration_s,
        contract.END_POLICY_AUDIO: audio.duration_s,
    }.get(asked.end, min(video.duration_s, audio.duration_s))
    fill: Fill = "loop" if asked.fill == contract.FILL_LOOP else "pad"
    after_picture: Fill = fill if length_s > video.duration_s else "none"
    after_sound: Fill = fill if length_s > audio.duration_s else "none"
    why = _why_encode(asked, picture, video, after_picture)
    if why and asked.video_mode == contract.VIDEO_MODE_COPY:
        raise cannot_copy(why)
    return Plan(
        length_s, why, after_picture, after_sound, _can_copy(asked, sound, audio, after_sound)
    )


def cannot_copy(why: str) -> PreconditionFailed:
    return PreconditionFailed(
        "CANNOT_COPY_PICTURE",
        f"The picture cannot be copied: {why}. Leave out video_mode to have it encoded.",
        field="add_audio.video_mode",
    )


def _why_encode(asked: AddAudio, picture: MediaInfo, video: VideoStream, after: Fill) -> str:
    if asked.video_mode == contract.VIDEO_MODE_ENCODE:
        return "VIDEO_MODE_ENCODE was asked for"
    if asked.HasField("encoding"):
        return "an encoding was asked for"
    if after != "none":
        return "the picture goes on after its end"
    if video.codec not in COPYABLE:
        return f"an MP4 file cannot hold {video.codec}"
    if picture.format.demuxer in _WITHOUT_TIMES:
        return "its file does not say when each picture is shown"
    return ""


def _can_copy(asked: AddAudio, sound: MediaInfo, audio: AudioStream, after: Fill) -> bool:
    return (
        audio.codec == "aac"
        and sound.format.demuxer in _WITH_EXACT_SOUND
        and after == "none"
        and not asked.HasField("loudness")
    )
