"""What a job's webhook is to be told of its new events. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from apigpu.video.v1.job_pb2 import Item, Job, JobEvent, Webhook
from google.protobuf import json_format

_FINAL_ITEMS = frozenset({Item.SUCCEEDED, Item.FAILED, Item.CANCELLED})
_TYPES = {
    Webhook.STARTED: "job.started",
    Webhook.ITEM_FINISHED: "job.item_finished",
    Webhook.FINISHED: "job.finished",
}


def to_tell(job: Job, events: Sequence[JobEvent]) -> list[tuple[int, str, bytes]]:
    """Sequence, type and body for each of `events` that the job's webhook asked for."""
    if not job.HasField("webhook"):
        return []
    wanted = set(job.webhook.events) or {Webhook.FINISHED}
    told = []
    for event in events:
        kind = _kind(event)
        if kind in wanted:
            told.append((event.sequence, _TYPES[kind], _body(_TYPES[kind], event)))
    return told


def _kind(event: JobEvent) -> Webhook.Event.ValueType:
    if event.HasField("finished"):
        return Webhook.FINISHED
    if event.HasField("item") and event.item.state in _FINAL_ITEMS:
        return Webhook.ITEM_FINISHED
    if event.HasField("state_changed") and event.state == Job.RUNNING:
        return Webhook.STARTED
    return Webhook.EVENT_UNSPECIFIED


def _body(kind: str, event: JobEvent) -> bytes:
    """As standardwebhooks.com wants it. The address itself may be a secret: it is not told."""
    told = JobEvent()
    told.CopyFrom(event)
    told.finished.ClearField("webhook") if told.HasField("finished") else None
    data = json_format.MessageToDict(told, preserving_proto_field_name=True)
    at = event.event_time.ToJsonString()
    return json.dumps({"type": kind, "timestamp": at, "data": data}).encode()
