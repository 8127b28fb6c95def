"""How long an attempt may run, from what is known of its media before anybody works on it."""

from __future__ import annotations

from collections.abc import Collection

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import MediaSource

from apigpu_common.errors import ServiceError
from orchestrator import ids
from orchestrator.files import mp4_length
from orchestrator.files.storage import FileStorage
from orchestrator.jobs import limits
from orchestrator.jobs.effort import item_efforts_s
from orchestrator.store.store import Store


class RunLimits:
    """most_s: what no attempt may exceed."""

    def __init__(self, store: Store, storage: FileStorage, most_s: float) -> None:
        self._store = store
        self._storage = storage
        self._most_s = most_s

    async def of(self, job: Job, item_ids: Collection[str]) -> float:
        """For these items of the job, in seconds."""
        efforts_s = item_efforts_s(job, await self._media_s(job))
        if efforts_s is not None:
            pairs = zip(job.items, efforts_s, strict=True)
            efforts_s = [effort_s for item, effort_s in pairs if item.id in item_ids]
        return limits.run_limit_s(efforts_s, self._most_s)

    async def _media_s(self, job: Job) -> float | None:
        """How long the longest of the job's video and sound plays; None where one does not tell."""
        match job.WhichOneof("operation"):
            case "caption":
                media = [job.caption.video]
            case "add_audio":
                media = [job.add_audio.video, job.add_audio.audio]
            case _:
                return None
        lengths_s = [await self._length_s(source) for source in media]
        known_s = [length_s for length_s in lengths_s if length_s is not None]
        return max(known_s) if len(known_s) == len(media) else None

    async def _length_s(self, source: MediaSource) -> float | None:
        if not source.file:
            return None  # by URL: only its worker will fetch it
        file = await self._store.get_file(ids.id_of(source.file))
        key = (file.key if file else "") or ids.id_of(source.file)

        async def read(offset: int, length: int) -> bytes:
            return b"".join([part async for part in self._storage.read(key, offset, length)])

        try:
            return await mp4_length.length_s(read)
        except ServiceError:
            return None  # its worker tells a better story of what is wrong with it
