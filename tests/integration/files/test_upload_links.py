"""Files sent by plain HTTP PUT to a link, into a folder of the service or a real S3 store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import grpc
import pytest
import yarl
from apigpu.video.v1 import video_service_pb2 as rpc

from tests.integration.conftest import STORES
from tests.object_store import ObjectStore
from tests.requests import refusal_of
from tests.services import in_process, kept_files

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub

WORKERS = ("127.0.0.1:1",)  # none is needed
BODY = os.urandom(300_000)


@pytest.fixture(params=["folder", *STORES])
async def stub(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VideoServiceAsyncStub]:
    more = {}
    if request.param != "folder":
        store: ObjectStore = request.getfixturevalue(request.param)
        for name, value in store.environment(uuid4().hex).items():
            monkeypatch.setenv(name, value)
        more = {"storage_url": os.environ["APIGPU_STORAGE_URL"]}
    async with in_process(tmp_path, WORKERS, max_upload_bytes=400_000, **more) as stub:
        yield stub


def header(**fields: object) -> rpc.UploadFileHeader:
    values: dict[str, Any] = {"filename": "clip.mp4", "upload_id": "a" * 16}
    values |= {"size_bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest(), **fields}
    return rpc.UploadFileHeader(**values)


async def link_for(stub: VideoServiceAsyncStub, announced: rpc.UploadFileHeader) -> rpc.UploadLink:
    return await stub.CreateUploadLink(rpc.CreateUploadLinkRequest(header=announced))


async def put(link: rpc.UploadLink, body: bytes | AsyncIterator[bytes]) -> int:
    url = yarl.URL(link.uri, encoded=True)
    async with aiohttp.ClientSession() as http:
        try:
            async with http.put(url, data=body, headers=dict(link.headers)) as answer:
                return answer.status
        except aiohttp.ClientConnectionError:  # refused before all of it was sent
            return 413


def complete(stub: VideoServiceAsyncStub, announced: rpc.UploadFileHeader) -> Any:
    return stub.CompleteUpload(rpc.CompleteUploadRequest(header=announced))


async def test_a_file_that_is_put_becomes_a_file_once(
    stub: VideoServiceAsyncStub, tmp_path: Path
) -> None:
    announced = header()
    link = await link_for(stub, announced)
    assert link.HasField("expire_time")
    refusal = await refusal_of(complete(stub, announced))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "UPLOAD_MISSING",
    )
    assert await put(link, BODY) in (200, 201)
    file = await complete(stub, announced)
    assert (file.size_bytes, file.sha256) == (len(BODY), announced.sha256)
    assert await complete(stub, announced) == file
    await put(link, bytes(len(BODY)))  # an old link
    assert await complete(stub, announced) == file
    parts = stub.DownloadFile(rpc.DownloadFileRequest(name=file.name))
    assert b"".join([part.chunk async for part in parts]) == BODY
    other = await refusal_of(complete(stub, header(sha256="0" * 64)))
    assert other.reason == "UPLOAD_ID_REUSED"


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"x", bytes(len(BODY))])
async def test_what_was_not_announced_becomes_no_file_and_is_removed(
    stub: VideoServiceAsyncStub, tmp_path: Path, body: bytes
) -> None:
    announced = header()
    link = await link_for(stub, announced)
    taken = await put(link, body) in (200, 201)
    ours = "/transfers/" in link.uri  # takes nothing of another length; a store does
    assert not (taken and ours) or len(body) == len(BODY)
    refusal = await refusal_of(complete(stub, announced))
    wanted = ("UPLOAD_SIZE_MISMATCH", "UPLOAD_CHECKSUM_MISMATCH") if taken else ("UPLOAD_MISSING",)
    assert refusal.reason in wanted
    assert not kept_files(tmp_path)
    assert await put(link, BODY) in (200, 201), "the right one is still welcome"
    assert (await complete(stub, announced)).size_bytes == len(BODY)


async def test_a_link_takes_no_byte_more_than_was_announced(tmp_path: Path) -> None:
    """Refused while the body is still coming, however much other uploads may bring."""
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield BODY
        yield b"one more"
        await ended.wait()

    async with in_process(tmp_path, WORKERS, max_upload_bytes=4_000_000) as stub:
        assert await put(await link_for(stub, header()), endless()) == 413
    ended.set()


async def test_a_link_is_for_its_length_and_time(stub: VideoServiceAsyncStub) -> None:
    refusal = await refusal_of(link_for(stub, header(size_bytes=400_001)))
    assert (refusal.reason, refusal.fields) == ("FILE_TOO_LARGE", ["header.size_bytes"])
    for wrong in (header(upload_id=""), header(size_bytes=None), header(offset=1)):
        assert (await refusal_of(link_for(stub, wrong))).fields == ["header"]
    link = await link_for(stub, header())
    forged, changed = re.subn(r"((?:X-Amz-E|e)xpires=|&se=)\d+", r"\g<1>7200", link.uri)
    assert changed == 1
    assert await put(rpc.UploadLink(uri=forged, headers=link.headers), BODY) == 403
