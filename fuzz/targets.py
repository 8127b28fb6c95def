"""What is fuzzed: each target takes bytes, and may raise only the refusals that it is allowed to.
The Hypothesis tests use the same targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pysubs2
from apigpu.video.v1 import video_service_pb2 as rpc
from apigpu.video.v1.job_pb2 import Job, Webhook
from apigpu.video.v1.operations_pb2 import AddAudio, Caption, Image, ImagesToVideos, MediaSource
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from apigpu_common.errors import ServiceError
from apigpu_common.interceptors.validation import InvalidRequest, validate
from gpu_worker.media import ass, sniff
from gpu_worker.media.captions_order import Look
from gpu_worker.media.refusal import Refused
from orchestrator import pages
from orchestrator.jobs import filter_text, orders

_MAX_TRAILERS_BYTES = 8000
_LINK = MediaSource(uri="https://media.example/a%2Fb?sig=x+y")


def contract(data: bytes) -> None:
    """A request of any kind: valid, or refused with details that fit into trailers."""
    for kind in (rpc.CreateJobRequest, rpc.ListJobsRequest, rpc.UploadFileRequest):
        try:
            message = kind.FromString(data)
        except DecodeError:
            continue
        try:
            validate(message)
        except InvalidRequest as refused:
            assert len(refused.to_status().SerializeToString()) < _MAX_TRAILERS_BYTES


def captions(data: bytes) -> None:
    """SRT, WebVTT or ASS: refused, or made into ASS that can be read again."""
    with suppress(Refused):
        parsed = ass.parse(data)
        text = ass.to_ass(parsed, 1920, 1080, Look())
        assert "[Fonts]" not in text and "[Graphics]" not in text
        assert len(pysubs2.SSAFile.from_string(text, "ass")) <= len(parsed.subtitles) + 1


def media(data: bytes) -> None:
    """The head of a file of any kind."""
    sniff.identify(data)


def questions(data: bytes) -> None:
    """Filters, orders and page tokens, which callers write by hand."""
    text = data.decode(errors="replace")
    for parse in (filter_text.parse, orders.parse, lambda token: pages.decode(token, "", 2)):
        with suppress(ServiceError):
            parse(text)


def _jobs() -> list[bytes]:
    jobs = (
        Job(caption=Caption(video=_LINK, subtitles=_LINK), webhook=Webhook(url=_LINK.uri)),
        Job(add_audio=AddAudio(video=_LINK, audio=_LINK), labels={"a": "b"}, priority=3),
        Job(
            images_to_videos=ImagesToVideos(
                images=[Image(id="a", image=_LINK, duration=Duration(seconds=3))]
            )
        ),
    )
    requests = (rpc.CreateJobRequest(job=job, request_id="r-1") for job in jobs)
    return [request.SerializeToString() for request in requests]


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "contract": contract,
    "captions": captions,
    "media": media,
    "questions": questions,
}
SEEDS: Mapping[str, Sequence[bytes]] = {
    "contract": _jobs(),
    "captions": [
        b"1\n00:00:01,000 --> 00:00:02,000\n<i>one</i>\n{\\an8}two\n",
        b"WEBVTT\n\nNOTE x\n\na\n00:01.000 --> 00:02.000 line:0\n<v Ann>one</v>\n",
        b"[Script Info]\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: A,Arial\n\n[Events]\n"
        b"Format: Layer, Start, End, Style, Text\nDialogue: 0,0:00:01.00,0:00:02.00,A,{\\b1}x\n",
        "\ufeff1\r\n00:00:01.0 --> 00:00:02\r\nça va\r\n".encode("utf-16"),
    ],
    "media": [
        b"\0\0\0\x18ftypisom",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"ID3\x04",
        b"\xff\xfb",
    ],
    "questions": [b'state = RUNNING AND labels.show = "news"', b"create_time desc", b"AAAA"],
}
