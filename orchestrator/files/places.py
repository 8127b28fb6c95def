"""Where a worker finds its inputs and puts its results: on the disk that it shares with us, or
behind links."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from apigpu.worker.v1.worker_service_pb2 import FileLocation

from orchestrator.files import arrivals, paths
from orchestrator.files.links import Links
from orchestrator.files.storage import FileExists, FileStorage, Written


class Places:
    """Tells workers about files, by key.

    reach_us: whether workers can reach our own HTTP address.
    lifetime_s: how long a link must be good: as long as a task may wait and run.
    template: where results lie in the end.
    """

    def __init__(
        self,
        storage: FileStorage,
        links: Links,
        *,
        shares_disk: bool,
        reach_us: bool,
        lifetime_s: float,
        template: str,
    ) -> None:
        self._storage = storage
        self._links = links
        self._shares_disk = shares_disk
        self._reach_us = reach_us
        self._lifetime_s = lifetime_s
        self._template = template

    async def source(self, key: str) -> FileLocation:
        path = self._storage.path(key) if self._shares_disk else None
        if path is not None:
            return FileLocation(path=str(path))
        return await self._links.source(key, self._lifetime_s)

    def permit(self, job_id: str, attempt_id: str) -> FileLocation | None:
        """Where to ask whether an attempt is still wanted; None where nobody can."""
        if not self._reach_us:
            return None
        return self._links.permit(job_id, attempt_id, self._lifetime_s)

    async def target(self, job_id: str, attempt_id: str, file_id: str) -> FileLocation:
        key = arrivals.of_result(job_id, attempt_id, file_id)
        path = self._storage.path(key) if self._shares_disk else None
        if path is not None:
            return FileLocation(path=str(path))
        return await self._links.target(key, self._lifetime_s)

    def long_target(self, job_id: str, attempt_id: str, file_id: str) -> FileLocation | None:
        """Where a result goes that is too long for the other place: through us to the store, if
        workers can reach us."""
        if not self._links.direct or not self._reach_us:
            return None
        key = arrivals.of_result(job_id, attempt_id, file_id)
        return self._links.own_target(key, self._lifetime_s)

    async def accept(
        self, attempt_id: str, file_id: str, measured: Written, values: Mapping[str, str]
    ) -> str | None:
        """Move a result to its place in the end, where no worker's link leads; returns the
        key. None if what arrived is not what the worker has measured.

        values: for the template, all but the file's id.
        """
        arrived = arrivals.of_result(values["job"], attempt_id, file_id)
        wanted = paths.fill(self._template, {**values, "file": file_id})
        whole = await self._storage.measure(arrived) == measured
        for key in paths.alternatives(wanted, file_id):
            if whole:
                with suppress(FileExists):
                    await self._storage.move(arrived, key)
                    return key
            # By another replica, or one who died before he could say so.
            if await self._storage.measure(key) == measured:
                return key
        return None
