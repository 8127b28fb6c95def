"""Whatever happens, no secret comes out: not in the log at its loudest, not in an error, an
event, a job that another may see, or what the service tells of itself."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import yarl
from apigpu.admin.v1 import key_service_pb2 as admin
from apigpu.admin.v1.key_service_pb2_grpc import KeyServiceStub
from apigpu.video.v1 import video_service_pb2 as rpc
from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub
from apigpu.video.v1.webhook_service_pb2 import ListWebhookDeliveriesRequest
from apigpu.video.v1.webhook_service_pb2_grpc import WebhookServiceStub

from apigpu_client import VideoClient
from apigpu_client.errors import ApiGpuError
from tests import requests
from tests.otlp import collector

X_API_KEY = "configured-x-api-key-0123456789"
CONFIGURED = {
    "X_API_KEY": X_API_KEY,
    "RUNPOD_API_KEY": "configured-runpod-key-0123456789",
    "APIGPU_WEBHOOK_KEYS": "configured-webhook-key-0123456789abcdef",
    "APIGPU_LINK_KEY": "configured-link-key-0123456789abcdef",
    "APIGPU_LIMITS_STORAGE": "async+redis://:configured-redis-password@127.0.0.1:1",
}
# So that the webhook is tried.
ALLOWED = {"APIGPU_WEBHOOK_ALLOW": "127.0.0.0/8"}
IN_LINKS = ("link-signature-0123456789", "hook-signature-0123456789")
GUESSED = "guessed-key-0123456789"


async def use(address: str) -> tuple[list[str], list[str]]:
    """Do what callers do, well and badly. Returns what was told, and the secrets made meanwhile."""
    told: list[str] = []
    secrets: list[str] = []
    async with VideoClient(address, api_key=X_API_KEY) as client:
        keys = KeyServiceStub(client.channel)
        made = await keys.CreateKey(admin.CreateKeyRequest(scopes=[admin.SCOPE_JOBS_READ]))
        job = requests.pictures("a")
        job.images_to_videos.images[0].image.uri = f"http://127.0.0.1:1/x?sig={IN_LINKS[0]}"
        job.webhook.url = f"http://127.0.0.1:1/hook?sig={IN_LINKS[1]}"
        created = await client.create_job(job)
        async for event in client.watch(created.name):
            for job_told in (event.created, event.finished):  # its owner's own words are no leak
                job_told.ClearField("images_to_videos")
                job_told.ClearField("webhook")
            told.append(str(event))
        hooks = WebhookServiceStub(client.channel)
        tried = ""
        while not tried:  # up to the test's time limit
            asked = ListWebhookDeliveriesRequest(job=created.name)
            log = await hooks.ListWebhookDeliveries(asked)
            tried = log.deliveries[0].last_error
        told.append(str(log))
        secrets += await pass_by_links(VideoServiceStub(client.channel))
        told += [str(await client.server_info()), str(await keys.ListKeys(admin.ListKeysRequest()))]
        with contextlib.suppress(ApiGpuError):
            await client.create_job(Job())
    for token in (GUESSED, made.token, made.token[:-1], ""):
        async with VideoClient(address, api_key=token) as client:
            with pytest.raises(ApiGpuError) as refused:
                await client.create_job(requests.pictures("a"))
            told.append(f"{refused.value} {refused.value.details}")
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary("/apigpu.video.v1.VideoService/CreateJob")
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call(rpc.CreateJobRequest().SerializeToString() + b"\xff")
    return told, [*secrets, made.token.split("_", 2)[2]]


async def pass_by_links(stub: Any) -> list[str]:
    """A file sent and fetched by links of our own. Returns what they are signed with."""
    digest = hashlib.sha256(b"123").hexdigest()
    header = rpc.UploadFileHeader(filename="a.jpg", upload_id="a" * 16, size_bytes=3, sha256=digest)
    target = (await stub.CreateUploadLink(rpc.CreateUploadLinkRequest(header=header))).uri
    async with aiohttp.ClientSession() as http:
        async with http.put(yarl.URL(target, encoded=True), data=b"123") as answer:
            assert answer.status == 201
        file = await stub.CompleteUpload(rpc.CompleteUploadRequest(header=header))
        link = (await stub.CreateFileLink(rpc.CreateFileLinkRequest(name=file.name))).uri
        for uri, status in ((link, 200), (f"{link}0", 403)):
            async with http.get(yarl.URL(uri, encoded=True)) as answer:
                assert answer.status == status
    return [yarl.URL(uri, encoded=True).query["signature"] for uri in (target, link)]


async def test_no_configured_secret_is_ever_told(tmp_path: Path) -> None:
    """In logs, errors, events, traces and metrics."""
    async with collector(tmp_path) as traced:
        log, told, made = await used(tmp_path, traced.environment())
    assert "counted by this replica alone" in log, "the log was not read, or nothing happened"
    assert any(span.name.endswith("/CreateJob") for _, span in traced.spans), "nothing was traced"
    sent = b"".join(traced.received).decode(errors="replace")
    said = "\n".join([log, *told, sent])
    for secret in (*CONFIGURED.values(), *IN_LINKS, GUESSED, *made, "configured-redis-password"):
        assert secret not in said, f"{secret} in: " + next(
            x for x in said.split("\n") if secret in x
        )


async def test_a_database_s_password_is_not_told_when_it_cannot_be_reached(tmp_path: Path) -> None:
    url = "postgresql://apigpu:configured-database-password@127.0.0.1:1/apigpu"
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "APIGPU_DATABASE_URL": url,
            "APIGPU_LISTEN": "127.0.0.1:0",
            "APIGPU_HTTP_LISTEN": "127.0.0.1:0",
            "APIGPU_DATA_DIR": str(tmp_path),
            "APIGPU_LOG_LEVEL": "DEBUG",
        },
    )
    said = (await service.communicate())[0].decode()
    assert service.returncode, "it cannot have started"
    assert "127.0.0.1" in said or "database" in said.lower(), said
    assert "configured-database-password" not in said


async def used(tmp_path: Path, environment: dict[str, str]) -> tuple[str, list[str], list[str]]:
    """What a service with all secrets has logged and told, and the secrets made meanwhile."""
    service = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            **CONFIGURED,
            **ALLOWED,
            **environment,
            "APIGPU_LISTEN": "127.0.0.1:0",
            "APIGPU_HTTP_LISTEN": "127.0.0.1:0",
            "APIGPU_DATA_DIR": str(tmp_path),
            "APIGPU_LOG_LEVEL": "DEBUG",
            "APIGPU_WORKER_LOG_LEVEL": "DEBUG",
            "APIGPU_MAX_ATTEMPTS": "1",
        },
    )
    assert service.stdout is not None and service.stderr is not None
    logged = asyncio.create_task(service.stderr.read())
    try:
        address = (await service.stdout.readline()).decode().split()[1]
        told, made = await use(address)
    finally:
        service.terminate()
        log = (await logged).decode()
        rest = (await service.stdout.read()).decode()
        await service.wait()
    return log, [rest, *told], made
