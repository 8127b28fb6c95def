"""How loud a sound is, by EBU R 128: measured by FFmpeg's ebur128 filter in a child process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apigpu.video.v1.job_pb2 import Loudness, Warning
from apigpu.video.v1.operations_pb2 import LoudnessTarget

from gpu_worker.media import ffmpeg

_TRUE_PEAK_DBTP = -1.0
_PEAK_TOLERANCE_DB = 0.1  # as finely as the filter tells it
# From this version on FFmpeg decodes what it has just encoded (-dec).
_HEARS_ITSELF = 8
_METER = "ebur128=peak=true:framelog=verbose"
# The gate of R 128: below it there is only silence.
_SILENCE_LUFS = -70.0
_VALUES = {
    "integrated": re.compile(r"\bI: +(-?[\d.]+) LUFS"),
    "range": re.compile(r"\bLRA: +(-?[\d.]+) LU\b"),
    "true_peak": re.compile(r"\bPeak: +(-?[\d.]+) dBFS"),
}


@dataclass(frozen=True)
class Gain:
    """What is done to a sound. warnings: why its target is not reached, if it is not."""

    db: float
    warnings: tuple[Warning, ...] = ()


async def measure(
    binary: Path, source: Sequence[str], stream: int, length_s: float, cwd: Path
) -> Loudness:
    """Of the first `length_s` seconds of a stream.

    source: FFmpeg's arguments that open the file. Raises ChildFailed.
    """
    log = await ffmpeg.run(
        binary,
        [
            *source,
            *("-map", f"0:{stream}", "-t", f"{length_s:.6f}", "-loglevel", "info"),
            *("-af", _METER, "-f", "null", "-"),
        ],
        cwd=cwd,
    )
    return parse(log)


def alongside(version: str, stream: int) -> list[str]:
    """FFmpeg's arguments behind those of its one output: a stream that it encodes there is
    decoded again and measured in the same run. What is heard is the encoder's own result, with
    what it does to peaks. Empty where this FFmpeg cannot do so."""
    major = re.match(r"n?(\d+)\.", version)
    if major is None or int(major[1]) < _HEARS_ITSELF:
        return []
    return [
        *("-loglevel", "info", "-dec", f"0:{stream}"),
        *("-filter_complex", f"[dec:0]{_METER}[heard]", "-map", "[heard]", "-f", "null", "-"),
    ]


def told(log: str) -> Loudness | None:
    """What a run with `alongside` measured; None where its log does not tell."""
    return parse(log) if "Summary:" in log and "True peak:" in log else None


def parse(log: str) -> Loudness:
    """The summary at the end of the filter's log; of silence, nothing is set."""
    summary = log.rpartition("Summary:")[2]
    found = {name: pattern.search(summary) for name, pattern in _VALUES.items()}
    values = {name: float(match[1]) for name, match in found.items() if match is not None}
    if values.get("integrated", _SILENCE_LUFS) <= _SILENCE_LUFS:
        return Loudness()
    return Loudness(**values)


def gain(source: Loudness, target: LoudnessTarget) -> Gain:
    """The one gain that brings a sound to its target, or as near as its peaks allow."""
    if not source.HasField("integrated"):
        return Gain(0.0, _not_reached("The sound is silent: no gain makes it louder."))
    wanted = target.integrated - source.integrated
    highest = _highest_peak(target)
    allowed = highest - source.true_peak if source.HasField("true_peak") else wanted
    if wanted <= allowed:
        return Gain(wanted)
    why = (
        f"{target.integrated:g} LUFS would drive peaks beyond {highest:g} dBTP: the gain is"
        f" {allowed:+.1f} dB instead of {wanted:+.1f} dB."
    )
    return Gain(allowed, _not_reached(why))


def _not_reached(why: str) -> tuple[Warning]:
    return (Warning(reason="LOUDNESS_TARGET_NOT_REACHED", message=why),)


def overshoot(made: Loudness, target: LoudnessTarget) -> list[Warning]:
    """What the encoder did to the peaks: AAC may drive them higher."""
    over_db = made.true_peak - _highest_peak(target)
    if not made.HasField("true_peak") or over_db <= _PEAK_TOLERANCE_DB:
        return []
    text = f"Encoding drove the true peak {over_db:.1f} dB beyond {_highest_peak(target):g} dBTP."
    return [Warning(reason="TRUE_PEAK_EXCEEDED", message=text)]


def _highest_peak(target: LoudnessTarget) -> float:
    return target.true_peak if target.HasField("true_peak") else _TRUE_PEAK_DBTP
