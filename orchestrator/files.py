"""The bytes of files: uploads in, results out, in an object store behind one API (obstore).

Knows nothing of jobs. Today the store is a folder; its interface is that of S3 and its like.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import obstore
from google.rpc import code_pb2
from obstore.store import LocalStore

from apigpu_common.errors import InvalidInput, NotFound, ServiceError

_CHUNK_BYTES = 1024 * 1024


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
        """Store `chunks` as one file. An error or a cancel leaves nothing behind."""
        digest = hashlib.sha256()
        size_bytes = 0
        complete = False
        writer = obstore.open_writer_async(self._store, file_id)
        try:
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
            complete = True
        finally:
            if not complete:
                await self.delete(file_id)
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
