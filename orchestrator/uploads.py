"""Uploads: from bytes in a call to a file that jobs may name. A cut one can be gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from apigpu.video.v1.video_service_pb2 import UploadFileHeader
from google.rpc import code_pb2

from apigpu_common.errors import InvalidInput, PreconditionFailed, ServiceError
from orchestrator import ids
from orchestrator.access.identity import current
from orchestrator.files.media_types import media_type
from orchestrator.files.spool import Spool
from orchestrator.files.storage import FileExists, FileStorage, Written, measure_file
from orchestrator.jobs.orders import Place
from orchestrator.keeping import removal
from orchestrator.store.records import StoredFile
from orchestrator.store.store import Store


class Uploads:
    """Receives files. The same upload id always leads to the same file."""

    def __init__(self, store: Store, storage: FileStorage, spool: Spool) -> None:
        self._store = store
        self._storage = storage
        self._spool = spool

    @property
    def max_bytes(self) -> int:
        """Longest file that the caller may upload."""
        return min(self._spool.max_bytes, current().limits.upload_bytes or self._spool.max_bytes)

    async def receive(self, header: UploadFileHeader, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Take a file, or the rest of one. What is stored was measured on the disk."""
        resumable = bool(header.upload_id)
        if header.offset and not resumable:
            raise InvalidInput(
                "UPLOAD_ID_MISSING",
                "Only an upload with an upload_id can be gone on with.",
                field="header.offset",
            )
        file_id = (
            ids.upload_file_id(current().owner, header.upload_id) if resumable else ids.new_id()
        )
        async with self._spool.arrival(
            file_id, resumable=resumable, max_bytes=self.max_bytes
        ) as arrival:
            if resumable and (file := await self._store.get_file(file_id)) is not None:
                return same_file(file, header)
            arrival.expect(header.offset, header.size_bytes)
            async for chunk in chunks:
                await arrival.append(chunk)
            async with arrival.busy:  # whoever comes now waits, and finds the file
                return await self._keep(file_id, header, arrival.path)

    async def query(self, upload_id: str) -> tuple[int, StoredFile | None]:
        """How many bytes of an upload are here, and the file where it is complete."""
        file_id = ids.upload_file_id(current().owner, upload_id)
        file = await self._store.get_file(file_id)
        return (file.size_bytes if file else self._spool.kept_bytes(file_id)), file

    async def list(self, owner: str, after: Place | None, limit: int) -> list[StoredFile]:
        """An owner's files, newest first. after: time and id of the last one that is known."""
        if after is None:
            return await self._store.list_files(owner, None, limit)
        created, file_id = after
        try:
            before = StoredFile(
                str(file_id), "", 0, "", datetime.fromtimestamp(float(created), UTC), owner=owner
            )
        except (ValueError, OverflowError, OSError):
            raise InvalidInput(
                "INVALID_PAGE_TOKEN", "The page token is none of ours.", field="page_token"
            ) from None
        return await self._store.list_files(owner, before, limit)

    async def delete(self, file: StoredFile) -> None:
        """Remove an upload. Jobs that have not fetched it yet fail."""
        if file.job_id:
            raise PreconditionFailed(
                "FILE_OF_JOB",
                f"The file is a result of {ids.job_name(file.job_id)}: it goes with its job.",
                field="name",
            )
        await self._store.delete_file(file.id)
        await removal.remove_bytes(self._store, self._storage)

    async def _keep(self, file_id: str, header: UploadFileHeader, path: Path) -> StoredFile:
        written = await asyncio.to_thread(measure_file, path)
        check_announced(written, header)
        try:
            await self._storage.adopt(path, file_id, media_type(header.filename))
        except FileExists:
            # We died between the two steps below and above: nobody was told of that file.
            await self._storage.delete(file_id)
            await self._storage.adopt(path, file_id, media_type(header.filename))
        return await self.record(file_id, header, written)

    async def record(self, file_id: str, header: UploadFileHeader, written: Written) -> StoredFile:
        """A file of the caller's, whose bytes are in their place. They go if it cannot be noted."""
        file = StoredFile(
            id=file_id,
            filename=header.filename,
            size_bytes=written.size_bytes,
            sha256=written.sha256,
            create_time=datetime.now(UTC),
            owner=current().owner,
        )
        try:
            await self._store.add_file(file)
        except BaseException:
            await self._storage.delete(file_id)
            raise
        return file


def check_announced(written: Written, header: UploadFileHeader) -> None:
    """Raise if what arrived is not what the caller announced."""
    if header.HasField("size_bytes") and written.size_bytes != header.size_bytes:
        raise InvalidInput(
            "UPLOAD_SIZE_MISMATCH",
            f"{written.size_bytes} bytes arrived, {header.size_bytes} were announced.",
            field="header.size_bytes",
        )
    if header.sha256 and written.sha256 != header.sha256:
        raise ServiceError(
            code_pb2.DATA_LOSS,
            "UPLOAD_CHECKSUM_MISMATCH",
            "The bytes that arrived do not have the announced SHA-256: send the file again.",
            retryable=True,
        )


def same_file(file: StoredFile, header: UploadFileHeader) -> StoredFile:
    """The file that this upload id has made, if that is what the caller announces now."""
    other_size = header.HasField("size_bytes") and header.size_bytes != file.size_bytes
    if other_size or (header.sha256 and header.sha256 != file.sha256):
        raise ServiceError(
            code_pb2.ALREADY_EXISTS,
            "UPLOAD_ID_REUSED",
            f"This upload_id has made {ids.file_name(file.id)} from other bytes: use a new one.",
            field="header.upload_id",
            metadata={"file": ids.file_name(file.id)},
        )
    return file
