"""Bytes on their way in, on local disk: appended as they come, picked up after a cut where it
happened, removed when they are done with or when nobody came back for them."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from google.rpc import code_pb2

from apigpu_common.errors import InvalidInput, ServiceError
from orchestrator.files.disk import check_room, disk_full

_FULL = (errno.ENOSPC, errno.EDQUOT)
# How often the room is looked at while a file of unknown length comes.
_CHECK_EVERY_BYTES = 64 * 1024 * 1024


class Arrival:
    """A file that is coming. One at a time writes it: whoever came last."""

    def __init__(self, path: Path, max_bytes: int, reserve_bytes: int) -> None:
        self.path = path
        self.kept_bytes = 0
        self.superseded = False
        self.busy = asyncio.Lock()
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._descriptor = -1

    def open(self) -> None:
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self.kept_bytes = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        os.close(self._descriptor)

    def expect(self, offset: int, size_bytes: int) -> None:
        """Go on from `offset`; the whole is `size_bytes` long, 0 where that is not known."""
        if offset > self.kept_bytes:
            raise ServiceError(
                code_pb2.OUT_OF_RANGE,
                "UPLOAD_OFFSET",
                f"{self.kept_bytes} bytes of this upload are here: go on from there.",
                field="header.offset",
                metadata={"size_bytes": str(self.kept_bytes)},
            )
        os.ftruncate(self._descriptor, offset)
        self.kept_bytes = offset
        self._check_length(size_bytes)
        check_room(self.path.parent, max(size_bytes - offset, 0), self._reserve_bytes)

    async def append(self, chunk: bytes) -> None:
        async with self.busy:
            if self.superseded:
                raise ServiceError(
                    code_pb2.ABORTED, "UPLOAD_TAKEN_OVER", "The upload goes on in another call."
                )
            self._check_length(self.kept_bytes + len(chunk))
            if self.kept_bytes % _CHECK_EVERY_BYTES + len(chunk) >= _CHECK_EVERY_BYTES:
                check_room(self.path.parent, len(chunk), self._reserve_bytes)
            try:
                await asyncio.to_thread(self._write, chunk)
            except OSError as error:
                if error.errno in _FULL:
                    raise disk_full() from None
                raise

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._descriptor, view, self.kept_bytes)
            self.kept_bytes += written
            view = view[written:]

    def _check_length(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise InvalidInput(
                "FILE_TOO_LARGE",
                f"The file is longer than {self._max_bytes} bytes, the most that is taken.",
            )


class Spool:
    """A folder of arrivals, by name."""

    def __init__(self, folder: Path, max_bytes: int, reserve_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self.max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._arrivals: dict[str, Arrival] = {}

    @asynccontextmanager
    async def arrival(
        self, name: str, *, resumable: bool, max_bytes: int
    ) -> AsyncIterator[Arrival]:
        """Receive `name`, from where it was cut. Whoever was at it before is told to stop.

        Where the block is left with an error the bytes stay only if `resumable`, and only
        what can be gone on with: an error that blames them takes them along.
        """
        arrival = Arrival(self._folder / name, max_bytes, self._reserve_bytes)
        before, self._arrivals[name] = self._arrivals.get(name), arrival
        if before is not None:
            before.superseded = True
            async with before.busy:
                pass  # its last bytes are on the disk now
        arrival.open()
        keep = resumable
        try:
            yield arrival
            keep = False
        except InvalidInput:
            keep = False
            raise
        except ServiceError as error:
            keep = keep and error.code != code_pb2.DATA_LOSS
            raise
        finally:
            arrival.close()
            if self._arrivals.get(name) is arrival:
                del self._arrivals[name]
                if not keep or not arrival.kept_bytes:
                    with suppress(FileNotFoundError):
                        arrival.path.unlink()

    def kept_bytes(self, name: str) -> int:
        """How much of an arrival is here."""
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def sweep(self, older_than_s: float) -> int:
        """Remove what nobody came back for. Returns how many files that were."""
        limit = time.time() - older_than_s
        abandoned = [
            path
            for path in self._folder.iterdir()
            if path.name not in self._arrivals and path.stat().st_mtime < limit
        ]
        for path in abandoned:
            path.unlink(missing_ok=True)
        return len(abandoned)
