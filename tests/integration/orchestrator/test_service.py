"""The service as a server: files, refusals, health, reflection, errors that tell nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from apigpu.video.v1 import video_service_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from apigpu_common.errors import ServiceError
from orchestrator.server import SERVICE, Orchestrator
from tests import requests
from tests.requests import pictures, refusal_of
from tests.scripted_worker import ScriptedWorker, serve
from tests.services import in_process, kept_files, settings

if TYPE_CHECKING:
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[VideoServiceAsyncStub]:
    async with serve(ScriptedWorker()) as address, in_process(tmp_path, (address,)) as stub:
        yield stub


async def test_an_uploaded_file_comes_back_byte_for_byte(stub: VideoServiceAsyncStub) -> None:
    body = bytes(range(256)) * 20_000  # 5 MB
    digest = hashlib.sha256(body).hexdigest()
    file = await stub.UploadFile(
        requests.chunks("clip.mov", body, size_bytes=len(body), sha256=digest)
    )
    assert (file.filename, file.size_bytes, file.sha256) == ("clip.mov", len(body), digest)
    for offset in (0, 1, len(body) - 3, len(body)):
        parts = [
            part
            async for part in stub.DownloadFile(
                video_service_pb2.DownloadFileRequest(name=file.name, offset=offset)
            )
        ]
        assert parts[0].file == file
        assert b"".join(part.chunk for part in parts[1:]) == body[offset:]
        assert all(len(part.chunk) <= 1024 * 1024 for part in parts)


async def test_an_upload_that_is_not_what_was_announced_leaves_nothing(
    stub: VideoServiceAsyncStub, tmp_path: Path
) -> None:
    short = await refusal_of(stub.UploadFile(requests.chunks("a", b"123", size_bytes=4)))
    assert (short.code, short.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "UPLOAD_SIZE_MISMATCH",
    )
    other = await refusal_of(stub.UploadFile(requests.chunks("a", b"123", sha256="0" * 64)))
    assert (other.code, other.reason) == (grpc.StatusCode.DATA_LOSS, "UPLOAD_CHECKSUM_MISMATCH")
    assert not kept_files(tmp_path)


async def test_an_upload_beyond_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        in_process(tmp_path, (address,), max_upload_bytes=100_000) as stub,
    ):
        refusal = await refusal_of(stub.UploadFile(requests.chunks("a", b"x" * 100_001)))
    assert refusal.reason == "FILE_TOO_LARGE"
    assert not kept_files(tmp_path)


async def test_an_upload_that_breaks_off_leaves_nothing(
    stub: VideoServiceAsyncStub, tmp_path: Path
) -> None:
    async def broken() -> AsyncIterator[video_service_pb2.UploadFileRequest]:
        async for part in requests.chunks("a", b"x" * 300_000):
            yield part
        raise RuntimeError("the client dies here")

    with pytest.raises(asyncio.CancelledError):
        await stub.UploadFile(broken())
    while kept_files(tmp_path):  # up to the test's time limit
        await stub.GetServerInfo(video_service_pb2.GetServerInfoRequest())


async def test_an_upload_without_header_or_with_two_is_refused(
    stub: VideoServiceAsyncStub,
) -> None:
    async def parts(*kinds: str) -> AsyncIterator[video_service_pb2.UploadFileRequest]:
        for kind in kinds:
            if kind == "header":
                async for part in requests.chunks("a", b""):
                    yield part
            else:
                yield video_service_pb2.UploadFileRequest(chunk=b"x")

    assert (await refusal_of(stub.UploadFile(parts("chunk")))).reason == "HEADER_MISSING"
    assert (await refusal_of(stub.UploadFile(parts()))).reason == "HEADER_MISSING"
    twice = await refusal_of(stub.UploadFile(parts("header", "chunk", "header")))
    assert twice.reason == "HEADER_REPEATED"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", ".", "..", "a\x00b"])
async def test_a_file_name_with_a_path_in_it_is_refused(
    stub: VideoServiceAsyncStub, name: str
) -> None:
    refusal = await refusal_of(stub.UploadFile(requests.chunks(name, b"x")))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.fields == ["header.filename"]


async def test_what_is_not_there_is_not_found(stub: VideoServiceAsyncStub) -> None:
    name = "jobs/0123456789"
    for call in (
        stub.GetJob(video_service_pb2.GetJobRequest(name=name)),
        stub.CancelJob(video_service_pb2.CancelJobRequest(name=name)),
        stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=name)),
        stub.WatchJob(video_service_pb2.WatchJobRequest(name=name)).read(),
        stub.DownloadFile(video_service_pb2.DownloadFileRequest(name="files/0123")).read(),
    ):
        assert (await refusal_of(call)).code is grpc.StatusCode.NOT_FOUND


async def test_an_offset_behind_the_end_is_refused(stub: VideoServiceAsyncStub) -> None:
    file = await stub.UploadFile(requests.chunks("a", b"123"))
    refusal = await refusal_of(
        stub.DownloadFile(video_service_pb2.DownloadFileRequest(name=file.name, offset=4)).read()
    )
    assert refusal.reason == "OFFSET_OUT_OF_RANGE"


async def test_an_invalid_request_names_every_bad_field(stub: VideoServiceAsyncStub) -> None:
    spec = pictures("a", "b")
    spec.images_to_videos.width = 13
    spec.images_to_videos.images[1].image.uri = "nonsense"
    for call in (
        stub.CreateJob(requests.create(spec)),
        stub.RunJob(requests.run(spec)).read(),
    ):
        refusal = await refusal_of(call)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.reason == "INVALID_REQUEST"
        assert set(refusal.fields) == {
            "job.images_to_videos.width",
            "job.images_to_videos.images[1].image.uri",
        }


async def test_our_own_failures_tell_the_caller_nothing_of_our_inside(
    stub: VideoServiceAsyncStub, tmp_path: Path
) -> None:
    job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database, database:
        database.execute("UPDATE jobs SET body = x'ff'")  # no code of ours expects that
    refusal = await refusal_of(stub.GetJob(video_service_pb2.GetJobRequest(name=job.name)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "pars" not in refusal.message.lower()


async def test_health_is_told_for_each_service_and_for_the_whole(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path, (address,))) as orchestrator,
        grpc.aio.insecure_channel(orchestrator.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        refusal = await refusal_of(health.Check(health_pb2.HealthCheckRequest(service="other")))
        assert refusal.code is grpc.StatusCode.NOT_FOUND
        watch = aiter(health.Watch(health_pb2.HealthCheckRequest(service=SERVICE)))
        assert (await anext(watch)).status == health_pb2.HealthCheckResponse.SERVING
        await orchestrator.drain()
        assert (await anext(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_client_that_knows_only_reflection_can_call(
    stub: VideoServiceAsyncStub, tmp_path: Path, version: str
) -> None:
    """List, describe and call without any generated code of ours."""
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path / "other", (address,))) as orchestrator,
        grpc.aio.insecure_channel(orchestrator.address) as channel,
    ):
        call: Any = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await call.read()).list_services_response.service
        assert SERVICE in {service.name for service in listed}
        assert f"grpc.reflection.{version}.ServerReflection" in {s.name for s in listed}

        pool = descriptor_pool.DescriptorPool()
        wanted = ["apigpu/video/v1/video_service.proto"]
        known: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        while wanted:
            name = wanted.pop()
            if name in known:
                continue
            await call.write(reflection_pb2.ServerReflectionRequest(file_by_filename=name))
            answer = await call.read()
            for raw in answer.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(raw)
                known[file.name] = file
                wanted += file.dependency
        _add_in_order(pool, known)
        await call.done_writing()
        method = pool.FindServiceByName(SERVICE).methods_by_name["GetServerInfo"]
        request_type = message_factory.GetMessageClass(method.input_type)
        response_type = message_factory.GetMessageClass(method.output_type)
        info: Any = await channel.unary_unary(
            f"/{SERVICE}/{method.name}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )(request_type())
        assert info.version


def _add_in_order(
    pool: descriptor_pool.DescriptorPool, files: dict[str, descriptor_pb2.FileDescriptorProto]
) -> None:
    added: set[str] = set()

    def add(name: str) -> None:
        if name not in added:
            added.add(name)
            for dependency in files[name].dependency:
                add(dependency)
            pool.Add(files[name])

    for name in files:
        add(name)


async def test_reflection_can_be_switched_off(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path, (address,), reflection=False)) as orchestrator,
        grpc.aio.insecure_channel(orchestrator.address) as channel,
    ):
        call: Any = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        )()
        await call.write(b"")
        refusal = await refusal_of(call.read())
        assert refusal.code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_second_service_on_the_same_port_fails_loudly(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path, (address,))) as first,
    ):
        refused = pytest.raises(ServiceError, match=r"APIGPU_LISTEN=.*already in use")
        with refused:
            async with Orchestrator(settings(tmp_path / "2", (address,), listen=first.address)):
                pass
