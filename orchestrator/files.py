"""The bytes of files: uploads in, results out, in an object store behind one API (obstore).

Knows nothing of jobs. Today the store is a folder; its interface is that of S3 and its like.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import obstore
from google.rpc import code_pb2
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore

from apigpu_common.errors import InvalidInput, NotFound, ServiceError

_CHUNK_BYTES = 1024 * 1024


class FileExists(Exception):
    """There is a file of this id already: it is complete, and stays as it is."""


@dataclass(frozen=True)
class Written:
    """What was measured while bytes were stored. sha256: lower-case hexadecimal."""

    size_bytes: int
    sha256: str


class FileStorage:
    """Files by id. A file is there complete, or not at all."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._store = LocalStore(folder, mkdir=True)

    def path(self, file_id: str) -> Path:
        """Where a file lies on this machine's disk, for a worker that shares it."""
        return self._folder / file_id

    async def write(self, file_id: str, chunks: AsyncIterator[bytes]) -> Written:
        """Store `chunks` as one new file. An error or a cancel leaves nothing behind.

        Raises FileExists where there is one already, whoever was faster.
        """
        if await self.size_bytes(file_id) is not None:
            raise FileExists
        arriving = f"{file_id}.{secrets.token_hex(8)}"
        try:
            written = await self._receive(arriving, chunks)
            await obstore.rename_async(self._store, arriving, file_id, overwrite=False)
        except AlreadyExistsError:
            raise FileExists from None
        finally:
            await self.delete(arriving)
        return written

    async def _receive(self, file_id: str, chunks: AsyncIterator[bytes]) -> Written:
        digest = hashlib.sha256()
        size_bytes = 0
        writer = obstore.open_writer_async(self._store, file_id)
        async with writer:
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > self._max_bytes:
                    raise InvalidInput(
                        "FILE_TOO_LARGE",
                        f"The file is longer than {self._max_bytes} bytes, the most this"
                        " service takes.",
                    )
                digest.update(chunk)
                await writer.write(chunk)
        return Written(size_bytes, digest.hexdigest())

    async def read(self, file_id: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The file's bytes from `offset` on, in chunks of at most 1 MiB."""
        try:
            size_bytes = (await obstore.head_async(self._store, file_id))["size"]
            if offset >= size_bytes:
                return
            found = await obstore.get_async(
                self._store, file_id, options={"range": {"offset": offset}}
            )
        except FileNotFoundError:
            raise NotFound("FILE_NOT_FOUND", "The file's bytes are not there any more.") from None
        async for part in found.stream(min_chunk_size=_CHUNK_BYTES):
            view = memoryview(part)
            for start in range(0, len(view), _CHUNK_BYTES):
                yield bytes(view[start : start + _CHUNK_BYTES])

    async def measure(self, file_id: str) -> Written | None:
        """The file's length and checksum as read back, or None where there is no such file."""
        digest, size_bytes = hashlib.sha256(), 0
        try:
            async for chunk in self.read(file_id):
                digest.update(chunk)
                size_bytes += len(chunk)
        except NotFound:
            return None
        return Written(size_bytes, digest.hexdigest())

    async def size_bytes(self, file_id: str) -> int | None:
        """The file's length, or None where there is no such file."""
        try:
            return (await obstore.head_async(self._store, file_id))["size"]
        except FileNotFoundError:
            return None

    async def delete(self, file_id: str) -> None:
        """Remove the file if it is there."""
        with suppress(FileNotFoundError):
            await obstore.delete_async(self._store, file_id)


def check_upload(written: Written, expected_size_bytes: int | None, expected_sha256: str) -> None:
    """Raise if what was stored is not what the caller announced."""
    if expected_size_bytes is not None and written.size_bytes != expected_size_bytes:
        raise InvalidInput(
            "UPLOAD_SIZE_MISMATCH",
            f"{written.size_bytes} bytes arrived, {expected_size_bytes} were announced.",
            field="header.size_bytes",
        )
    if expected_sha256 and written.sha256 != expected_sha256:
        raise ServiceError(
            code_pb2.DATA_LOSS,
            "UPLOAD_CHECKSUM_MISMATCH",
            "The bytes that arrived do not have the announced SHA-256: send the file again.",
            retryable=True,
        )
