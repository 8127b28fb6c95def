"""Whole jobs on real media through the whole service: what comes out, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from apigpu.video.v1 import job_pb2, operations_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Item, Job
from google.rpc import code_pb2
from PIL import Image

from tests import media_samples, requests
from tests.e2e.conftest import Backend
from tests.services import connect, in_process, process, worker_process

SRT = "1\n00:00:00,200 --> 00:00:00,800\nHello\n"


@pytest.fixture
async def stub(tmp_path: Path, backend: Backend) -> AsyncIterator[Any]:
    data_dir = tmp_path / "data"
    async with (
        process(data_dir, **backend.environment) as service,
        connect(service.address) as stub,
    ):
        yield stub


async def sent(stub: Any, path: Path) -> operations_pb2.MediaSource:
    file = await stub.UploadFile(requests.chunks(path.name, path.read_bytes()))
    return operations_pb2.MediaSource(file=file.name)


async def done(stub: Any, **operation: Any) -> Job:
    return await requests.finished(stub.RunJob(requests.run(job_pb2.Job(**operation))))


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


async def test_every_bad_input_is_told_with_field_and_reason_and_the_next_job_runs(
    stub: Any, tmp_path: Path
) -> None:
    video = media_samples.video(tmp_path / "v.mp4", duration_s=1.0, tone_hz=440)
    silent = media_samples.video(tmp_path / "silent.mp4", duration_s=1.0)
    sound = media_samples.tone(tmp_path / "sound.wav", hz=440, duration_s=1.0)
    captions = written(tmp_path / "c.srt", SRT)
    text = written(tmp_path / "text.mp4", "only words\n" * 100)
    cut_off = written(tmp_path / "cut.mp4", video.read_bytes()[:2000])
    empty = written(tmp_path / "empty.mp4", b"")
    html = written(tmp_path / "page.srt", "<!doctype html><html><body>404</body></html>")
    no_cue = written(tmp_path / "none.srt", "1\n00:00:05,000 --> 00:00:01,000\n\n")
    noise = written(tmp_path / "noise.srt", bytes(range(256)) * 20)
    # which field of which operation gets which file, and what is told
    cases = [
        ("caption", "video", text, "NOT_A_VIDEO"),
        ("caption", "video", empty, "NOT_A_VIDEO"),
        ("caption", "video", cut_off, "MEDIA_UNREADABLE"),
        ("caption", "video", captions, "NOT_A_VIDEO"),
        ("caption", "subtitles", html, "SUBTITLES_UNREADABLE"),
        ("caption", "subtitles", noise, "SUBTITLES_UNREADABLE"),
        ("caption", "subtitles", empty, "SUBTITLES_UNREADABLE"),
        ("caption", "subtitles", no_cue, "SUBTITLES_"),
        ("caption", "subtitles", video, "SUBTITLES_"),
        ("add_audio", "video", sound, "NOT_A_VIDEO"),
        ("add_audio", "audio", silent, "NO_AUDIO_STREAM"),
        ("add_audio", "audio", text, "NOT_AUDIO"),
    ]
    good = {"video": video, "subtitles": captions, "audio": sound}
    sources = {
        path: await sent(stub, path) for path in {case[2] for case in cases} | {*good.values()}
    }
    fields = {"caption": ("video", "subtitles"), "add_audio": ("video", "audio")}
    for operation, field, path, reason in cases:
        media = {name: sources[path if name == field else good[name]] for name in fields[operation]}
        job = await done(stub, **{operation: media})
        told = f"{operation}.{field} = {path.name}: {job.error}"
        assert job.state == Job.FAILED, told
        assert job.error.code == code_pb2.INVALID_ARGUMENT, told
        assert requests.reason_of(job.error).startswith(reason), told
        assert requests.blamed_by(job.error) == [f"job.{operation}.{field}"], told
        assert str(tmp_path) not in str(job.error), told
        assert len(job.error.message) > 20, told
    job = await done(stub, caption={"video": sources[video], "subtitles": sources[captions]})
    assert job.state == Job.SUCCEEDED


async def test_a_link_that_cannot_be_fetched_is_told_with_its_field_and_not_tried_again(
    stub: Any,
) -> None:
    image = operations_pb2.Image(
        id="a", image=requests.source("http://169.254.169.254/a.jpg?sig=x")
    )
    image.duration.CopyFrom(requests.seconds(1))
    spec = job_pb2.Job(images_to_videos=operations_pb2.ImagesToVideos(images=[image]))
    story = await requests.collect(stub.RunJob(requests.run(spec)))
    error = story[-1].finished.error
    assert error.code == code_pb2.INVALID_ARGUMENT
    assert requests.reason_of(error) == "SOURCE_ADDRESS_REFUSED"
    assert requests.blamed_by(error) == ["job.images_to_videos.images[0].image"]
    assert "169.254.169.254" in error.message and "sig" not in error.message
    states = [event.item.state for event in story if event.HasField("item")]
    assert Item.QUEUED not in states, "an input that is refused was tried again"


async def test_one_bad_picture_of_five_leaves_four_clips_in_order(
    stub: Any, tmp_path: Path
) -> None:
    spec = operations_pb2.ImagesToVideos(width=320, height=180)
    for name in ("first", "second", "broken", "fourth", "fifth"):
        path = tmp_path / f"{name}.jpg"
        if name == "broken":
            written(path, "a letter, not a picture")
        else:
            Image.effect_noise((640, 360), 60).convert("RGB").save(path)
        image = operations_pb2.Image(id=name, image=await sent(stub, path))
        image.duration.CopyFrom(requests.seconds(0.5))
        spec.images.append(image)
    job = await done(stub, images_to_videos=spec)
    assert job.state == Job.PARTIALLY_SUCCEEDED
    assert [item.id for item in job.items] == ["first", "second", "broken", "fourth", "fifth"]
    assert [item.state == Item.SUCCEEDED for item in job.items] == [True, True, False, True, True]
    broken = job.items[2].error
    assert requests.reason_of(broken) == "NOT_AN_IMAGE"
    assert requests.blamed_by(broken) == ["job.images_to_videos.images[2].image"]


async def test_the_three_operations_in_a_row_give_what_was_asked_for(
    stub: Any, tmp_path: Path
) -> None:
    """A picture becomes a clip, the clip gets sound, the sounding clip gets captions."""
    picture = tmp_path / "noise.png"
    Image.effect_noise((1600, 1200), 60).convert("RGB").save(picture)
    image = operations_pb2.Image(id="clip", image=await sent(stub, picture))
    image.duration.CopyFrom(requests.seconds(1.5))
    clip = await done(stub, images_to_videos={"images": [image]})
    output = clip.items[0].output
    assert (output.width, output.height, output.frame_rate) == (1920, 1080, 24)
    assert (output.frame_count, output.video_codec, output.pixel_format) == (36, "h264", "yuv420p")
    assert output.filename == "clip.mp4"
    assert output.encoder.requested == "h264_nvenc"
    assert output.encoder.used == "h264_nvenc" or output.encoder.reason

    sound = await sent(stub, media_samples.tone(tmp_path / "tone.wav", hz=440, duration_s=1.0))
    with_sound = await done(
        stub, add_audio={"video": operations_pb2.MediaSource(file=output.file), "audio": sound}
    )
    sounding = with_sound.items[0].output
    assert sounding.audio_codec == "aac"
    assert abs(sounding.duration.ToTimedelta().total_seconds() - 1.0) < 0.05

    captions = await sent(stub, written(tmp_path / "c.srt", SRT))
    captioned = await done(
        stub,
        caption={"video": operations_pb2.MediaSource(file=sounding.file), "subtitles": captions},
    )
    last = captioned.items[0].output
    assert captioned.state == Job.SUCCEEDED
    assert last.frame_count == sounding.frame_count
    assert last.filename == "clip-with-audio-captioned.mp4"
    downloaded = b"".join(
        [
            part.chunk
            async for part in stub.DownloadFile(
                video_service_pb2.DownloadFileRequest(name=last.file)
            )
        ]
    )
    assert len(downloaded) == last.size_bytes


@pytest.mark.one_backend("it is about workers by address")
async def test_a_worker_by_address_shares_no_disk_with_the_service(tmp_path: Path) -> None:
    """Inputs and results go over signed HTTP links, between two processes that know no path
    of each other."""
    picture = tmp_path / "noise.png"
    Image.effect_noise((640, 360), 60).convert("RGB").save(picture)
    async with (
        worker_process(tmp_path / "work") as (_, address),
        in_process(tmp_path / "data", (address,)) as stub,
    ):
        info = await stub.GetServerInfo(video_service_pb2.GetServerInfoRequest())
        assert (info.backend, [worker.address for worker in info.workers]) == ("workers", [address])
        image = operations_pb2.Image(id="clip", image=await sent(stub, picture))
        image.duration.CopyFrom(requests.seconds(0.5))
        spec = operations_pb2.ImagesToVideos(images=[image], width=320, height=180)
        job = await done(stub, images_to_videos=spec)
        assert job.state == Job.SUCCEEDED, job.error
        output = job.items[0].output
        stored = tmp_path / "data" / "files" / output.file.removeprefix("files/")
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == output.sha256
