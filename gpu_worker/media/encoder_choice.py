"""Which encoder makes a picture, and why. Pure policy.

Hardware is preferred where the caller leaves the choice, it works here, the clip is long enough
to pay for its start, and one of its sessions is free. Waiting for a session would hold up a clip
that software can begin at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.job_pb2 import EncoderUse
from apigpu.video.v1.operations_pb2 import VideoEncoding

from apigpu_common.errors import PreconditionFailed
from gpu_worker.media.profiles import DEFAULT_QUALITY, Profile, profile


@dataclass(frozen=True)
class EncoderProbe:
    """What came of a short real encode. reason: why it does not work; else empty."""

    name: str
    works: bool
    reason: str


@dataclass(frozen=True)
class HardwarePolicy:
    """max_sessions: encodes at a time. min_clip_s: shorter clips are left to software."""

    max_sessions: int = 8
    min_clip_s: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """An encoder to try, and what to report if it is the one."""

    profile: Profile
    use: EncoderUse


def choose(
    encoding: VideoEncoding,
    clip_s: float,
    probes: Mapping[str, EncoderProbe],
    policy: HardwarePolicy,
    sessions_in_use: int,
    field: str,
) -> list[Candidate]:
    """The encoders to try, best first. clip_s: length of the picture.

    Raises PreconditionFailed, blaming a part of `field`, where what was asked for cannot be
    done on this worker.
    """
    codec = encoding.codec or contract.VIDEO_CODEC_H264
    quality = encoding.quality if encoding.HasField("quality") else DEFAULT_QUALITY
    hardware = profile(codec, hardware=True, quality=quality)
    software = profile(codec, hardware=False, quality=quality)
    if encoding.encoder == contract.ENCODER_KIND_HARDWARE:
        _require(hardware, probes, f"{field}.encoder", "leave `encoder` out to use software")
        return [_candidate(hardware, hardware)]
    if encoding.encoder == contract.ENCODER_KIND_SOFTWARE:
        _require(software, probes, f"{field}.codec", "choose another codec")
        return [_candidate(software, software)]
    why_not = _why_not(hardware, probes) or _why_not_now(hardware, clip_s, policy, sessions_in_use)
    candidates = [] if why_not else [_candidate(hardware, hardware)]
    if not _why_not(software, probes):
        candidates.append(_candidate(hardware, software, why_not))
    if not candidates:
        _require(software, probes, f"{field}.codec", "choose another codec")
    return candidates


def _candidate(requested: Profile, used: Profile, reason: str = "") -> Candidate:
    return Candidate(used, EncoderUse(requested=requested.name, used=used.name, reason=reason))


def _why_not(asked: Profile, probes: Mapping[str, EncoderProbe]) -> str:
    probe = probes.get(asked.name)
    if probe is None:
        return f"{asked.name} is not there"
    return "" if probe.works else f"{asked.name} does not work here: {probe.reason}"


def _why_not_now(
    asked: Profile, clip_s: float, policy: HardwarePolicy, sessions_in_use: int
) -> str:
    if clip_s < policy.min_clip_s:
        return f"{asked.name} is not started for clips of less than {policy.min_clip_s:g} s"
    if sessions_in_use >= policy.max_sessions:
        return f"all {policy.max_sessions} sessions of {asked.name} are in use"
    return ""


def _require(asked: Profile, probes: Mapping[str, EncoderProbe], field: str, instead: str) -> None:
    why_not = _why_not(asked, probes)
    if why_not:
        raise PreconditionFailed(
            "ENCODER_NOT_AVAILABLE",
            f"{why_not}. Send the job elsewhere, or {instead}.",
            field=field,
        )
