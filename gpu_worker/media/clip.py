"""The order for one clip of a still picture, as it goes to the rendering child."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu_worker.media.motion import Motion, View


@dataclass(frozen=True)
class Bars:
    """What fills the frame beside a picture of another shape. color: "#RRGGBB"; None: the
    picture itself, blurred."""

    color: str | None


@dataclass(frozen=True)
class Clip:
    """path, format: the picture, and Pillow's name of its format. width, height: of the clip,
    even. bars: None: there are none, the picture is cropped. threads: how many frames are drawn
    at the same time."""

    path: str
    format: str
    width: int
    height: int
    frames: int
    motion: Motion
    bars: Bars | None = None
    threads: int = 1

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


def renderer(clip: Clip, workspace: Path) -> list[str | Path]:
    """The command that writes the clip's frames, raw yuv420p, to its standard output."""
    order = workspace / "clip.json"
    order.write_text(json.dumps(asdict(clip)))
    return [sys.executable, "-I", "-m", "gpu_worker.media.render_child", order]


def read(order: Path) -> Clip:
    """The clip that `renderer` was given."""
    fields: dict[str, Any] = json.loads(order.read_text())
    motion, bars = fields.pop("motion"), fields.pop("bars")
    if motion["views"] is not None:
        motion["views"] = tuple(View(tuple(v["center"]), v["zoom"]) for v in motion["views"])
    for name in ("pan", "focal"):
        motion[name] = tuple(motion[name])
    return Clip(**fields, motion=Motion(**motion), bars=Bars(**bars) if bars else None)
