"""Small real media for tests, and what a player would see and hear of a file.

Samples are made by the FFmpeg that the worker uses; results are read back with PyAV, which
shares no code with what is tested.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from gpu_worker.media.encoders import bundled_ffmpeg

Gray = npt.NDArray[np.float64]
_MAKE_TIMEOUT_S = 60


def ffmpeg_path() -> Path:
    """The FFmpeg under test: the bundled one, or the one that APIGPU_TEST_FFMPEG names."""
    named = os.environ.get("APIGPU_TEST_FFMPEG")
    return Path(named) if named else bundled_ffmpeg()


def make(*arguments: str | Path) -> None:
    """Run FFmpeg to make a sample."""
    command = [str(bundled_ffmpeg()), "-hide_banner", "-nostdin", "-loglevel", "error", "-y"]
    command += [str(argument) for argument in arguments]
    subprocess.run(command, check=True, timeout=_MAKE_TIMEOUT_S)


def video(
    path: Path,
    *,
    duration_s: float = 2.0,
    size: tuple[int, int] = (320, 180),
    rate: str = "24",
    tone_hz: int | None = None,
    tone_s: float | None = None,
    codec: Sequence[str] = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "24"),
    audio_codec: Sequence[str] = ("-c:a", "aac"),
    more: Sequence[str] = (),
) -> Path:
    """A moving test pattern; with `tone_hz`, a sine as its sound (`tone_s` long)."""
    source = f"testsrc2=size={size[0]}x{size[1]}:rate={rate}:duration={duration_s}"
    inputs: list[str] = ["-f", "lavfi", "-i", source]
    sound: list[str] = []
    if tone_hz is not None:
        inputs += ["-f", "lavfi", "-i", _sine(tone_hz, tone_s or duration_s)]
        sound = ["-map", "0:v", "-map", "1:a", *audio_codec]
    make(*inputs, *sound, *codec, "-pix_fmt", "yuv420p", *more, path)
    return path


def plain_video(
    path: Path,
    *,
    duration_s: float = 4.0,
    size: tuple[int, int] = (640, 360),
    rate: int = 10,
    more: Sequence[str] = (),
) -> Path:
    """Nothing but dark blue: whatever else is to be seen was drawn later."""
    source = f"color=c=0x102040:size={size[0]}x{size[1]}:rate={rate}:duration={duration_s}"
    make("-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p", *more, path)
    return path


def tone(path: Path, hz: int, duration_s: float, codec: Sequence[str] = ()) -> Path:
    """A sine. The codec follows from the name, if none is given."""
    make("-f", "lavfi", "-i", _sine(hz, duration_s), *codec, path)
    return path


def _sine(hz: int, duration_s: float) -> str:
    return f"sine=frequency={hz}:sample_rate=48000:duration={duration_s}"


@dataclass(frozen=True)
class Seen:
    """The pictures of a file as a player shows them. times_s: when each one is shown."""

    frames: list[av.VideoFrame]
    times_s: list[float]
    codec: str
    pixel_format: str
    colors: tuple[int, int, int, int]

    def gray(self, index: int) -> Gray:
        """The luma of a frame."""
        return plane(self.frames[index], 0)

    def rgb(self, index: int) -> npt.NDArray[np.uint8]:
        return self.frames[index].to_ndarray(format="rgb24").astype(np.uint8)

    @property
    def ends_s(self) -> float:
        """When the last picture disappears, if all are shown equally long."""
        step = self.times_s[1] - self.times_s[0] if len(self.times_s) > 1 else 0.0
        return self.times_s[-1] + step


def watch(path: Path) -> Seen:
    """Decode all pictures of a file. colors: range, space, primaries and transfer, by number."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        context = stream.codec_context
        colors = (
            context.color_range,
            context.colorspace,
            context.color_primaries,
            context.color_trc,
        )
        return Seen(
            frames,
            [float(frame.time) for frame in frames],
            context.name,
            context.pix_fmt or "",
            (int(colors[0]), int(colors[1]), int(colors[2]), int(colors[3])),
        )


def plane(frame: av.VideoFrame, index: int) -> Gray:
    """One plane of a picture, without the padding at the end of its rows."""
    data = frame.planes[index]
    rows = np.frombuffer(bytes(data), np.uint8).reshape(data.height, data.line_size)
    pixels: Gray = rows[:, : data.width].astype(np.float64)
    return pixels


@dataclass(frozen=True)
class Heard:
    """The sound of a file as a player plays it: one channel."""

    samples: npt.NDArray[np.float64]
    rate: int
    codec: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate

    def pitch_hz(self) -> float:
        """The strongest frequency."""
        windowed = self.samples * np.hanning(len(self.samples))
        spectrum = np.abs(np.fft.rfft(windowed))
        return float(np.argmax(spectrum)) * self.rate / len(self.samples)


def listen(path: Path) -> Heard:
    """Decode all the sound of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        parts = [frame.to_ndarray() for frame in container.decode(stream)]
        rate = int(stream.codec_context.sample_rate)
        channels = stream.codec_context.channels
        name = stream.codec_context.name
    planar = [part if part.shape[0] == channels else part.reshape(-1, channels).T for part in parts]
    return Heard(np.concatenate([part[0] for part in planar]).astype(np.float64), rate, name)
