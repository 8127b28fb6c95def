"""A video gets another soundtrack and ends with the shorter of the two. Where it can be, the
picture is copied as it is: no loss, and many times faster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import EncoderUse, Output
from apigpu.worker.v1.worker_service_pb2 import Task

from gpu_worker.media import ffmpeg, mp4
from gpu_worker.media.concurrency import both
from gpu_worker.media.encoders import Profile
from gpu_worker.media.probe import AudioStream, MediaInfo, VideoStream, probe
from gpu_worker.media.process import CODING, ChildFailed, Limits
from gpu_worker.media.verify import Expected, VerificationFailed, verify
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.stages import ENCODING, stage

log = logging.getLogger(__name__)

# Pictures that an MP4 file can hold, and players expect there, as they are: with the name that
# they expect it under, where FFmpeg would not choose it by itself.
_COPYABLE = {"h264": "", "hevc": "hvc1", "av1": "", "mpeg4": "", "vp9": ""}
# Files that do not say when a picture is shown: only a decoder finds its order.
_WITHOUT_TIMES = frozenset({"avi"})
_AUDIO_BITRATE = "192k"
# Fine enough for every frame rate and sample rate: cuts are exact.
_TIMESCALE = "90000"
_AAC_FRAME_SAMPLES = 1024


async def add_audio(task: Task, item_id: str, context: ItemContext) -> Output:
    """Make the video with the new sound."""
    request = task.add_audio
    video_path, audio_path = await both(
        context.fetch(request.video, "add_audio.video"),
        context.fetch(request.audio, "add_audio.audio"),
    )
    context.report(stage(job_pb2.STAGE_PROBING))
    picture, sound = await both(
        probe(video_path, "video", "add_audio.video"),
        probe(audio_path, "audio", "add_audio.audio"),
    )
    return await _Mux(context, video_path, picture, audio_path, sound).make()


@dataclass(frozen=True)
class _Mux:
    """One picture and one sound on their way into one file."""

    context: ItemContext
    video_path: Path
    picture: MediaInfo
    audio_path: Path
    sound: MediaInfo

    @property
    def video(self) -> VideoStream:
        assert self.picture.video is not None
        return self.picture.video

    @property
    def audio(self) -> AudioStream:
        assert self.sound.audio is not None
        return self.sound.audio

    @property
    def length_s(self) -> float:
        return min(self.video.duration_s, self.audio.duration_s)

    @property
    def frames(self) -> int:
        return round(self.length_s * self.video.frame_rate)

    async def make(self) -> Output:
        """Copy the picture; where that is not possible or not exact, encode it."""
        if self.video.codec not in _COPYABLE or self.picture.format.demuxer in _WITHOUT_TIMES:
            return await self._encode("")
        try:
            return await self._copy()
        except (ChildFailed, VerificationFailed) as error:
            log.warning("a picture could not be copied, and is encoded: %s", error)
            return await self._encode("the picture cannot be copied exactly")

    async def _copy(self) -> Output:
        tag = _COPYABLE[self.video.codec]
        await self._run(["-c:v", "copy", *(["-tag:v", tag] if tag else [])], CODING)
        return await self._verify(EncoderUse(requested="copy", used="copy"))

    async def _encode(self, why: str) -> Output:
        """why: copying was tried, and this is what came of it; empty: it was not."""
        tools = self.context.tools

        async def run(profile: Profile) -> None:
            options = tools.options(profile, float(self.video.frame_rate))
            # Only the decoder knows for certain when the first picture is shown.
            await self._run(["-vf", "setpts=PTS-STARTPTS", *options], profile.limits)

        try:
            use = await tools.encode(run)
        except ChildFailed as error:
            raise encoding_failed(error, "add_audio.video") from error
        if why:
            reasons = "; ".join(filter(None, (why, use.reason)))
            use = EncoderUse(requested="copy", used=use.used, reason=reasons)
        return await self._verify(use)

    async def _run(self, video_options: Sequence[str], limits: Limits) -> None:
        context = self.context
        context.report(stage(job_pb2.STAGE_ENCODING, frames_total=self.frames))
        await ffmpeg.run(
            context.tools.ffmpeg,
            [
                # Times stay as they are in the files, and the first picture is moved to 0.
                *("-copyts", "-itsoffset", f"{-self.video.start_s:.6f}"),
                *ffmpeg.safe_input(self.video_path, self.picture.format),
                *ffmpeg.safe_input(self.audio_path, self.sound.format),
                *("-map", f"0:{self.video.index}", "-map", f"1:{self.audio.index}"),
                *("-t", f"{self.length_s:.6f}", *video_options),
                # The first sample is moved to 0, too.
                *("-af", "asetpts=PTS-STARTPTS", "-c:a", "aac", "-b:a", _AUDIO_BITRATE),
                *("-map_metadata", "0", "-movie_timescale", _TIMESCALE),
                *("-movflags", "+faststart", str(context.result)),
            ],
            cwd=context.workspace,
            limits=limits,
            on_report=lambda report: context.report(
                ffmpeg.encode_progress(report, self.frames, ENCODING)
            ),
        )
        await asyncio.to_thread(mp4.end_at, context.result, self.length_s)

    async def _verify(self, use: EncoderUse) -> Output:
        """A picture ends with a frame, and sound with a frame of AAC."""
        self.context.report(stage(job_pb2.STAGE_VERIFYING, self.frames, self.frames))
        picture_s = float(1 / self.video.frame_rate)
        tolerance_s = max(picture_s, _AAC_FRAME_SAMPLES / self.audio.sample_rate)
        expected = Expected(self.length_s, self.length_s, tolerance_s=tolerance_s)
        return await verify(self.context.result, expected, use)
