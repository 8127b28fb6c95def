"""Bring a finished file to its place: complete, or not at all, and never over another one.

Where a task was delivered to two workers the first result stays. The second worker does not
know that; the orchestrator does, as it compares what is there with what each has measured.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiofiles
import aiohttp
import yarl
from apigpu.worker.v1.worker_service_pb2 import FileLocation
from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from gpu_worker import full_disk
from gpu_worker.fetch_errors import host_of, is_passing

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1024 * 1024
_MAX_TRIES = 4
_FIRST_PAUSE_S = 0.3
_LONG_BYTES = 1024 * 1024
# A put ends with an error where it would take longer than this: a minute, and this speed.
_LEAST_S = 60.0
_SLOWEST_BYTES_PER_S = 128 * 1024
# S3, while another PUT to the same place is going on: asked again, it answers 412.
_CONFLICT = 409
# Precondition Failed: by another worker, or by us where the answer was lost.
_THERE_ALREADY = 412
# How Azure says the same, with 409.
_AZURE_THERE_ALREADY = "BlobAlreadyExists"
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)


async def deliver(
    path: Path, target: FileLocation, long_target: FileLocation | None = None
) -> None:
    """Put `path` at `target`, or at `long_target` where it is too long for that. Raises
    ServiceError: DELIVERY_FAILED or WORKER_DISK_FULL, retryable, or RESULT_TOO_LONG."""
    size_bytes = path.stat().st_size
    if 0 < target.max_bytes < size_bytes:
        if long_target is None or not long_target.WhichOneof("location"):
            raise _too_long(size_bytes)
        target = long_target
    if target.path:
        await _place(path, Path(target.path))
    else:
        await _put(path, target)


async def _place(path: Path, target: Path) -> None:
    # A thread cannot be stopped. Cancelled, we wait for it: no file appears behind our back.
    moving = asyncio.ensure_future(asyncio.to_thread(_move, path, target))
    try:
        await asyncio.shield(moving)
    except asyncio.CancelledError:
        await asyncio.wait([moving])
        raise
    except OSError as error:
        log.error("a result cannot be stored: %s", error)
        if error.errno in full_disk.CODES:
            raise full_disk.disk_full("the result") from error
        raise _failed() from error


def _move(path: Path, target: Path) -> None:
    """On disk before it is visible, and visible at once; what is there already stays."""
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        try:
            path.replace(beside)
        except OSError:  # another file system
            shutil.copyfile(path, beside)
        _sync(beside)
        with suppress(FileExistsError):
            target.hardlink_to(beside)
        _sync(target.parent)  # the name, too
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _put(path: Path, target: FileLocation) -> None:
    """Send it, again where the trouble may pass: what is stored is not overwritten."""
    size_bytes = path.stat().st_size
    try:
        async with asyncio.timeout(_LEAST_S + size_bytes / _SLOWEST_BYTES_PER_S):
            await _try_to_put(path, size_bytes, target)
    except TimeoutError:
        log.warning("a result cannot be put to %s in time", host_of(target.url))
        raise _failed() from None


async def _try_to_put(path: Path, size_bytes: int, target: FileLocation) -> None:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for attempt in range(1, _MAX_TRIES + 1):
            try:
                status = await _send(session, path, size_bytes, target)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning(
                    "a result cannot be put to %s: %s", host_of(target.url), type(error).__name__
                )
            else:
                if 200 <= status < 300 or status == _THERE_ALREADY:
                    return
                log.warning("%s answers the put of a result with %d", host_of(target.url), status)
                if not is_passing(status) and status != _CONFLICT:
                    break
            if attempt < _MAX_TRIES:
                await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)
    raise _failed()


async def _send(
    session: aiohttp.ClientSession, path: Path, size_bytes: int, target: FileLocation
) -> int:
    """One PUT; returns the status, 412 where a file is there already. A redirect is not followed:
    the link was made for this host."""
    async with session.put(
        yarl.URL(target.url, encoded=True),
        data=_chunks(path),
        headers={"Content-Length": str(size_bytes), "If-None-Match": "*"} | dict(target.headers),
        allow_redirects=False,
        # A refusal is heard before a long body is sent, instead of a broken connection.
        expect100=size_bytes > _LONG_BYTES,
    ) as response:
        if response.headers.get("x-ms-error-code") == _AZURE_THERE_ALREADY:
            return _THERE_ALREADY
        return response.status


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    async with aiofiles.open(path, "rb") as file:
        while chunk := await file.read(_CHUNK_BYTES):
            yield chunk


def _too_long(size_bytes: int) -> ServiceError:
    return ServiceError(
        code_pb2.FAILED_PRECONDITION,
        "RESULT_TOO_LONG",
        f"The result has {size_bytes} bytes, more than the file storage takes at once, and this"
        " worker cannot reach the service to send it there: APIGPU_PUBLIC_URL tells how.",
    )


def _failed() -> ServiceError:
    return ServiceError(
        code_pb2.UNAVAILABLE,
        "DELIVERY_FAILED",
        "The result could not be brought to its place.",
        retryable=True,
    )
