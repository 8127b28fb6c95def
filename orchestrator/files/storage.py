"""The bytes of files behind one API (obstore): a folder, or any store that speaks S3, Google
Cloud Storage or Azure Blob Storage. Every file is there complete, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, LocalStore, S3Store, from_url

from apigpu_common.errors import InternalError, NotFound, Unavailable
from orchestrator.files.arrivals import ARRIVALS
from orchestrator.files.disk import sync

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

log = logging.getLogger(__name__)

# What every store takes in one PUT: Azure 5000 MiB, S3 a little more.
MAX_PUT_BYTES = 5000 * 2**20
# What S3 copies in one go; a longer file has to be read and written.
_MAX_COPY_BYTES = 5 * 2**30

_CHUNK_BYTES = 1024 * 1024
_RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
# Told in full: what an endless body may take, a dead connection must not.
_CLIENT: ClientConfig = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "1h"}


class FileExists(Exception):
    """There is a file of this key already: it is complete, and stays as it is."""


@dataclass(frozen=True)
class Written:
    """What was measured in stored bytes. sha256: lower-case hexadecimal."""

    size_bytes: int
    sha256: str


class FileStorage:
    """Files by key, a path such as "incoming/0192ab". Keys are made by us, never by callers."""

    def __init__(self, url: str) -> None:
        """url: file:///folder, s3://bucket/prefix, gs://... or az://...; credentials and all
        else come from the environment, under the names that each provider's tools use."""
        parts = urlsplit(url)
        self.folder: Path | None = None
        self.is_azure = self._is_s3 = False
        self._store: Any
        if parts.scheme == "file":
            self.folder = Path(parts.path)
            self._store = LocalStore(self.folder, mkdir=True)
            (self.folder / ARRIVALS).mkdir(exist_ok=True)
            return
        # Named by us, so that it is not lost among our own options of the client.
        allow_http = any(
            os.environ.get(f"{provider}_ALLOW_HTTP", "").lower() == "true"
            for provider in ("AWS", "AZURE", "GOOGLE")
        )
        options: ClientConfig = {**_CLIENT, "allow_http": allow_http}
        more: Any = {}
        if parts.scheme in ("s3", "s3a") and "AWS_COPY_IF_NOT_EXISTS" not in os.environ:
            more["copy_if_not_exists"] = "header: If-None-Match: *"
        self._store = from_url(url, client_options=options, retry_config=_RETRY, **more)
        self.is_azure = isinstance(self._store, AzureStore)
        self._is_s3 = isinstance(self._store, S3Store)

    async def check(self) -> None:
        """Raise where it cannot be written to: told at the start, not with the first job."""
        key = f"{ARRIVALS}/check-{secrets.token_hex(8)}"
        try:
            await obstore.put_async(self._store, key, b"a file to see whether files can be stored")
            await obstore.delete_async(self._store, key)
        except (BaseError, OSError) as error:
            first_line = str(error).partition("\n")[0]
            raise InternalError(
                "STORAGE_REFUSES", f"The file storage cannot be written to: {first_line}"
            ) from None

    def path(self, key: str) -> Path | None:
        """Where a file lies on this machine's disk; None where it does not."""
        return self.folder / key if self.folder is not None else None

    async def adopt(self, source: Path, key: str, media_type: str) -> None:
        """Make the local file `source` the file `key`. Raises FileExists; `source` stays then."""
        target = self.path(key)
        with _told():
            if target is not None:
                await asyncio.to_thread(_place, source, target)
                return
            if await self.size_bytes(key) is not None:
                raise FileExists
            attributes = {"Content-Type": media_type}
            await obstore.put_async(self._store, key, source, attributes=attributes)
        source.unlink()

    async def move(self, source: str, target: str) -> None:
        """Give a file another key. Raises FileExists where that is taken."""
        with _told():
            if self.folder is not None:
                await asyncio.to_thread(_place, self.folder / source, self.folder / target)
                return
            size_bytes = await self.size_bytes(source)
            if self._is_s3 and (size_bytes or 0) > _MAX_COPY_BYTES:
                await self._carry(source, target)
            else:
                await obstore.rename_async(self._store, source, target, overwrite=False)

    async def _carry(self, source: str, target: str) -> None:
        """Move what the store cannot: through us, a part at a time."""
        if await self.size_bytes(target) is not None:
            raise FileExists
        found = await obstore.get_async(self._store, source)
        await obstore.put_async(self._store, target, found.stream(min_chunk_size=_CHUNK_BYTES))
        await obstore.delete_async(self._store, source)

    async def read(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """The file's bytes from `offset` on, in chunks of at most 1 MiB."""
        size_bytes = await self.size_bytes(key)
        if size_bytes is None:
            raise NotFound("FILE_NOT_FOUND", "The file's bytes are not there any more.")
        end = size_bytes if length is None else min(size_bytes, offset + length)
        if offset >= end:
            return
        with _told():
            found = await obstore.get_async(self._store, key, options={"range": (offset, end)})
            async for part in found.stream(min_chunk_size=_CHUNK_BYTES):
                view = memoryview(part)
                for start in range(0, len(view), _CHUNK_BYTES):
                    yield bytes(view[start : start + _CHUNK_BYTES])

    async def measure(self, key: str) -> Written | None:
        """The file's length and checksum as read back, or None where there is no such file."""
        path = self.path(key)
        if path is not None:
            try:
                return await asyncio.to_thread(measure_file, path)
            except FileNotFoundError:
                return None
        digest, size_bytes = hashlib.sha256(), 0
        try:
            async for chunk in self.read(key):
                digest.update(chunk)
                size_bytes += len(chunk)
        except NotFound:
            return None
        return Written(size_bytes, digest.hexdigest())

    async def size_bytes(self, key: str) -> int | None:
        """The file's length, or None where there is no such file."""
        with _told():
            try:
                return (await obstore.head_async(self._store, key))["size"]
            except FileNotFoundError:
                return None

    async def delete(self, key: str) -> None:
        """Remove the file if it is there."""
        with _told(), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)

    async def sign(self, method: Literal["GET", "PUT"], key: str, lifetime_s: float) -> str:
        """A link straight to the store, for one method on one file."""
        signed: str = await obstore.sign_async(
            self._store, method, key, timedelta(seconds=int(lifetime_s))
        )
        return signed

    async def arrivals(self) -> AsyncIterator[tuple[str, datetime]]:
        """What has arrived and was not accepted yet: each key, and when it was last written."""
        with _told():
            async for page in obstore.list(self._store, f"{ARRIVALS}/"):
                for found in page:
                    yield found["path"], found["last_modified"]


def measure_file(path: Path) -> Written:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Written(file.tell(), digest)


@contextmanager
def _told() -> Iterator[None]:
    """What the storage's own errors mean to whoever asked."""
    try:
        yield
    except AlreadyExistsError:
        raise FileExists from None
    except FileNotFoundError:
        raise NotFound("FILE_NOT_FOUND", "The file's bytes are not there any more.") from None
    except BaseError as error:
        log.error("the file storage failed: %s", str(error).partition("\n")[0])
        raise Unavailable(
            "STORAGE_UNAVAILABLE", "The file storage does not answer as it should; try again."
        ) from None


def _place(source: Path, target: Path) -> None:
    """On disk before it is visible, visible at once, and never over another file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sync(source)
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise FileExists from None
    source.unlink()
    sync(target.parent)  # the name, too
