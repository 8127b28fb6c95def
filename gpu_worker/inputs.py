"""A task's inputs: each is brought here once, however many items want it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1.worker_service_pb2 import Task

from apigpu_common.errors import ServiceError
from gpu_worker.fetch import Fetcher, OnBytes


@dataclass
class _Shared:
    """One input on its way, and everybody who is told how far it is."""

    listeners: list[OnBytes] = field(default_factory=list)

    def tell(self, part: float | None) -> None:
        for listener in self.listeners:
            listener(part)


class Inputs:
    """Use as `async with`: what is still on its way at the end is stopped."""

    def __init__(self, fetcher: Fetcher, task: Task, folder: Path) -> None:
        self._fetcher = fetcher
        self._task = task
        self._folder = folder
        self._found: dict[tuple[bytes, str], tuple[_Shared, asyncio.Task[Path]]] = {}

    async def __aenter__(self) -> Inputs:
        return self

    async def __aexit__(self, *_: object) -> None:
        fetches = [fetch for _, fetch in self._found.values()]
        for fetch in fetches:
            fetch.cancel()
        # Also takes note of failures that nobody waited for.
        await asyncio.gather(*fetches, return_exceptions=True)

    async def get(self, source: MediaSource, field: str, on_bytes: OnBytes) -> Path:
        """The local path of a source. Raises ServiceError that blames `field`."""
        # What it is for, too: other limits apply to a picture than to a video.
        key = (source.SerializeToString(deterministic=True), field.rpartition(".")[2])
        if key not in self._found:
            self._found[key] = self._start(source, field)
        shared, fetch = self._found[key]
        shared.listeners.append(on_bytes)
        try:
            # Shielded: another item may be waiting for the same bytes.
            return await asyncio.shield(fetch)
        except ServiceError as error:
            raise error.blaming(field) from error

    def _start(self, source: MediaSource, field: str) -> tuple[_Shared, asyncio.Task[Path]]:
        shared = _Shared()
        fetch = self._fetcher.fetch(source, field, self._task.files, self._folder, shared.tell)
        return shared, asyncio.create_task(fetch)
