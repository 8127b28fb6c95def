"""Webhooks as a receiver sees them: signed, in order, again until taken; and never in the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from apigpu.video.v1 import webhook_service_pb2 as rpc
from apigpu.video.v1.job_pb2 import Job, JobEvent, Webhook
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub
from apigpu.video.v1.webhook_service_pb2_grpc import WebhookServiceStub
from click.testing import CliRunner
from google.protobuf import json_format
from standardwebhooks import Webhook as Verifier

from apigpu_client.cli import main
from orchestrator.server import Orchestrator
from tests import requests
from tests.http_server import serving
from tests.scripted_worker import ScriptedWorker, serve
from tests.services import settings

Delivery = rpc.WebhookDelivery


@dataclass
class Receiver:
    """Answers with `answers` in turn, the last one again and again; keeps what it was told."""

    answers: list[int] = field(default_factory=lambda: [204])
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.told.append((headers, await request.read()))
        self.news.set()
        status = self.answers[min(len(self.told), len(self.answers)) - 1]
        return web.Response(status=status, headers={"location": "/elsewhere"})

    async def wait(self, count: int) -> None:
        while len(self.told) < count:
            self.news.clear()
            await self.news.wait()

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.told]


@dataclass
class Service:
    address: str
    jobs: Any
    webhooks: Any

    async def settled(self, job: Job) -> list[rpc.WebhookDelivery]:
        """The log, once nothing is left to tell."""
        while True:
            found = await self.webhooks.ListWebhookDeliveries(
                rpc.ListWebhookDeliveriesRequest(job=job.name)
            )
            if found.deliveries and all(d.state != Delivery.PENDING for d in found.deliveries):
                return list(found.deliveries)


@asynccontextmanager
async def service(tmp_path: Path, **more: object) -> AsyncIterator[Service]:
    values = {"webhook_allow": "127.0.0.0/8", "webhook_first_pause_s": 0.01, **more}
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path, (address,), **values)) as orchestrator,
        grpc.aio.insecure_channel(orchestrator.address) as channel,
    ):
        yield Service(orchestrator.address, VideoServiceStub(channel), WebhookServiceStub(channel))


def job(url: str, *events: Webhook.Event.ValueType) -> Job:
    spec = requests.pictures("a", "b")
    spec.webhook.CopyFrom(Webhook(url=url, events=events))
    return spec


async def test_the_end_of_a_job_is_told_once_and_signed(tmp_path: Path) -> None:
    receiver = Receiver()
    async with service(tmp_path) as it, serving(receiver.answer) as base:
        made = await it.jobs.CreateJob(requests.create(job(f"{base}/hook?secret=1")))
        (delivery,) = await it.settled(made)
        secret = (await it.webhooks.GetWebhookSecret(rpc.GetWebhookSecretRequest())).secret
    ((headers, body),) = receiver.told
    told = Verifier(secret).verify(body.decode(), headers)  # raises where the signature is wrong
    assert told["type"] == delivery.type == "job.finished"
    event = json_format.ParseDict(told["data"], JobEvent())
    assert event.finished.name == made.name and event.finished.state == Job.SUCCEEDED
    assert headers["webhook-id"] == delivery.id
    assert (delivery.state, delivery.attempts, delivery.last_status) == (Delivery.DELIVERED, 1, 204)
    assert "secret=1" not in body.decode()


async def test_events_come_in_order_even_if_the_first_is_refused_for_a_while(
    tmp_path: Path,
) -> None:
    receiver = Receiver(answers=[500, 302, 429, 204])
    kinds = (Webhook.STARTED, Webhook.ITEM_FINISHED, Webhook.FINISHED)
    async with service(tmp_path) as it, serving(receiver.answer) as base:
        made = await it.jobs.CreateJob(requests.create(job(base, *kinds)))
        deliveries = await it.settled(made)
    assert receiver.types() == ["job.started"] * 4 + ["job.item_finished"] * 2 + ["job.finished"]
    assert len({headers["webhook-id"] for headers, _ in receiver.told}) == 4
    assert [delivery.attempts for delivery in deliveries] == [4, 1, 1, 1]


@pytest.mark.parametrize(("answers", "retry_for_s"), [([410], 3600), ([500], 0.05)])
async def test_a_webhook_that_is_never_taken_changes_nothing_of_the_job(
    tmp_path: Path, answers: list[int], retry_for_s: float
) -> None:
    receiver, patience = Receiver(answers=answers), {"webhook_retry_for_s": retry_for_s}
    async with service(tmp_path, **patience) as it, serving(receiver.answer) as base:
        made = await it.jobs.CreateJob(requests.create(job(base)))
        ended = await requests.finished(it.jobs.WatchJob(requests.watch(made)))
        (delivery,) = await it.settled(made)
        assert ended.state == Job.SUCCEEDED and not ended.HasField("error")
        assert delivery.state == Delivery.GIVEN_UP and delivery.last_status == answers[0]
        receiver.answers = [204]
        await it.webhooks.ResendWebhook(
            rpc.ResendWebhookRequest(job=made.name, sequence=delivery.sequence)
        )
        (again,) = await it.settled(made)
    assert again.state == Delivery.DELIVERED and again.id == delivery.id


async def test_a_private_address_is_refused_at_the_socket(tmp_path: Path) -> None:
    receiver = Receiver()
    async with serving(receiver.answer) as base:
        port = base.rpartition(":")[2]
        async with service(tmp_path, webhook_allow="", webhook_retry_for_s=0.01) as it:
            for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"):
                made = await it.jobs.CreateJob(requests.create(job(f"http://{host}:{port}/")))
                (delivery,) = await it.settled(made)
                assert delivery.state == Delivery.GIVEN_UP
                assert delivery.last_status == 0
                # A number is no host to the HTTP client; the others get as far as the socket.
                numeric = host.isdecimal()
                assert delivery.last_error == (
                    "The receiver cannot be reached, or breaks off."
                    if numeric
                    else "The address is not a public one."
                )
    assert not receiver.told


async def test_what_was_not_told_before_a_stop_is_told_after_it(tmp_path: Path) -> None:
    receiver = Receiver(answers=[503, 204])
    async with serving(receiver.answer) as base:
        async with service(tmp_path, webhook_first_pause_s=1.0) as it:
            made = await it.jobs.CreateJob(requests.create(job(base)))
            await receiver.wait(1)
        async with service(tmp_path) as it:
            (delivery,) = await it.settled(made)
    assert delivery.state == Delivery.DELIVERED
    (first, _), (second, _) = receiver.told
    assert first["webhook-id"] == second["webhook-id"]


async def test_a_changed_key_signs_beside_the_old_one(tmp_path: Path) -> None:
    old, new = "o" * 32, "n" * 32
    async with service(tmp_path / "old", webhook_keys=old) as it:
        old_secret = (await it.webhooks.GetWebhookSecret(rpc.GetWebhookSecretRequest())).secret
    receiver = Receiver()
    async with (
        service(tmp_path / "new", webhook_keys=f"{new},{old}") as it,
        serving(receiver.answer) as base,
    ):
        await it.settled(await it.jobs.CreateJob(requests.create(job(base))))
        new_secret = (await it.webhooks.GetWebhookSecret(rpc.GetWebhookSecretRequest())).secret
    ((headers, body),) = receiver.told
    assert new_secret != old_secret
    for secret in (new_secret, old_secret):
        Verifier(secret).verify(body.decode(), headers)


async def test_the_command_lists_and_resends(tmp_path: Path) -> None:
    receiver = Receiver()
    async with service(tmp_path) as it, serving(receiver.answer) as base:
        made = await it.jobs.CreateJob(requests.create(job(base)))
        (delivery,) = await it.settled(made)

        async def apigpu(*arguments: str) -> str:
            variables = {"APIGPU_SERVER": it.address, "COLUMNS": "200"}
            result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=variables)
            assert result.exit_code == 0, result.output
            return result.stdout

        job_id = made.name.removeprefix("jobs/")
        table = await apigpu("webhooks", "list", job_id)
        assert "job.finished" in table and "delivered" in table and "204" in table
        assert "told again" in await apigpu("webhooks", "resend", job_id, str(delivery.sequence))
        await receiver.wait(2)
        secret = (await apigpu("webhooks", "secret")).strip()
    for headers, body in receiver.told:
        Verifier(secret).verify(body.decode(), headers)
