"""gRPC, Connect, gRPC-Web and REST give the same answer to the same request, errors too."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from apigpu.video.v1 import job_pb2, operations_pb2
from apigpu.video.v1 import video_service_pb2 as service
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from orchestrator.server import Orchestrator
from tests import requests
from tests.doors import KEY_HEADER, METHODS, Door, Outcome, doors_to
from tests.e2e.conftest import Scripted
from tests.scripted_worker import ScriptedWorker
from tests.services import settings

KEY = "a-key-for-every-door"
BODY = bytes(range(256)) * 5000
UNKNOWN_JOB = "jobs/0000"
PICTURES = requests.pictures("a", "b")


@dataclass
class House:
    """A service, its doors, and a job in it that has succeeded."""

    doors: list[Door]
    http: aiohttp.ClientSession
    job: job_pb2.Job
    file: str


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    tmp_path_factory: pytest.TempPathFactory, scripted: Scripted
) -> AsyncIterator[House]:
    data = tmp_path_factory.mktemp("data")
    async with (
        scripted.by(ScriptedWorker()) as backend,
        Orchestrator(settings(data, **backend.settings, x_api_key=KEY)) as running,
        aiohttp.ClientSession(f"http://{running.http_address}") as http,
        doors_to(running.address, running.http_address) as doors,
    ):
        made = await doors[0].call("RunJob", requests.run(PICTURES, request_id="same"), key=KEY)
        job = made.messages[-1].finished
        yield House(doors, http, job, job.items[0].output.file)


# What is asked through every door. A new RPC without an entry fails the test below.
Ask = Callable[[House], list[Message]]
SAME: dict[str, Ask] = {
    "CreateJob": lambda h: [requests.create(PICTURES, request_id="same")],
    "RunJob": lambda h: [requests.run(PICTURES, request_id="same")],
    "GetJob": lambda h: [service.GetJobRequest(name=h.job.name)],
    "ListJobs": lambda h: [service.ListJobsRequest(page_size=1, filter="state = SUCCEEDED")],
    "WatchJob": lambda h: [requests.watch(h.job, after=2)],
    "CancelJob": lambda h: [service.CancelJobRequest(name=h.job.name)],
    "DownloadFile": lambda h: [service.DownloadFileRequest(name=h.file, offset=3)],
    "GetFile": lambda h: [service.GetFileRequest(name=h.file)],
    "ListFiles": lambda h: [service.ListFilesRequest(page_size=2)],
    "QueryUpload": lambda h: [service.QueryUploadRequest(upload_id="never-begun-here")],
    "GetServerInfo": lambda h: [service.GetServerInfoRequest()],
    "GetBackendStatus": lambda h: [service.GetBackendStatusRequest()],
    "RetryJob": lambda h: [service.RetryJobRequest(name=h.job.name)],
}
# Those that change something each time, or never end, have tests of their own below.
OTHERWISE = {
    *("CreateUploadLink", "CompleteUpload", "UploadFile"),
    *("CreateFileLink", "DeleteFile", "DeleteJob", "WatchJobs"),
}


def same(outcomes: dict[str, Outcome]) -> Outcome:
    """Fails where one door gives another answer than gRPC."""
    first = outcomes["grpc"]
    for name, outcome in outcomes.items():
        for message in outcome.messages:
            if "observe_time" in message.DESCRIPTOR.fields_by_name:
                message.ClearField("observe_time")
        assert outcome.refusal == first.refusal, name
        assert outcome.messages == first.messages, name
    return first


async def ask_all(house: House, method: str, ask: Ask, key: str = KEY) -> Outcome:
    return same({door.name: await door.call(method, *ask(house), key=key) for door in house.doors})


@pytest.mark.parametrize("method", sorted(set(METHODS) - OTHERWISE))
async def test_every_rpc_answers_the_same_through_every_door(house: House, method: str) -> None:
    outcome = await ask_all(house, method, SAME[method])
    assert outcome.messages or outcome.reason


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_every_rpc_refuses_a_stranger_alike(house: House, method: str) -> None:
    request = GetMessageClass(METHODS[method].input_type)()
    for key in ("", "not-the-key-of-this-house"):
        outcome = await ask_all(house, method, lambda _: [request], key)
        assert outcome.code == "UNAUTHENTICATED"
        assert outcome.reason


# method, request, code, reason, field: what breaks a rule, and what is not there
REFUSED: list[tuple[str, Message, str, str, str]] = [
    *(
        (method, make(job=requests.pictures("a", "a")), "INVALID_ARGUMENT", "INVALID_REQUEST", path)
        for path in ["job.images_to_videos.images"]
        for method, make in [
            ("CreateJob", service.CreateJobRequest),
            ("RunJob", service.RunJobRequest),
        ]
    ),
    *(
        (method, make(name=UNKNOWN_JOB), "NOT_FOUND", "JOB_NOT_FOUND", "name")
        for method, make in [
            ("GetJob", service.GetJobRequest),
            ("WatchJob", service.WatchJobRequest),
            ("CancelJob", service.CancelJobRequest),
            ("DeleteJob", service.DeleteJobRequest),
        ]
    ),
    *(
        (method, make(name="not/a/job"), "INVALID_ARGUMENT", "INVALID_REQUEST", "name")
        for method, make in [
            ("GetJob", service.GetJobRequest),
            ("WatchJob", service.WatchJobRequest),
            ("CancelJob", service.CancelJobRequest),
            ("DeleteJob", service.DeleteJobRequest),
            ("DownloadFile", service.DownloadFileRequest),
        ]
    ),
    (
        *("ListJobs", service.ListJobsRequest(filter="colour = red")),
        *("INVALID_ARGUMENT", "INVALID_FILTER", "filter"),
    ),
    (
        *("DownloadFile", service.DownloadFileRequest(name="files/0000")),
        *("NOT_FOUND", "FILE_NOT_FOUND", "name"),
    ),
    (
        *("UploadFile", service.UploadFileRequest(chunk=b"no header")),
        *("INVALID_ARGUMENT", "HEADER_MISSING", "header"),
    ),
]


@pytest.mark.parametrize(("method", "request_", "code", "reason", "path"), REFUSED)
async def test_refusals_are_the_same_through_every_door(
    house: House, method: str, request_: Message, code: str, reason: str, path: str
) -> None:
    outcome = await ask_all(house, method, lambda _: [request_])
    assert (outcome.code, outcome.reason, outcome.fields) == (code, reason, [path])


async def test_uploads_arrive_whole_through_every_door(house: House) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    for door in house.doors:
        parts = [part async for part in requests.chunks("a.bin", BODY, sha256=digest)]
        sent = await door.call("UploadFile", *parts, key=KEY)
        (file,) = sent.messages
        got = await door.call("DownloadFile", service.DownloadFileRequest(name=file.name), key=KEY)
        assert b"".join(message.chunk for message in got.messages) == BODY, door.name


async def test_an_upload_by_link_can_be_made_through_every_door(house: House) -> None:
    for number, door in enumerate(house.doors):
        header = service.UploadFileHeader(
            filename="a.bin", upload_id=f"by-link-through-door-{number}", size_bytes=len(BODY)
        )
        ask = service.CreateUploadLinkRequest(header=header)
        made = await door.call("CreateUploadLink", ask, key=KEY)
        assert made.code == "OK", made
        (link,) = made.messages
        async with house.http.put(link.uri, data=BODY, headers=dict(link.headers)) as response:
            assert response.status < 300, door.name
        complete = service.CompleteUploadRequest(header=header)
        completed = {
            one.name: await one.call("CompleteUpload", complete, key=KEY) for one in house.doors
        }
        (file,) = same(completed).messages
        got = await door.call("DownloadFile", service.DownloadFileRequest(name=file.name), key=KEY)
        assert b"".join(message.chunk for message in got.messages) == BODY, door.name


async def test_all_jobs_can_be_watched_through_every_door(house: House) -> None:
    """The stream has no end: what it begins with is compared."""
    watch = service.WatchJobsRequest(initial_jobs=2)
    outcomes = {
        door.name: await door.call("WatchJobs", watch, key=KEY, take=1) for door in house.doors
    }
    assert same(outcomes).messages[0].jobs


async def test_a_link_from_any_door_can_be_fetched(house: House) -> None:
    for door in house.doors:
        ask = service.CreateFileLinkRequest(name=house.file)
        (link,) = (await door.call("CreateFileLink", ask, key=KEY)).messages
        async with house.http.get(link.uri) as response:
            assert (response.status, await response.read()) == (200, b"a video"), door.name


async def test_a_deleted_job_is_gone_through_every_door(house: House) -> None:
    for door in house.doors:
        made = await door.call("RunJob", requests.run(requests.pictures("x")), key=KEY)
        name = made.messages[-1].finished.name
        deleted = await door.call("DeleteJob", service.DeleteJobRequest(name=name), key=KEY)
        assert deleted.code == "OK", door.name
        get = service.GetJobRequest(name=name)
        gone = same({one.name: await one.call("GetJob", get, key=KEY) for one in house.doors})
        assert gone.reason == "JOB_NOT_FOUND"


async def test_a_deleted_upload_is_gone_through_every_door(house: House) -> None:
    for door in house.doors:
        parts = [part async for part in requests.chunks("a.bin", BODY)]
        (file,) = (await door.call("UploadFile", *parts, key=KEY)).messages
        ask = service.DeleteFileRequest(name=file.name)
        assert (await door.call("DeleteFile", ask, key=KEY)).code == "OK", door.name
        gone = same({one.name: await one.call("DeleteFile", ask, key=KEY) for one in house.doors})
        assert (gone.code, gone.reason) == ("NOT_FOUND", "FILE_NOT_FOUND")


# REST bodies, and the jobs that they stand for
REST = [
    (
        "/video/caption",
        {"url_video": "https://a.example/v.mp4", "url_srt": "https://a.example/s.srt"},
        {"caption": {"video": {"uri": "https://a.example/v.mp4"}}},
        {"caption": {"subtitles": {"uri": "https://a.example/s.srt"}}},
    ),
    (
        "/video/addaudio",
        {"url_video": "https://a.example/v.mp4", "url_audio": "https://a.example/a.mp3"},
        {"add_audio": {"video": {"uri": "https://a.example/v.mp4"}}},
        {"add_audio": {"audio": {"uri": "https://a.example/a.mp3"}}},
    ),
    (
        "/video/img2vid",
        {"images": [{"id": "a", "image_url": "https://a.example/p.jpg", "duracao": 6.48}]},
        {"images_to_videos": {"images": [{"id": "a"}]}},
        {},
    ),
]


@pytest.mark.parametrize(("path", "body", "part", "other"), REST)
async def test_a_rest_request_makes_the_job_that_grpc_would(
    house: House, path: str, body: Any, part: Any, other: Any
) -> None:
    request_id = f"rest-{path.rpartition('/')[2]}"
    headers = {KEY_HEADER: KEY, "idempotency-key": request_id}
    async with house.http.post(path, json=body, headers=headers) as response:
        told = await response.json()
        assert response.status == 200, told
    name = f"jobs/{told['stats']['jobId']}"
    (job,) = (await ask_all(house, "GetJob", lambda _: [service.GetJobRequest(name=name)])).messages
    # The same request by gRPC, under the same id, is the same job; any other is refused.
    asked = job_pb2.Job()
    operation = job.WhichOneof("operation")
    getattr(asked, operation).CopyFrom(getattr(job, operation))
    again = await house.doors[0].call("CreateJob", requests.create(asked, request_id), key=KEY)
    assert again.messages[0].name == name
    for told_part in (part, other):
        assert _contains(
            json_format.MessageToDict(job, preserving_proto_field_name=True), told_part
        )


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(key in whole and _contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return all(_contains(*pair) for pair in zip(whole, part, strict=True))
    return bool(whole == part)


@pytest.mark.parametrize(
    ("path", "body", "job", "words"),
    [
        (
            *("/video/caption", {"url_video": "https://a.example/v.mp4"}),
            job_pb2.Job(caption=operations_pb2.Caption(video=requests.source())),
            {"job.caption.subtitles": "url_srt"},
        ),
        (
            *(
                "/video/addaudio",
                {"url_video": "ftp://a.example/", "url_audio": "http://b.example/"},
            ),
            job_pb2.Job(
                add_audio=operations_pb2.AddAudio(
                    video=requests.source("ftp://a.example/"),
                    audio=requests.source("http://b.example/"),
                )
            ),
            {"job.add_audio.video.uri": "url_video"},
        ),
        (
            "/video/img2vid",
            {"images": [{"id": "a", "image_url": "https://a.example/p.jpg", "duracao": 601}]},
            requests.pictures("a", duration_s=601),
            {"job.images_to_videos.images[0].duration": "images[0].duracao"},
        ),
    ],
)
async def test_rest_refuses_what_grpc_refuses_for_the_same_reason(
    house: House, path: str, body: Any, job: job_pb2.Job, words: dict[str, str]
) -> None:
    outcome = await ask_all(house, "CreateJob", lambda _: [requests.create(job)])
    async with house.http.post(path, json=body, headers={KEY_HEADER: KEY}) as response:
        told = await response.json()
    assert (response.status, outcome.code) == (400, "INVALID_ARGUMENT")
    assert told["reason"] == outcome.reason
    assert [told["field"]] == [words[field] for field in outcome.fields]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", f"/video/{operation}") for operation in ("caption", "img2vid", "addaudio")),
        *(("GET", path) for path in ("/", "/runpod/health", "/runpod/config", "/job/0000")),
        ("POST", "/job/0000/cancel"),
    ],
)
async def test_rest_refuses_strangers_before_anything_else(
    house: House, method: str, path: str
) -> None:
    for headers in ({}, {KEY_HEADER: "not-the-key-of-this-house"}):
        async with house.http.request(method, path, data=b"{}", headers=headers) as response:
            told = await response.json()
        assert response.status == 401
        assert told["error"] == "Unauthorized"
        assert told["message"] == "Invalid or missing API key"
