"""Pure policies: retries, names, blame."""

from __future__ import annotations

import pytest
from apigpu.video.v1 import job_pb2, operations_pb2
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from apigpu_common.errors import InvalidInput
from orchestrator.jobs import blame
from orchestrator.jobs.naming import output_filename
from orchestrator.jobs.sources import media_sources
from orchestrator.jobs.tasks import RetryPolicy
from tests.requests import pictures, source


def test_retries_back_off_and_end() -> None:
    policy = RetryPolicy(max_attempts=5, first_backoff_s=1, max_backoff_s=3)
    assert [policy.backoff_s(made, jitter=1.0) for made in range(1, 6)] == [1, 2, 3, 3, None]
    assert policy.backoff_s(1, jitter=0.0) == 0.5


@given(st.text(min_size=1, max_size=128))
def test_a_result_can_be_saved_under_its_name(item_id: str) -> None:
    name = output_filename(pictures(item_id), item_id)
    assert name.endswith(".mp4")
    assert len(name) > len(".mp4")
    assert not set(name) & set('/\\:*?"<>|\x00\n')
    assert not name.startswith(".")


@pytest.mark.parametrize(
    ("uri", "uploaded", "name"),
    [
        ("https://x.example/a/My%20Film.mov?sig=1", "", "My Film-captioned.mp4"),
        ("https://x.example/", "", "video-captioned.mp4"),
        ("https://x.example/a%2F..%2Fb.mp4", "", "b-captioned.mp4"),
        ("", "holiday.MP4", "holiday-captioned.mp4"),
    ],
)
def test_results_are_named_after_their_source(uri: str, uploaded: str, name: str) -> None:
    video = operations_pb2.MediaSource(uri=uri)
    job = job_pb2.Job(caption=operations_pb2.Caption(video=video))
    assert output_filename(job, "video", uploaded) == name


def test_blame_points_into_the_callers_request() -> None:
    error = InvalidInput("NOT_AN_IMAGE", "is text", field="images_to_videos.images[0].image")
    told = blame.in_request(error.to_status(), item_index=7)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in told.details)
    assert bad.field_violations[0].field == "job.images_to_videos.images[7].image"


def test_every_source_of_every_operation_is_found() -> None:
    caption = operations_pb2.Caption(video=source("https://v"), subtitles=source("https://s"))
    audio = operations_pb2.AddAudio(video=source("https://v"), audio=source("https://a"))
    assert [path for path, _ in media_sources(job_pb2.Job(caption=caption))] == [
        "job.caption.video",
        "job.caption.subtitles",
    ]
    assert [path for path, _ in media_sources(job_pb2.Job(add_audio=audio))] == [
        "job.add_audio.video",
        "job.add_audio.audio",
    ]
    assert [path for path, _ in media_sources(pictures("a", "b"))] == [
        "job.images_to_videos.images[0].image",
        "job.images_to_videos.images[1].image",
    ]
