"""Bring results home: where each one goes, and whether it can go there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from apigpu.video.v1.job_pb2 import Item, Job

from apigpu_client.cli.display import Display
from apigpu_client.client import VideoClient


@dataclass(frozen=True)
class Place:
    """What -o says. folder: it is one, or was written like one ("clips/")."""

    path: Path
    folder: bool

    @classmethod
    def parse(cls, text: str) -> Place:
        return cls(Path(text), text.endswith(("/", os.sep)) or Path(text).is_dir())

    def check(self, results: int) -> None:
        """Raise ValueError where so many results cannot be put: before any work is spent."""
        is_folder = self.folder or results > 1
        if is_folder and self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; -o must be a folder here")
        above = self.path if is_folder else self.path.absolute().parent
        while not above.exists():
            above = above.absolute().parent
        if not (above.is_dir() and os.access(above, os.W_OK)):
            raise ValueError(f"{self.path}: nothing can be written in {above}")

    def of(self, filename: str, results: int) -> Path:
        """Where the file of that name goes, one of so many."""
        if not self.folder and results == 1:
            return self.path
        # The name comes from afar: a name, never a way out of the folder.
        name = PurePosixPath(filename.replace("\\", "/")).name
        return self.path / (name if name not in ("", "..") else "result")


def count(job: Job) -> int:
    """How many results a job can have, also before the service has seen it."""
    return max(len(job.images_to_videos.images), len(job.items), 1)


async def save_results(
    client: VideoClient, job: Job, display: Display, place: Place
) -> dict[str, Path]:
    """Download what the job has made; returns the paths by item id."""
    saved = {}
    for item in job.items:
        if item.state != Item.SUCCEEDED:
            continue
        path = place.of(item.output.filename, count(job))
        on_progress = partial(display.transfer, "download", path.name)
        saved[item.id] = await client.download(item.output.file, path, on_progress)
    return saved
