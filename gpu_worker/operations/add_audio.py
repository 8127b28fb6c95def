"""A video gets another soundtrack. Where it can be, the picture is copied as it is: no loss, and
many times faster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.job_pb2 import Loudness, Output
from apigpu.video.v1.operations_pb2 import AddAudio
from apigpu.worker.v1.worker_service_pb2 import Task

from gpu_worker.media import ffmpeg, loudness, mp4, sniff
from gpu_worker.media.concurrency import both
from gpu_worker.media.encoders import EncodeOptions
from gpu_worker.media.loudness import Gain
from gpu_worker.media.probe import AudioStream, MediaInfo, Prober, VideoStream, probe, prober
from gpu_worker.media.process import CODING, ChildFailed, Limits
from gpu_worker.media.verify import Expected, VerificationFailed
from gpu_worker.operations import result
from gpu_worker.operations.base import ItemContext
from gpu_worker.operations.failures import encoding_failed
from gpu_worker.operations.mp4_streams import AAC, COPIED, copy_picture
from gpu_worker.operations.soundtrack import Plan, cannot_copy, plan
from gpu_worker.operations.stages import ENCODING, stage

log = logging.getLogger(__name__)

# Fine enough for every frame rate and sample rate: cuts are exact.
_TIMESCALE = "90000"
_AAC_FRAME_SAMPLES = 1024
_SOUND = 1  # the number of its stream in our files
_ONCE = "once.mp4"  # in the workspace: the picture that goes round
_NOT_EXACT = "a copy of the picture would not be exact"


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
    mux = _Mux(request, context, video_path, picture, audio_path, sound)
    return await mux.make(plan(request, picture, sound))


@dataclass(frozen=True)
class _Mux:
    """One picture and one sound on their way into one file."""

    request: AddAudio
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

    async def make(self, plan: Plan) -> Output:
        gain = await self._gain(plan)
        output = await self._make_picture(plan, gain)
        if gain is not None:
            output.loudness.gain = gain.db
            output.warnings.extend(loudness.overshoot(output.loudness, self.request.loudness))
            output.warnings.extend(gain.warnings)
        return output

    async def _make_picture(self, plan: Plan, gain: Gain | None) -> Output:
        """Copy the picture; where that is not possible or not exact, encode it."""
        if plan.encode_why:
            return await self._encode(plan, gain, plan.encode_why)
        try:
            return await self._copy(plan, gain)
        except (ChildFailed, VerificationFailed) as error:
            log.warning("a picture could not be copied: %s", error)
            if self.request.video_mode == contract.VIDEO_MODE_COPY:
                raise cannot_copy(_NOT_EXACT) from None
            return await self._encode(plan, gain, _NOT_EXACT)

    async def _copy(self, plan: Plan, gain: Gain | None) -> Output:
        options = copy_picture(self.video.codec)
        version = self.context.tools.ffmpeg_version
        meter = [] if plan.copy_sound else loudness.alongside(version, _SOUND)
        async with prober() as ready:
            try:
                log_end = await self._run(plan, gain, options, CODING, meter)
            except ChildFailed as error:
                if not meter:
                    raise
                log.warning("copied again, without measuring the loudness meanwhile: %s", error)
                log_end = await self._run(plan, gain, options, CODING)
            loud = loudness.told(log_end)
            output = await self._verify(plan, self.video.codec, ready, loud)
        output.encoder.CopyFrom(COPIED)
        return output

    async def _encode(self, plan: Plan, gain: Gain | None, why: str) -> Output:
        """why: the picture is not copied."""

        async def run(encoder: EncodeOptions) -> Output:
            # Only the decoder knows for certain when the first picture is shown.
            graph = "setpts=PTS-STARTPTS"
            if plan.picture == "pad":
                graph += ",tpad=stop=-1:stop_mode=clone"
            options = ["-vf", graph, *encoder.arguments(float(self.video.frame_rate))]
            codec = encoder.profile.codec_name
            async with prober() as ready:
                if plan.picture == "loop":
                    await self._encode_once(options, encoder.limits)
                    options = copy_picture(codec)
                await self._run(plan, gain, options, encoder.limits)
                return await self._verify(plan, codec, ready)

        try:
            output = await self.context.tools.encode(
                run, self.request.encoding, plan.length_s, "add_audio.encoding"
            )
        except ChildFailed as error:
            raise encoding_failed(error, "add_audio.video") from error
        if self.request.video_mode != contract.VIDEO_MODE_ENCODE:
            use = output.encoder
            use.reason = "; ".join(filter(None, (f"not copied: {why}", use.reason)))
        return output

    async def _run(
        self,
        plan: Plan,
        gain: Gain | None,
        video_options: Sequence[str],
        limits: Limits,
        beside: Sequence[str] = (),
    ) -> str:
        """Returns the end of FFmpeg's log."""
        picture, stream = self._picture_input(), self.video.index
        if plan.picture == "loop":
            once = self.context.workspace / _ONCE
            picture, stream = ["-stream_loop", "-1", *ffmpeg.safe_input(once, sniff.MP4)], 0
        arguments = [
            *("-copyts", *picture, "-itsoffset", f"{-max(0.0, self.audio.start_s):.6f}"),
            *ffmpeg.safe_input(self.audio_path, self.sound.format),
            *("-map", f"0:{stream}", "-map", f"1:{self.audio.index}"),
            *("-t", f"{plan.length_s:.6f}", *video_options),
            *self._sound_options(plan, gain),
            *("-map_metadata", "0", "-movie_timescale", _TIMESCALE),
        ]
        frames = plan.frames(self.video)
        log_end = await result.make(self.context, arguments, frames, limits=limits, beside=beside)
        await asyncio.to_thread(mp4.end_at, self.context.result, plan.length_s)
        return log_end

    def _picture_input(self) -> list[str]:
        """Times stay as they are in the files; the first picture is moved to 0, as the first
        sample that is heard is."""
        return [
            *("-an", "-itsoffset", f"{-self.video.start_s:.6f}"),
            *ffmpeg.safe_input(self.video_path, self.picture.format),
        ]

    async def _encode_once(self, options: Sequence[str], limits: Limits) -> None:
        """The picture that will go round. What an edit list hides would come back as a gap
        between the rounds; and no round need be encoded twice."""
        frames = self.video.frame_count
        chosen = ("-map", f"0:{self.video.index}", *options)
        await ffmpeg.run(
            self.context.tools.ffmpeg,
            ["-copyts", *self._picture_input(), *chosen, str(self.context.workspace / _ONCE)],
            cwd=self.context.workspace,
            limits=limits,
            on_report=lambda report: self.context.report(
                ffmpeg.encode_progress(report, frames, ENCODING)
            ),
        )

    def _sound_options(self, plan: Plan, gain: Gain | None) -> list[str]:
        if plan.copy_sound:
            return ["-c:a", "copy"]
        filters = ["asetpts=PTS-STARTPTS"]
        if gain is not None:
            filters.append(f"volume={gain.db:.4f}dB")
        if plan.sound == "pad":
            filters.append("apad")
        if plan.sound == "loop":
            samples = round(self.audio.duration_s * self.audio.sample_rate)
            filters.append(f"aloop=loop=-1:size={samples}")
        return ["-af", ",".join(filters), *AAC]

    async def _gain(self, plan: Plan) -> Gain | None:
        """What brings the sound, as far as it is heard, to the loudness that was asked for."""
        if not self.request.HasField("loudness"):
            return None
        heard_s = min(plan.length_s, self.audio.duration_s)
        source = ffmpeg.safe_input(self.audio_path, self.sound.format)
        try:
            found = await self._loudness(source, self.audio.index, heard_s)
        except ChildFailed as error:
            raise encoding_failed(error, "add_audio.audio") from error
        return loudness.gain(found, self.request.loudness)

    async def _loudness(self, source: Sequence[str], stream: int, length_s: float) -> Loudness:
        tools, workspace = self.context.tools, self.context.workspace
        return await loudness.measure(tools.ffmpeg, source, stream, length_s, workspace)

    async def _verify(
        self, plan: Plan, codec: str, ready: Prober, loud: Loudness | None = None
    ) -> Output:
        """A picture ends with a frame, and sound with a frame of AAC.

        loud: what was measured already; else the finished file is listened to.
        """
        picture_s = float(1 / self.video.frame_rate)
        tolerance_s = max(picture_s, _AAC_FRAME_SAMPLES / self.audio.sample_rate)
        expected = Expected(plan.length_s, plan.length_s, tolerance_s=tolerance_s, codec=codec)
        checking = result.check(self.context, expected, plan.frames(self.video), ready)
        if loud is not None:
            output = await checking
            output.loudness.CopyFrom(loud)
            return output
        made = ffmpeg.safe_input(self.context.result, sniff.MP4)
        try:
            output, heard = await both(checking, self._loudness(made, _SOUND, plan.length_s))
        except ChildFailed as error:
            log.warning("a result's sound could not be decoded: %s", error)
            raise VerificationFailed("its sound cannot be decoded") from None
        output.loudness.CopyFrom(heard)
        return output
