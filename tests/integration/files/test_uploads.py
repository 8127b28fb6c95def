"""Uploads that are cut, repeated, taken over and left lying, over the wire."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from apigpu.video.v1 import video_service_pb2 as rpc

from tests.requests import Refusal
from tests.services import in_process, kept_files

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub

ID = "upload-0123456789"
BODY = os.urandom(3_000_000)
WORKERS = ("127.0.0.1:1",)  # none is needed


def header(**fields: object) -> rpc.UploadFileRequest:
    values = {"filename": "clip.mp4", "upload_id": ID, "size_bytes": len(BODY), **fields}
    return rpc.UploadFileRequest(header=rpc.UploadFileHeader(**values))  # type: ignore[arg-type]


async def parts(body: bytes, first: rpc.UploadFileRequest) -> AsyncIterator[rpc.UploadFileRequest]:
    yield first
    for start in range(0, len(body), 500_000):
        yield rpc.UploadFileRequest(chunk=body[start : start + 500_000])


async def arrived(stub: VideoServiceAsyncStub, at_least: int, at_most: int = 2**40) -> int:
    """Wait until so much of the upload is there, up to the test's time limit."""
    while True:
        status = await stub.QueryUpload(rpc.QueryUploadRequest(upload_id=ID))
        if at_least <= status.size_bytes <= at_most:
            return status.size_bytes
        await asyncio.sleep(0.01)


async def hanging(
    stub: VideoServiceAsyncStub, sent: int
) -> grpc.aio.StreamUnaryCall[rpc.UploadFileRequest, object]:
    """An upload that has sent so much and then says nothing more."""

    async def some() -> AsyncIterator[rpc.UploadFileRequest]:
        async for part in parts(BODY[:sent], header()):
            yield part
        await asyncio.Event().wait()

    call = stub.UploadFile(some())
    await arrived(stub, sent)
    return call  # type: ignore[return-value]


async def test_a_cut_upload_goes_on_where_it_stopped(tmp_path: Path) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    async with in_process(tmp_path, WORKERS) as stub:
        call = await hanging(stub, 1_500_000)
        call.cancel()
        have = await arrived(stub, 1_500_000)
        assert have == 1_500_000
        file = await stub.UploadFile(parts(BODY[have:], header(offset=have, sha256=digest)))
        assert (file.sha256, file.size_bytes) == (digest, len(BODY))
        again = await stub.UploadFile(parts(b"", header(offset=len(BODY))))
        assert again == file, "an answer that was lost can be asked for again"
        status = await stub.QueryUpload(rpc.QueryUploadRequest(upload_id=ID))
        assert status.file == file
    (stored,) = kept_files(tmp_path)
    assert stored.read_bytes() == BODY


async def test_a_cut_upload_survives_a_restart_of_the_service(tmp_path: Path) -> None:
    async with in_process(tmp_path, WORKERS) as stub:
        (await hanging(stub, 1_000_000)).cancel()
    async with in_process(tmp_path, WORKERS) as stub:
        have = await arrived(stub, 1_000_000)
        file = await stub.UploadFile(parts(BODY[have:], header(offset=have)))
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()


async def test_the_last_caller_has_the_upload(tmp_path: Path) -> None:
    """A client that lost its connection comes back before the service has noticed: what the
    lost call still brings does no harm."""
    again = asyncio.Event()

    async def lost() -> AsyncIterator[rpc.UploadFileRequest]:
        async for part in parts(BODY[:1_000_000], header()):
            yield part
        await again.wait()
        yield rpc.UploadFileRequest(chunk=b"late" * 1000)

    async def second(
        late: grpc.aio.StreamUnaryCall[rpc.UploadFileRequest, object],
    ) -> AsyncIterator[rpc.UploadFileRequest]:
        rest = parts(BODY[1_000_000:], header(offset=1_000_000))
        yield await anext(rest)
        yield await anext(rest)
        await arrived(stub, 1_500_000)
        again.set()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await late
        assert Refusal(refused.value).reason == "UPLOAD_TAKEN_OVER"
        async for part in rest:
            yield part

    async with in_process(tmp_path, WORKERS) as stub:
        late = stub.UploadFile(lost())
        await arrived(stub, 1_000_000)
        file = await stub.UploadFile(second(late))  # type: ignore[arg-type]
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    (stored,) = kept_files(tmp_path)
    assert stored.read_bytes() == BODY


async def test_an_upload_cannot_go_on_behind_what_has_arrived(tmp_path: Path) -> None:
    async with in_process(tmp_path, WORKERS) as stub:
        (await hanging(stub, 500_000)).cancel()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.UploadFile(parts(BODY[600_000:], header(offset=600_000)))
        assert Refusal(refused.value).code is grpc.StatusCode.OUT_OF_RANGE
        assert Refusal(refused.value).reason == "UPLOAD_OFFSET"


async def test_bytes_that_were_spoilt_are_not_gone_on_with(tmp_path: Path) -> None:
    wrong = header(sha256="0" * 64)
    async with in_process(tmp_path, WORKERS) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.UploadFile(parts(BODY, wrong))
        assert Refusal(refused.value).code is grpc.StatusCode.DATA_LOSS
        status = await stub.QueryUpload(rpc.QueryUploadRequest(upload_id=ID))
        assert status.size_bytes == 0
    assert not kept_files(tmp_path)


async def test_an_upload_id_stands_for_one_file(tmp_path: Path) -> None:
    async with in_process(tmp_path, WORKERS) as stub:
        await stub.UploadFile(parts(BODY, header()))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.UploadFile(parts(b"another", header(size_bytes=7)))
        assert Refusal(refused.value).reason == "UPLOAD_ID_REUSED"


async def test_an_upload_that_nobody_comes_back_for_is_removed(tmp_path: Path) -> None:
    async with in_process(tmp_path, WORKERS, upload_expiry_s=1) as stub:
        (await hanging(stub, 500_000)).cancel()
        await arrived(stub, 0, at_most=0)
        assert not kept_files(tmp_path)


async def test_a_full_disk_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    async def asked(sent: list[int]) -> AsyncIterator[rpc.UploadFileRequest]:
        yield header(size_bytes=2**45)
        for _ in range(6):
            sent.append(1)
            yield rpc.UploadFileRequest(chunk=bytes(500_000))
            await asyncio.sleep(0.2)

    sent: list[int] = []
    async with in_process(tmp_path, WORKERS, max_upload_bytes=2**50) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.UploadFile(asked(sent))
    refusal = Refusal(refused.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL")
    assert refusal.retry_delay_s > 0
    assert len(sent) < 6, "the file was sent all the same"
    assert not kept_files(tmp_path)
