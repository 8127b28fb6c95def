"""The operations, by the name of their field in the contract. A new one gets its line here."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_worker.operations.add_audio import add_audio
from gpu_worker.operations.base import Operation
from gpu_worker.operations.caption import caption
from gpu_worker.operations.images_to_videos import images_to_videos

OPERATIONS: Mapping[str, Operation] = {
    "caption": caption,
    "images_to_videos": images_to_videos,
    "add_audio": add_audio,
}
