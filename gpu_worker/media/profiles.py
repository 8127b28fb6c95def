"""Encoders and their options: one in hardware and one in software for each codec. Pure data.

Quality is asked for on x264's CRF scale. For the other software encoders the translation was
measured (docs/encoders.md): the same VMAF on the same clip. NVENC's CQ counts like CRF for
H.264 and HEVC, and to 63 for AV1; that was never measured on hardware here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from apigpu.video.v1 import operations_pb2 as contract

from gpu_worker.media.process import CODING, Limits

DEFAULT_QUALITY = 23
_WORST = 51
_WORST_AV1 = 63
# CUDA reserves far more address space than it uses: no memory limit for hardware encodes.
_HARDWARE_LIMITS = Limits(files=4096, devices=True)

Codec: TypeAlias = "contract.VideoCodec.ValueType"
CODECS: tuple[Codec, ...] = (
    contract.VIDEO_CODEC_H264,
    contract.VIDEO_CODEC_HEVC,
    contract.VIDEO_CODEC_AV1,
)

_NAMES: Mapping[Codec, str] = {
    contract.VIDEO_CODEC_H264: "h264",
    contract.VIDEO_CODEC_HEVC: "hevc",
    contract.VIDEO_CODEC_AV1: "av1",
}


@dataclass(frozen=True)
class Profile:
    """An encoder and its options, without what depends on the video."""

    name: str
    codec: Codec
    hardware: bool
    options: tuple[str, ...]

    @property
    def codec_name(self) -> str:
        """FFmpeg's name of the codec."""
        return _NAMES[self.codec]

    @property
    def limits(self) -> Limits:
        return _HARDWARE_LIMITS if self.hardware else CODING


def _nvenc(cq: int) -> tuple[str, ...]:
    return ("-preset", "p4", "-tune", "hq", "-rc", "vbr", "-cq", str(cq), "-b:v", "0")


def _x264(quality: int) -> tuple[str, ...]:
    # What superfast lacks most beside veryfast is this tree: with it, a third less work for files
    # that look alike and are hardly larger.
    tree = "mbtree=1:rc-lookahead=10"
    return ("-preset", "superfast", "-crf", str(quality), "-x264-params", tree)


def _x265(quality: int) -> tuple[str, ...]:
    crf = min(_WORST, quality + 4)
    return ("-preset", "superfast", "-crf", str(crf), "-x265-params", "log-level=error")


def _svt_av1(quality: int) -> tuple[str, ...]:
    # Its scale is steeper below 43 than above, and its last steps are very bad.
    steps = quality - DEFAULT_QUALITY
    crf = min(_WORST_AV1, max(1, round(43 + steps * (3.2 if steps < 0 else 1.8))))
    return ("-preset", "10", "-crf", str(crf))


_OptionsOf = Callable[[int], tuple[str, ...]]
# Players of Apple know HEVC by this tag only.
_HVC1 = ("-tag:v", "hvc1")
_HARDWARE: Mapping[Codec, tuple[str, _OptionsOf]] = {
    contract.VIDEO_CODEC_H264: ("h264_nvenc", _nvenc),
    contract.VIDEO_CODEC_HEVC: ("hevc_nvenc", lambda quality: (*_nvenc(quality), *_HVC1)),
    contract.VIDEO_CODEC_AV1: (
        "av1_nvenc",
        lambda quality: _nvenc(round(quality * _WORST_AV1 / _WORST)),
    ),
}
_SOFTWARE: Mapping[Codec, tuple[str, _OptionsOf]] = {
    contract.VIDEO_CODEC_H264: ("libx264", _x264),
    contract.VIDEO_CODEC_HEVC: ("libx265", lambda quality: (*_x265(quality), *_HVC1)),
    contract.VIDEO_CODEC_AV1: ("libsvtav1", _svt_av1),
}


def profile(codec: Codec, *, hardware: bool, quality: int = DEFAULT_QUALITY) -> Profile:
    """The encoder for a codec. quality: 1 (best) to 51, as x264's CRF counts."""
    name, options = (_HARDWARE if hardware else _SOFTWARE)[codec]
    return Profile(name, codec, hardware, options(quality))


# In the order of preference.
ALL = tuple(profile(codec, hardware=hardware) for codec in CODECS for hardware in (True, False))
