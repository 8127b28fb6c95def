"""Inputs of a task, or of several of one job: each is brought here once, however many items want
it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import ServiceError
from gpu_worker.fetch import Fetcher, OnBytes


@dataclass
class _Input:
    """One input on its way or here, and everybody who waits for it and is told how far it is."""

    fetch: asyncio.Task[Path]
    listeners: list[OnBytes] = field(default_factory=list)

    @property
    def is_worth_another_try(self) -> bool:
        """Whether it was stopped, or broke off in a way that another try may cure."""
        if not self.fetch.done():
            return False
        error = None if self.fetch.cancelled() else self.fetch.exception()
        return self.fetch.cancelled() or (error is not None and getattr(error, "retryable", True))


class Inputs:
    """Use as `async with`: what is still on its way at the end is stopped."""

    def __init__(self, fetcher: Fetcher, folder: Path) -> None:
        self._fetcher = fetcher
        self._folder = folder
        self._found: dict[tuple[bytes, str], _Input] = {}

    async def __aenter__(self) -> Inputs:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Fetch nothing more of what is still on its way."""
        fetches = [found.fetch for found in self._found.values()]
        for fetch in fetches:
            fetch.cancel()
        # Also takes note of failures that nobody waited for.
        await asyncio.gather(*fetches, return_exceptions=True)

    async def get(
        self,
        source: MediaSource,
        field: str,
        files: Mapping[str, FileLocation],
        on_bytes: OnBytes,
    ) -> Path:
        """The local path of a source. Raises ServiceError that blames `field`.

        files: where the orchestrator's files are.
        """
        # What it is for, too: other limits apply to a picture than to a video.
        key = (source.SerializeToString(deterministic=True), field.rpartition(".")[2])
        found = self._found.get(key) or self._start(source, field, files)
        self._found[key] = found
        found.listeners.append(on_bytes)
        try:
            # Shielded: another item may be waiting for the same bytes.
            return await asyncio.shield(found.fetch)
        except ServiceError as error:
            raise error.blaming(field) from error
        finally:
            found.listeners.remove(on_bytes)

    def forget_failures(self) -> None:
        """Try again, from now on, what another try may bring."""
        self._found = {
            key: each for key, each in self._found.items() if not each.is_worth_another_try
        }

    def _start(self, source: MediaSource, field: str, files: Mapping[str, FileLocation]) -> _Input:
        listeners: list[OnBytes] = []

        def tell(part: float | None) -> None:
            for listener in listeners:
                listener(part)

        fetch = self._fetcher.fetch(source, field, files, self._folder, tell)
        return _Input(asyncio.create_task(fetch), listeners)
