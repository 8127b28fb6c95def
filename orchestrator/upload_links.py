"""Uploads that do not pass our calls: a link that takes the bytes, and what makes them a file."""

from __future__ import annotations

import time
from contextlib import suppress

from apigpu.video.v1.video_service_pb2 import UploadFileHeader
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import InvalidInput, NotFound, PreconditionFailed
from orchestrator import ids
from orchestrator.access.identity import current
from orchestrator.files import arrivals
from orchestrator.files.links import Links
from orchestrator.files.storage import MAX_PUT_BYTES, FileExists, FileStorage, Written
from orchestrator.store.records import StoredFile
from orchestrator.store.store import Store
from orchestrator.uploads import Uploads, check_announced, same_file


class UploadLinks:
    """An upload's id leads to its file, as with Uploads: nothing is kept in between."""

    def __init__(self, store: Store, storage: FileStorage, links: Links, uploads: Uploads) -> None:
        self._store = store
        self._storage = storage
        self._links = links
        self._uploads = uploads

    async def create(
        self, header: UploadFileHeader, lifetime_s: float
    ) -> tuple[FileLocation, float]:
        """Where to put the bytes, and when that stops to be good (Unix time)."""
        if header.size_bytes > self._uploads.max_bytes:
            raise InvalidInput(
                "FILE_TOO_LARGE",
                f"The file is longer than {self._uploads.max_bytes} bytes, the most that is taken.",
                field="header.size_bytes",
            )
        if header.size_bytes > MAX_PUT_BYTES and self._links.direct:
            raise PreconditionFailed(
                "FILE_TOO_LARGE_FOR_LINK",
                f"A link takes {MAX_PUT_BYTES} bytes at most: send it by UploadFile.",
                field="header.size_bytes",
            )
        key = arrivals.of_upload(_file_id(header))
        expires = int(time.time() + lifetime_s)
        return await self._links.target(key, lifetime_s, header.size_bytes), expires

    async def complete(self, header: UploadFileHeader) -> StoredFile:
        """The file, of the bytes that have arrived. They are looked at where no link leads."""
        file_id = _file_id(header)
        if (file := await self._store.get_file(file_id)) is not None:
            return same_file(file, header)
        with suppress(NotFound):  # taken in by a call that was cut, or never sent
            await self._take_in(file_id)
        try:
            written = await self._measure(file_id, header)
        except BaseException:
            await self._storage.delete(file_id)
            raise
        return await self._uploads.record(file_id, header, written)

    async def _take_in(self, file_id: str) -> None:
        key = arrivals.of_upload(file_id)
        try:
            await self._storage.move(key, file_id)
        except FileExists:  # of an earlier call that was cut; what came last counts
            await self._storage.delete(file_id)
            await self._storage.move(key, file_id)

    async def _measure(self, file_id: str, header: UploadFileHeader) -> Written:
        """What arrived, if it is what was announced. Nothing longer than that is ever read."""
        size_bytes = await self._storage.size_bytes(file_id)
        if size_bytes is None:
            raise PreconditionFailed(
                "UPLOAD_MISSING",
                "Nothing has arrived at the link of this upload: PUT the file there first.",
                field="header.upload_id",
            )
        check_announced(Written(size_bytes, header.sha256), header)
        written = await self._storage.measure(file_id)
        assert written is not None
        check_announced(written, header)
        return written


def _file_id(header: UploadFileHeader) -> str:
    return ids.upload_file_id(current().owner, header.upload_id)
