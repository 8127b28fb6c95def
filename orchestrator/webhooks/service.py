"""WebhookService: what was told to a job's webhook, telling it again, and the secret."""

from __future__ import annotations

from typing import Any

import grpc
from apigpu.video.v1 import webhook_service_pb2 as rpc
from apigpu.video.v1.webhook_service_pb2_grpc import WebhookServiceServicer

from apigpu_common.errors import NotFound
from orchestrator import ids
from orchestrator.access.identity import current
from orchestrator.store.deliveries import PENDING, Deliveries
from orchestrator.store.records import StoredDelivery
from orchestrator.webhooks.sender import Secrets

Context = grpc.aio.ServicerContext[Any, Any]


class WebhookService(WebhookServiceServicer):
    def __init__(self, store: Deliveries, secrets: Secrets) -> None:
        self._store = store
        self._secrets = secrets

    async def ListWebhookDeliveries(
        self, request: rpc.ListWebhookDeliveriesRequest, context: Context
    ) -> rpc.ListWebhookDeliveriesResponse:
        found = await self._store.list_deliveries(ids.id_of(request.job))
        return rpc.ListWebhookDeliveriesResponse(deliveries=map(_to_proto, found))

    async def ResendWebhook(
        self, request: rpc.ResendWebhookRequest, context: Context
    ) -> rpc.WebhookDelivery:
        found = await self._store.resend_delivery(ids.id_of(request.job), request.sequence)
        if found is None:
            raise NotFound(
                "DELIVERY_NOT_FOUND", "No webhook was told that event.", field="sequence"
            )
        return _to_proto(found)

    async def GetWebhookSecret(
        self, request: rpc.GetWebhookSecretRequest, context: Context
    ) -> rpc.WebhookSecret:
        return rpc.WebhookSecret(secret=self._secrets.of(current().owner)[0])


def _to_proto(delivery: StoredDelivery) -> rpc.WebhookDelivery:
    told = rpc.WebhookDelivery(
        id=delivery.id,
        job=ids.job_name(delivery.job_id),
        sequence=delivery.sequence,
        type=delivery.type,
        state=rpc.WebhookDelivery.State.ValueType(delivery.state),
        attempts=delivery.attempts,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
    )
    told.create_time.FromNanoseconds(int(delivery.create_time * 1e9))
    if delivery.state == PENDING:
        told.next_time.FromNanoseconds(int(delivery.next_time * 1e9))
    return told
