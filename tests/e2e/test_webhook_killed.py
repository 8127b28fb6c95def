"""A webhook that was to be told when the service was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from apigpu.video.v1 import webhook_service_pb2
from apigpu.video.v1.webhook_service_pb2 import WebhookDelivery as Delivery
from apigpu.video.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests import requests
from tests.http_server import serving
from tests.requests import pictures
from tests.scripted_worker import ScriptedWorker, serve
from tests.services import connect, process


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.mark.one_backend("webhooks are told by the service, whoever did the work")
@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
async def test_a_webhook_survives_a_kill(url: str, tmp_path: Path) -> None:
    """Killed with the event on the record and nobody told: it is told once after the restart."""
    told: list[str] = []

    async def receive(request: web.Request) -> web.StreamResponse:
        told.append(request.headers["webhook-id"])
        return web.Response(status=204)

    environment = {"APIGPU_DATABASE_URL": url, "APIGPU_WEBHOOK_ALLOW": "127.0.0.0/8"}
    async with serve(ScriptedWorker()) as address, serving(receive) as hook:
        environment["APIGPU_WORKERS"] = address
        async with (
            process(tmp_path, "tests.doomed", "tell", **environment) as service,
            connect(service.address) as stub,
        ):
            spec = pictures("a")
            spec.webhook.url = hook
            job = await stub.CreateJob(requests.create(spec))
            await asyncio.wait_for(service.process.wait(), 30)
            assert service.process.returncode == -9 and not told
        async with (
            process(tmp_path, **environment) as service,
            grpc.aio.insecure_channel(service.address) as channel,
        ):
            hooks = WebhookServiceStub(channel)
            request = webhook_service_pb2.ListWebhookDeliveriesRequest(job=job.name)
            deliveries: list[Delivery] = []
            while not deliveries or deliveries[0].state == Delivery.PENDING:
                deliveries = list((await hooks.ListWebhookDeliveries(request)).deliveries)
            (delivery,) = deliveries
            assert (delivery.state, delivery.attempts) == (Delivery.DELIVERED, 1)
    assert told == [delivery.id]
