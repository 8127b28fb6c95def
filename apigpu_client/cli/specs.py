"""Jobs written as JSON files, whose media may be local paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import MediaSource
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from apigpu_client.client import OnUpload, VideoClient
from apigpu_client.jobs import is_url


def parse(text: str) -> Job:
    """A Job in protobuf's JSON. Raises ValueError that says what is wrong."""
    try:
        return json_format.Parse(text, Job())
    except json_format.ParseError as error:
        raise ValueError(f"this is no job: {error}") from None


def media_sources(message: Message) -> Iterator[MediaSource]:
    """Every MediaSource in a message."""
    if isinstance(message, MediaSource):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE and field.name != "labels":
            for part in value if field.is_repeated else [value]:
                yield from media_sources(part)


async def send_local_media(job: Job, base: Path, client: VideoClient, on_upload: OnUpload) -> None:
    """Replace each `uri` that is a local path (from `base` on) by an uploaded file, once each."""
    local = [each for each in media_sources(job) if each.uri and not is_url(each.uri)]
    sent = await client.sources([base / each.uri for each in local], on_upload)
    for source, file in zip(local, sent, strict=True):
        source.CopyFrom(file)
