"""Nobody gets in without a key, through any RPC there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from apigpu.video.v1 import video_service_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from apigpu_client import VideoClient
from apigpu_client.blocking import connect, run_job
from apigpu_client.errors import NotAllowed
from orchestrator.interceptors.scopes import SCOPES
from orchestrator.server import SERVICE, SERVICES, Orchestrator
from tests import requests
from tests.requests import Refusal, refusal_of_raw
from tests.scripted_worker import ScriptedWorker, serve
from tests.services import settings

KEY = "a-key-that-is-long-enough"


def methods() -> list[MethodDescriptor]:
    """Every RPC of every service of ours that callers can reach."""
    pool = descriptor_pool.Default()
    return [m for name in SERVICES for m in pool.FindServiceByName(name).methods]


def full_name(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


@dataclass
class Service:
    address: str
    channel: grpc.aio.Channel
    worker: ScriptedWorker


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    worker = ScriptedWorker()
    async with (
        serve(worker) as address,
        Orchestrator(settings(tmp_path, (address,), x_api_key=KEY)) as orchestrator,
        grpc.aio.insecure_channel(orchestrator.address) as channel,
    ):
        yield Service(orchestrator.address, channel, worker)


def test_every_rpc_has_a_scope() -> None:
    assert {full_name(method) for method in methods()} == set(SCOPES)


@pytest.mark.parametrize("method", [full_name(method) for method in methods()])
async def test_no_rpc_answers_without_a_key_or_with_a_wrong_one(
    service: Service, method: str
) -> None:
    for metadata, reason in [
        ([], "API_KEY_MISSING"),
        ([("x-api-key", "")], "API_KEY_MISSING"),
        ([("x-api-key", KEY + "x")], "API_KEY_INVALID"),
        ([("x-api-key", KEY[:-1])], "API_KEY_INVALID"),
        ([("authorization", f"Bearer {KEY}x")], "API_KEY_INVALID"),
        ([("authorization", f"Basic {KEY}")], "API_KEY_MISSING"),
    ]:
        refused = await refusal_of_raw(service.channel, method, b"", *metadata)
        assert refused.code is grpc.StatusCode.UNAUTHENTICATED
        assert refused.reason == reason
    assert not service.worker.tasks


@pytest.mark.parametrize("header", [("x-api-key", KEY), ("authorization", f"bearer {KEY}")])
async def test_the_key_is_taken_from_either_header(
    service: Service, header: tuple[str, str]
) -> None:
    call: Any = service.channel.unary_unary(
        f"/{SERVICE}/GetServerInfo",
        response_deserializer=video_service_pb2.ServerInfo.FromString,
    )
    assert (await call(b"", metadata=[header])).version


async def test_the_key_is_asked_for_before_the_request_is_read(service: Service) -> None:
    call: Any = service.channel.stream_stream(f"/{SERVICE}/CreateJob")()
    with pytest.raises(grpc.aio.AioRpcError) as error:  # nothing was ever sent
        await call.read()
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("chosen", "open_services"),
    [("", set()), ("health", {"health"}), ("health,reflection", {"health", "reflection"})],
)
async def test_health_and_reflection_are_open_as_chosen(
    tmp_path: Path, chosen: str, open_services: set[str]
) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path, (address,), x_api_key=KEY, keyless=chosen)) as orchestrator,
        grpc.aio.insecure_channel(orchestrator.address) as channel,
    ):
        listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        for name, method, body in [
            ("health", "/grpc.health.v1.Health/Check", b""),
            ("reflection", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", listing),
        ]:
            call: Any = channel.stream_stream(method)(
                metadata=[] if name in open_services else [("x-api-key", KEY)]
            )
            await call.write(body)
            assert await call.read()
            call.cancel()
            if name not in open_services:
                refused = await refusal_of_raw(channel, method, body)
                assert refused.reason == "API_KEY_MISSING"


async def test_a_health_watch_needs_no_key(service: Service) -> None:
    call: Any = service.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )(health_pb2.HealthCheckRequest())
    assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING


async def test_the_clients_send_their_key(service: Service) -> None:
    async with VideoClient(service.address, api_key=KEY) as client:
        job = await client.result(requests.pictures("a"))
        file = await client.describe_file(job.items[0].output.file)
        assert file.size_bytes
        assert [found.name async for found in client.list_jobs()] == [job.name]
    async with VideoClient(service.address, api_key="another-key-of-some-length") as client:
        with pytest.raises(NotAllowed):
            await client.server_info()


async def test_the_blocking_client_sends_its_key(service: Service) -> None:
    def work() -> bool:
        with connect(service.address, api_key=KEY) as connection:
            return [*run_job(connection, requests.pictures("a"))][-1].HasField("finished")

    assert await asyncio.to_thread(work)


async def test_a_request_that_never_comes_ends_the_call(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path, (address,), message_timeout_s=0.2)) as orchestrator,
        grpc.aio.insecure_channel(orchestrator.address) as channel,
    ):
        for method in ("CreateJob", "WatchJob", "UploadFile"):
            call: Any = channel.stream_stream(f"/{SERVICE}/{method}")()
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call.read()
                await call
            assert Refusal(error.value).reason == "REQUEST_TOO_SLOW"


async def test_bytes_that_are_no_message_are_refused_plainly(service: Service) -> None:
    refused = await refusal_of_raw(
        service.channel, f"/{SERVICE}/CreateJob", b"\xff\xff\xff", ("x-api-key", KEY)
    )
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.reason == "REQUEST_MALFORMED"
