"""The REST paths of the old product: waiting for results, refusals in its words, disconnects."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from apigpu.video.v1 import video_service_pb2

from apigpu_common.errors import InvalidInput
from orchestrator.http.rest import models
from tests import requests
from tests.integration.http.conftest import Doors, Open
from tests.scripted_worker import Sender, do_all
from tests.services import connect

CAPTION = {"url_video": "https://media.example/v.mp4", "url_srt": "https://media.example/s.srt"}
ADD_AUDIO = {"url_video": "https://media.example/v.mp4", "url_audio": "https://media.example/a.mp3"}


def images(*ids: str) -> dict[str, Any]:
    return {
        "images": [
            {"id": one, "image_url": "https://media.example/p.jpg", "duracao": 6.48} for one in ids
        ]
    }


async def body_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await response.read())
    return told


async def test_health_needs_no_more_than_to_be_asked(doors: Doors) -> None:
    async with doors.http.get("/health") as response:
        told = await body_of(response)
    assert response.status == 200
    assert (told["status"], told["service"]) == ("healthy", "AutoDark Orchestrator")
    assert told["runpod"] == {"configured": False}


async def test_a_post_waits_and_gives_a_link_that_can_be_fetched(doors: Doors) -> None:
    async with doors.http.post("/video/caption", json=CAPTION) as response:
        told = await body_of(response)
    assert response.status == 200, told
    assert told["message"] == "Video caption added successfully"
    async with doors.http.get(told["video_url"]) as video:
        assert (video.status, await video.read()) == (200, b"a video")
    execution, stats = told["execution"], told["stats"]
    assert execution["durationMs"] == stats["delayTime"] + stats["executionTime"]
    async with doors.http.get(f"/job/{stats['jobId']}") as response:
        state = await body_of(response)
    models.JobState.model_validate(state)  # as the description says
    assert state["status"] == "COMPLETED"
    assert state["output"]["video_url"].split("?")[0] == told["video_url"].split("?")[0]


async def test_a_batch_keeps_its_ids_and_tells_which_images_failed(open_doors: Open) -> None:
    async def spoil_second(task: Any, sender: Sender) -> None:
        sender.start()
        good = [await sender.succeed(item) for item in ("img-1", "img-3")]
        error = InvalidInput("SOURCE_NOT_FOUND", "The server answered 404.")
        field = "job.images_to_videos.images[1].image"
        bad = sender.fail("img-2", error.blaming(field))
        sender.finish([good[0], bad, good[1]])

    async with (
        open_doors(spoil_second) as doors,
        doors.http.post("/video/img2vid", json=images("img-1", "img-2", "img-3")) as response,
    ):
        told = await body_of(response)
    assert response.status == 200
    assert [video["id"] for video in told["videos"]] == ["img-1", "img-3"]
    assert (told["stats"]["total"], told["stats"]["processed"]) == (3, 2)
    (failed,) = told["failed"]
    assert (failed["id"], failed["reason"], failed["field"]) == (
        *("img-2", "SOURCE_NOT_FOUND"),
        "images[1].image_url",
    )


async def test_a_failed_job_is_a_500_that_says_why(open_doors: Open) -> None:
    async def fail(task: Any, sender: Sender) -> None:
        sender.start()
        error = InvalidInput("SOURCE_NOT_FOUND", "Failed to download image from URL")
        sender.finish([sender.fail("video", error.blaming("job.add_audio.audio"))])

    async with (
        open_doors(fail) as doors,
        doors.http.post("/video/addaudio", json=ADD_AUDIO) as response,
    ):
        told = await body_of(response)
        assert response.status == 500
    assert told["error"] == "Processing failed"
    assert told["message"] == "Failed to download image from URL"
    assert (told["reason"], told["field"]) == ("SOURCE_NOT_FOUND", "url_audio")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/video/caption", {}, "url_video and url_srt are required"),
        ("/video/caption", {**CAPTION, "url_srt": ""}, "url_video and url_srt are required"),
        ("/video/caption", {**CAPTION, "url_srt": 7}, "url_video and url_srt are required"),
        ("/video/addaudio", {"url_audio": "x"}, "url_video and url_audio are required"),
        ("/video/img2vid", {}, "images array is required with at least one image"),
        ("/video/img2vid", {"images": []}, "images array is required with at least one image"),
        (
            *("/video/img2vid", {"images": [{"id": "a", "image_url": "https://a.example/"}]}),
            "Each image must have id, image_url, and duracao",
        ),
        (
            *("/video/caption", {**CAPTION, "url_video": "file:///etc/passwd"}),
            "url_video: must be an absolute http:// or https:// URL without spaces;"
            " send local files with UploadFile",
        ),
        ("/video/caption", [], "The request body must be a JSON object"),
    ],
)
async def test_a_bad_request_is_refused_in_the_old_words(
    doors: Doors, path: str, body: Any, message: str
) -> None:
    async with doors.http.post(path, json=body) as response:
        told = await body_of(response)
    assert (response.status, told["error"], told["message"]) == (400, "Bad Request", message)
    assert told["reason"] == "INVALID_REQUEST"
    assert not told["field"].startswith("job")


async def test_a_long_wait_is_kept_alive_and_ends_with_the_result(open_doors: Open) -> None:
    """Proxies cut what is silent: the head comes early, then spaces, then the JSON."""
    release = asyncio.Event()

    async def slowly(task: Any, sender: Sender) -> None:
        await release.wait()
        await do_all(task, sender)

    async with (
        open_doors(slowly, http_patience_s=0.05) as doors,
        doors.http.post("/video/caption", json=CAPTION) as response,
    ):
        assert response.status == 200
        assert response.headers["x-job-id"]
        assert await response.content.readexactly(3) == b"   "
        release.set()
        told = await body_of(response)
    assert (told["code"], told["stats"]["jobId"]) == (200, response.headers["x-job-id"])


async def test_a_failure_after_an_early_head_is_told_in_the_body(open_doors: Open) -> None:
    release = asyncio.Event()

    async def fail(task: Any, sender: Sender) -> None:
        await release.wait()
        sender.start()
        sender.finish([sender.fail("video", InvalidInput("SOURCE_NOT_FOUND", "404"))])

    async with (
        open_doors(fail, http_patience_s=0.05) as doors,
        doors.http.post("/video/caption", json=CAPTION) as response,
    ):
        assert response.status == 200  # it was sent before anything was known
        release.set()
        told = await body_of(response)
    assert (told["code"], told["error"], told["reason"]) == (
        *(500, "Processing failed"),
        "SOURCE_NOT_FOUND",
    )


async def test_a_client_that_leaves_does_not_end_the_job(open_doors: Open) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slowly(task: Any, sender: Sender) -> None:
        begun.set()
        await release.wait()
        await do_all(task, sender)

    async with open_doors(slowly) as doors:
        waiting = asyncio.create_task(doors.http.post("/video/caption", json=CAPTION))
        await begun.wait()
        waiting.cancel()  # closes the connection
        await asyncio.gather(waiting, return_exceptions=True)
        async with connect(doors.grpc_address) as stub:
            listed = await stub.ListJobs(video_service_pb2.ListJobsRequest())
            release.set()
            job = await requests.finished(stub.WatchJob(requests.watch(listed.jobs[0])))
    assert job.state == job.SUCCEEDED


async def test_a_stop_of_the_service_tells_who_waits_where_to_go_on(open_doors: Open) -> None:
    begun = asyncio.Event()

    async def never(task: Any, sender: Sender) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with aiohttp.ClientSession() as http:
        async with open_doors(never) as doors:
            url = f"http://{doors.http_address}/video/caption"
            waiting = asyncio.create_task(http.post(url, json=CAPTION))
            await begun.wait()
        response = await waiting
        told = await body_of(response)
    assert (response.status, told["code"], told["reason"]) == (503, 503, "SHUTTING_DOWN")
    assert told["jobId"] == response.headers["x-job-id"]


async def test_too_many_calls_are_a_429_that_says_when_to_come_back(open_doors: Open) -> None:
    key = "the-key-of-a-hasty-client"
    async with open_doors(x_api_key=key, requests_per_key="2/hour") as doors:
        for status in (200, 200, 429):
            async with doors.http.get("/", headers={"X-API-Key": key}) as response:
                told = await body_of(response)
                assert response.status == status
    assert told["error"] == "Too many requests"
    assert 0 < int(response.headers["retry-after"]) <= 3600


async def test_a_repeated_post_with_its_key_makes_no_second_job(doors: Doors) -> None:
    headers = {"Idempotency-Key": "order-1"}
    ids = []
    for _ in range(2):
        async with doors.http.post("/video/caption", json=CAPTION, headers=headers) as response:
            ids.append((await body_of(response))["stats"]["jobId"])
    assert ids[0] == ids[1]
    assert len(doors.worker.tasks) == 1


async def test_a_job_can_be_cancelled_but_not_when_it_has_ended(open_doors: Open) -> None:
    async def never(task: Any, sender: Sender) -> None:
        await asyncio.Event().wait()

    async with open_doors(never, http_patience_s=0.05) as doors:
        async with doors.http.post("/video/caption", json=CAPTION) as response:
            job_id = response.headers["x-job-id"]
            async with doors.http.post(f"/job/{job_id}/cancel") as cancelled:
                assert await body_of(cancelled) == {
                    "message": "Job cancelled successfully",
                    "jobId": job_id,
                }
            assert (await body_of(response))["reason"] == "CANCELLED"
        async with doors.http.get(f"/job/{job_id}") as state:
            told = await body_of(state)
            models.JobState.model_validate(told)
            assert told["status"] == "CANCELLED"
        doors.worker.scripts = [do_all]
        async with doors.http.post("/video/caption", json=CAPTION) as response:
            job_id = (await body_of(response))["stats"]["jobId"]
        async with doors.http.post(f"/job/{job_id}/cancel") as refused:
            assert refused.status == 500
            assert await body_of(refused) == {
                "error": "Failed to cancel job",
                "message": "Job is already completed",
            }


@pytest.mark.parametrize("job_id", ["runpod-job-abc123", "NOT-ONE-OF-OURS"])
async def test_an_unknown_job_is_a_404(doors: Doors, job_id: str) -> None:
    for method, path in (("GET", f"/job/{job_id}"), ("POST", f"/job/{job_id}/cancel")):
        async with doors.http.request(method, path) as response:
            told = await body_of(response)
        assert response.status == 404
        assert (told["error"], told["message"]) == ("Job not found", "Job ID does not exist")


async def test_pages_of_allowed_origins_may_call(open_doors: Open) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with open_doors(cors_allow_origins="https://app.example,https://b.example") as doors:
        headers = {**asked, "Access-Control-Request-Headers": "x-api-key,content-type"}
        async with doors.http.options("/video/caption", headers=headers) as response:
            assert response.status == 200
            assert response.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-api-key" in response.headers["access-control-allow-headers"]
        headers = {**headers, "Origin": "https://evil.example"}
        async with doors.http.options("/video/caption", headers=headers) as response:
            assert "access-control-allow-origin" not in response.headers
