"""Camera moves and bars as the contract writes them, in the terms of the renderer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from apigpu.video.v1 import operations_pb2 as contract

from gpu_worker.media.clip import Bars
from gpu_worker.media.motion import EasingName, Motion, Point, View

_ZOOM = 1.324
_BLACK = "#000000"
_PANS: Mapping[int, tuple[int, int]] = {
    contract.PAN_DIRECTION_UNSPECIFIED: (0, 0),
    contract.PAN_DIRECTION_LEFT: (-1, 0),
    contract.PAN_DIRECTION_RIGHT: (1, 0),
    contract.PAN_DIRECTION_UP: (0, -1),
    contract.PAN_DIRECTION_DOWN: (0, 1),
    contract.PAN_DIRECTION_UP_LEFT: (-1, -1),
    contract.PAN_DIRECTION_UP_RIGHT: (1, -1),
    contract.PAN_DIRECTION_DOWN_LEFT: (-1, 1),
    contract.PAN_DIRECTION_DOWN_RIGHT: (1, 1),
}
_EASINGS: Mapping[int, EasingName] = {
    contract.EASING_UNSPECIFIED: "linear",
    contract.EASING_LINEAR: "linear",
    contract.EASING_SMOOTH: "smooth",
    contract.EASING_IN: "in",
    contract.EASING_OUT: "out",
}
_ZOOM_DIRECTIONS: Mapping[int, Literal["in", "out", "hold"]] = {
    contract.ZOOM_DIRECTION_IN: "in",
    contract.ZOOM_DIRECTION_OUT: "out",
    contract.ZOOM_DIRECTION_HOLD: "hold",
}


def motion(asked: contract.Motion) -> Motion:
    """The move, with its defaults."""
    pan = _PANS[asked.pan]
    given = asked.HasField("start") or asked.HasField("end")
    return Motion(
        zoom=asked.zoom if asked.HasField("zoom") else _ZOOM,
        zoom_direction=_ZOOM_DIRECTIONS.get(
            asked.zoom_direction, "in" if pan == (0, 0) else "hold"
        ),
        pan=pan,
        focal=_point(asked.focal_point if asked.HasField("focal_point") else None),
        easing=_EASINGS[asked.easing],
        views=(_view(asked.start), _view(asked.end)) if given else None,
    )


def bars(fit: contract.Fit.ValueType, color: str) -> Bars | None:
    """What fills the rest of the frame; None: nothing, the picture is cropped."""
    if fit == contract.FIT_CONTAIN_COLOR:
        return Bars(color or _BLACK)
    return Bars(None) if fit == contract.FIT_CONTAIN_BLUR else None


def _view(asked: contract.View) -> View:
    center = _point(asked.center if asked.HasField("center") else None)
    return View(center, asked.zoom if asked.HasField("zoom") else 1.0)


def _point(asked: contract.FocalPoint | None) -> Point:
    return (asked.x, asked.y) if asked is not None else (0.5, 0.5)
