"""FFmpeg's own report becomes what callers are told."""

from __future__ import annotations

import pytest
from apigpu.video.v1 import job_pb2

from gpu_worker.media.ffmpeg import Report, encode_progress, parse_report

SPAN = (5.0, 96.0)


def test_a_report_is_read() -> None:
    block = {"frame": "48", "fps": "96.5", "speed": "4.02x", "out_time_us": "2000000"}
    assert parse_report(block) == Report(frames=48, fps=96.5, speed=4.02)


def test_what_ffmpeg_does_not_know_yet_is_zero() -> None:
    assert parse_report({"fps": "0.00", "speed": "N/A"}) == Report(0, 0.0, 0.0)
    assert parse_report({"frame": "-1", "speed": "infx"}) == Report(0, 0.0, 0.0)


@pytest.mark.parametrize(("frames", "percent"), [(0, 5.0), (60, 50.5), (120, 96.0), (130, 96.0)])
def test_encoding_fills_its_part_of_the_hundred(frames: int, percent: float) -> None:
    progress = encode_progress(Report(frames, 24.0, 1.0), 120, SPAN)
    assert progress.stage == job_pb2.STAGE_ENCODING
    assert progress.percent == pytest.approx(percent)
    assert progress.frames_total >= progress.frames_done == frames


def test_the_time_left_follows_from_the_speed() -> None:
    progress = encode_progress(Report(60, 24.0, 1.0), 120, SPAN)
    assert progress.time_left.ToMilliseconds() == 2500
    assert not encode_progress(Report(0, 0.0, 0.0), 120, SPAN).HasField("time_left")
