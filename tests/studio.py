"""Run one operation on local files, as the worker's service does, and keep what it made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apigpu.video.v1 import job_pb2, operations_pb2
from apigpu.worker.v1.worker_service_pb2 import Task
from google.protobuf import json_format

from gpu_worker.media.encoders import Toolbox
from gpu_worker.operations import OPERATIONS
from gpu_worker.operations.base import ItemContext


def source(path: Path) -> operations_pb2.MediaSource:
    """A source that the studio's `fetch` finds again."""
    return operations_pb2.MediaSource(uri=f"https://media.example{path}")


@dataclass
class Made:
    """What came of an operation."""

    path: Path
    output: job_pb2.Output
    progress: list[job_pb2.Progress]


@dataclass
class Studio:
    """folder: where results are kept; `workspace` below it is what the operation works in."""

    folder: Path
    tools: Toolbox
    progress: list[job_pb2.Progress] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    async def make(self, task: Task, item_id: str = "video") -> Made:
        self.workspace.mkdir()
        result = self.workspace / "result.mp4"
        self.progress.clear()
        context = ItemContext(self.workspace, result, self.progress.append, self._fetch, self.tools)
        operation = OPERATIONS[task.WhichOneof("operation") or ""]
        output = await operation(task, item_id, context)
        return Made(result, output, list(self.progress))

    async def _fetch(self, wanted: operations_pb2.MediaSource, field_path: str) -> Path:
        return Path(wanted.uri.removeprefix("https://media.example"))

    async def caption(self, video: Path, subtitles: Path, **asked: Any) -> Made:
        """asked: further fields of the request, as in its JSON form; fonts as paths."""
        caption = operations_pb2.Caption(video=source(video), subtitles=source(subtitles))
        caption.fonts.extend(source(font) for font in asked.pop("fonts", ()))
        json_format.ParseDict(asked, caption)
        return await self.make(Task(caption=caption))

    async def add_audio(self, video: Path, audio: Path, **asked: Any) -> Made:
        """asked: further fields of the request, as in its JSON form."""
        request = operations_pb2.AddAudio(video=source(video), audio=source(audio))
        json_format.ParseDict(asked, request)
        return await self.make(Task(add_audio=request))

    async def animate(
        self, *images: operations_pb2.Image, item_id: str, batch: operations_pb2.ImagesToVideos
    ) -> Made:
        batch.images.extend(images)
        return await self.make(Task(images_to_videos=batch), item_id)

    def with_tools(self, **changes: object) -> Studio:
        """The same studio with another FFmpeg or other encoders."""
        return Studio(self.folder, dataclasses.replace(self.tools, **changes))  # type: ignore[arg-type]
