"""Bring a finished file to its place: complete, or not at all."""

from __future__ import annotations

import asyncio
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

_CHUNK_BYTES = 1024 * 1024
_MAX_TRIES = 4
_FIRST_PAUSE_S = 0.3


async def deliver(path: Path, target: FileLocation) -> None:
    """Put `path` at `target`. Raises ServiceError (DELIVERY_FAILED, retryable)."""
    try:
        if target.path:
            await asyncio.to_thread(_move, path, Path(target.path))
        else:
            await _put(path, target.url)
    except (OSError, aiohttp.ClientError, TimeoutError) as error:
        raise ServiceError(
            code_pb2.UNAVAILABLE,
            "DELIVERY_FAILED",
            "The result could not be brought to its place.",
            retryable=True,
        ) from error


def _move(path: Path, target: Path) -> None:
    """On disk before it is visible, and visible at once."""
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        try:
            path.replace(beside)
        except OSError:  # another file system
            shutil.copyfile(path, beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


async def _put(path: Path, url: str) -> None:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for attempt in range(1, _MAX_TRIES + 1):
            try:
                async with session.put(
                    yarl.URL(url, encoded=True),
                    data=_chunks(path),
                    headers={"Content-Length": str(path.stat().st_size)},
                ) as response:
                    response.raise_for_status()
                return
            except aiohttp.ClientResponseError as error:
                if error.status < 500 or attempt == _MAX_TRIES:
                    raise
            except (aiohttp.ClientError, TimeoutError):
                if attempt == _MAX_TRIES:
                    raise
            await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    async with aiofiles.open(path, "rb") as file:
        while chunk := await file.read(_CHUNK_BYTES):
            yield chunk
