"""How much a job tells: RunPod refuses a story longer than 10 MB, and an event longer than 1 MB."""

from __future__ import annotations

import json

import pytest
from apigpu.video.v1 import job_pb2
from apigpu.worker.v1.worker_service_pb2 import ItemResult, TaskFinished
from google.protobuf import json_format

from gpu_worker.pace import Pace
from orchestrator.settings import Settings

HOUR_S = 3600.0


def story(duration_s: float, items: int, event_bytes: int = 350) -> tuple[list[float], int]:
    """The pauses between progress that is always news, and the bytes of all of it."""
    now_s, told_bytes, pauses = 0.0, 0, []
    pace = Pace(lambda: now_s)
    while now_s < duration_s:
        pace.told(items * event_bytes)
        told_bytes += items * event_bytes
        pauses.append(pace.pause_s())
        now_s += pauses[-1]
    return pauses, told_bytes


@pytest.mark.parametrize("items", [1, 3, 8])
def test_four_hours_of_progress_stay_far_below_what_runpod_takes(items: int) -> None:
    pauses, told_bytes = story(4 * HOUR_S, items)
    assert told_bytes < 3_000_000
    assert max(pauses) <= 30.0, "a long silence looks like a dead worker"


def test_a_short_job_is_told_twice_a_second() -> None:
    pauses, _ = story(60.0, items=3)
    assert set(pauses) == {0.5}


def test_the_last_event_of_the_largest_task_is_no_longer_than_runpod_takes() -> None:
    words = "The captions have characters that none of the fonts at hand can draw. " * 3
    output = job_pb2.Output(
        filename="x" * 100,
        mime_type="video/mp4",
        size_bytes=2**40,
        sha256="0" * 64,
        frame_count=2**40,
        frame_rate=23.976023976,
        width=8192,
        height=8192,
        video_codec="h264",
        pixel_format="yuv420p10le",
        audio_codec="aac",
        encoder=job_pb2.EncoderUse(requested="h264_nvenc", used="libx264", reason=words),
        color=job_pb2.Color(primaries="bt709", transfer="bt709", matrix="bt709"),
        warnings=[job_pb2.Warning(reason="MISSING_GLYPHS", message=words)] * 4,
    )
    most = Settings.model_json_schema()["properties"]["max_items_per_task"]["maximum"]
    results = [ItemResult(item_id="x" * 64, output=output)] * most
    told = json_format.MessageToDict(TaskFinished(results=results))
    assert len(json.dumps(told)) < 1_000_000
