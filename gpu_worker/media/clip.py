"""The order for one clip of a still picture, as it goes to the rendering child."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """path, format: the picture, and Pillow's name of its format. width, height: of the clip,
    even. zoom: magnification of the last frame. focal_x, focal_y: in parts of the picture."""

    path: str
    format: str
    width: int
    height: int
    frames: int
    zoom: float
    focal_x: float
    focal_y: float

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def focal(self) -> tuple[float, float]:
        return self.focal_x, self.focal_y


def renderer(clip: Clip, workspace: Path) -> list[str | Path]:
    """The command that writes the clip's frames, raw yuv420p, to its standard output."""
    order = workspace / "clip.json"
    order.write_text(json.dumps(asdict(clip)))
    return [sys.executable, "-I", "-m", "gpu_worker.media.render_child", order]


def read(order: Path) -> Clip:
    """The clip that `renderer` was given."""
    return Clip(**json.loads(order.read_text()))
