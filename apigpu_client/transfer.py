"""Files up and down: streamed, checked by length and SHA-256, picked up again after a cut."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiofiles
import grpc
from apigpu.video.v1 import video_service_pb2 as rpc
from apigpu.video.v1.file_pb2 import File

from apigpu_client.errors import ErrorDetails, TransferFailed, from_rpc_error
from apigpu_client.resume import CUT

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub

# (bytes so far, bytes in all)
OnProgress = Callable[[int, int], None]

_CHUNK_BYTES = 1024 * 1024
_MAX_TRIES = 5
_FIRST_PAUSE_S = 0.3
_ASK_TIMEOUT_S = 10.0


async def upload(stub: VideoServiceAsyncStub, path: Path, on_progress: OnProgress | None) -> File:
    """Send a file. A cut upload is gone on with where it stopped, a few times at most without
    any progress."""
    header = rpc.UploadFileHeader(
        filename=path.name,
        size_bytes=path.stat().st_size,
        sha256=await asyncio.to_thread(_sha256, path),
        upload_id=str(uuid.uuid4()),
    )
    failures = 0
    while True:
        before = header.offset
        try:
            return await stub.UploadFile(_parts(path, header, on_progress))
        except grpc.aio.AioRpcError as error:
            if not _is_cut(error):
                raise from_rpc_error(error) from None
            cut = error
        failures += 1
        await asyncio.sleep(_FIRST_PAUSE_S * 2**failures)
        header.offset = await _arrived(stub, header.upload_id, before)
        failures = 0 if header.offset > before else failures
        if failures >= _MAX_TRIES:
            raise from_rpc_error(cut) from None


async def _arrived(stub: VideoServiceAsyncStub, upload_id: str, known: int) -> int:
    """How much of the upload is there: where to go on. As known before, if nobody answers."""
    try:
        request = rpc.QueryUploadRequest(upload_id=upload_id)
        status = await stub.QueryUpload(request, timeout=_ASK_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() not in CUT:
            raise from_rpc_error(error) from None
        return known
    return status.size_bytes


def _is_cut(error: grpc.aio.AioRpcError) -> bool:
    """Whether the connection broke. gRPC tells so in two ways: the second is its own, where a
    message was being written just then."""
    return error.code() is grpc.StatusCode.UNAVAILABLE or (
        error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"
    )


async def _parts(
    path: Path, header: rpc.UploadFileHeader, on_progress: OnProgress | None
) -> AsyncIterator[rpc.UploadFileRequest]:
    yield rpc.UploadFileRequest(header=header)
    sent = header.offset
    async with aiofiles.open(path, "rb") as file:
        await file.seek(sent)
        while chunk := await file.read(_CHUNK_BYTES):
            yield rpc.UploadFileRequest(chunk=chunk)
            sent += len(chunk)
            if on_progress is not None:
                on_progress(sent, header.size_bytes)


async def download(
    stub: VideoServiceAsyncStub, name: str, path: Path, on_progress: OnProgress | None
) -> Path:
    """Get a file to `path`, by way of a temporary one beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        file = await _fill(stub, name, partial, on_progress)
        digest = await asyncio.to_thread(_sha256, partial)
        if (partial.stat().st_size, digest) != (file.size_bytes, file.sha256):
            raise TransferFailed(
                grpc.StatusCode.DATA_LOSS,
                f"{name} did not arrive as it is stored: get it again.",
                ErrorDetails(reason="CHECKSUM_MISMATCH"),
            )
        await asyncio.to_thread(os.replace, partial, path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return path


async def describe(stub: VideoServiceAsyncStub, name: str) -> File:
    """What the service says of a file before it sends the bytes."""
    call = stub.DownloadFile(rpc.DownloadFileRequest(name=name))
    try:
        async for part in call:
            return part.file
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    finally:
        call.cancel()
    return File()


async def _fill(
    stub: VideoServiceAsyncStub, name: str, partial: Path, on_progress: OnProgress | None
) -> File:
    """Write all bytes to `partial`; goes on where it was cut, a few times without progress."""
    state = _Filling(on_progress)
    failures = 0
    async with aiofiles.open(partial, "wb") as target:
        while True:
            before = state.done_bytes
            request = rpc.DownloadFileRequest(name=name, offset=before)
            try:
                await state.append(stub.DownloadFile(request), target)
                cut = None
            except grpc.aio.AioRpcError as error:
                cut = error
            if cut is None and state.done_bytes >= state.file.size_bytes:
                return state.file
            failures = 1 if state.done_bytes > before else failures + 1
            if cut is not None and (cut.code() not in CUT or failures >= _MAX_TRIES):
                raise from_rpc_error(cut) from None
            if failures >= _MAX_TRIES:
                return state.file  # the caller's check says what is missing
            await asyncio.sleep(_FIRST_PAUSE_S * 2**failures)


class _Filling:
    """A download in the middle: what is known of the file, and how much of it is here."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.file = File()
        self.done_bytes = 0
        self._on_progress = on_progress

    async def append(self, parts: AsyncIterable[rpc.DownloadFileResponse], target: Any) -> None:
        async for part in parts:
            if part.HasField("file"):
                self.file = part.file
                continue
            await target.write(part.chunk)
            self.done_bytes += len(part.chunk)
            if self._on_progress is not None:
                self._on_progress(self.done_bytes, self.file.size_bytes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
