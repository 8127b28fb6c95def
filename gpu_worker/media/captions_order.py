"""The order for a file of captions, as it goes to the captions' child. Imports the standard library
alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The fonts that ship with the worker.
OUR_FONTS = Path(__file__).resolve().parent.parent / "fonts"


@dataclass(frozen=True)
class Look:
    """How captions are drawn; None: as it is by default. Lengths are in pixels of a picture
    whose shorter side has 1080 pixels; colours "#RRGGBB" or "#RRGGBBAA"; position as on a
    number pad, 1 is bottom left."""

    font: str | None = None
    size: float | None = None
    color: str | None = None
    outline_color: str | None = None
    outline: float | None = None
    shadow: float | None = None
    box_color: str | None = None
    position: int | None = None
    margin_x: float | None = None
    margin_y: float | None = None
    bold: bool | None = None
    italic: bool | None = None
    uppercase: bool = False


@dataclass(frozen=True)
class CaptionsOrder:
    """width, height: of the video. fonts: files beside ours. soft: plain SRT for a text track
    is written, not ASS."""

    source: str
    target: str
    width: int
    height: int
    look: Look = Look()
    language: str = ""
    fonts: tuple[str, ...] = ()
    soft: bool = False
    allow_missing_glyphs: bool = False


def write(order: CaptionsOrder, path: Path) -> None:
    path.write_text(json.dumps(asdict(order)))


def read(path: Path) -> CaptionsOrder:
    """What `write` has written."""
    fields: dict[str, Any] = json.loads(path.read_text())
    look, fonts = Look(**fields.pop("look")), tuple(fields.pop("fonts"))
    return CaptionsOrder(**fields, look=look, fonts=fonts)
