"""How captions look, in the terms of ASS. Pure; runs in the captions' child."""

from __future__ import annotations

import re
from dataclasses import asdict

import pysubs2
from PIL import ImageColor

from gpu_worker.media.captions_order import Look

FONT = "Noto Sans"
_DEFAULT = Look(
    font=FONT,
    size=58,
    color="#FFFFFF",
    outline_color="#000000",
    outline=3.5,
    shadow=1,
    position=2,
    margin_x=60,
    margin_y=56,
    bold=True,
    italic=False,
)
_BOX = 4  # libass: one box behind all lines of a caption, as far beyond them as the shadow falls
_BOX_PADDING_PX = 14.0
_PLAY_RES = (384, 288)  # what ASS means where it does not say
_TURKIC = {ord("i"): "\u0130", 0x131: "I"}  # with a dot, and without
# Overrides and line breaks, which are no text.
MARKUP = re.compile(r"(\{[^}]*\}|\\[Nnh])")


def set_style(subtitles: pysubs2.SSAFile, width: int, height: int, look: Look) -> None:
    """Give captions without a style of their own one: ours, and what the caller changed."""
    style = pysubs2.SSAStyle(encoding=-1)  # the base direction follows the text
    style.backcolor = pysubs2.Color(0, 0, 0, 128)
    unit = min(width, height) / 1080
    _change(style, _DEFAULT, unit)
    _change(style, look, unit)
    subtitles.styles = {"Default": style}
    for event in subtitles.events:
        event.style = "Default"
    subtitles.info.update(
        {
            "PlayResX": str(width),
            "PlayResY": str(height),
            "ScaledBorderAndShadow": "yes",
            "WrapStyle": "0",
        }
    )


def change_styles(subtitles: pysubs2.SSAFile, look: Look) -> None:
    """Change what the caller asked for in all styles of an ASS file, and nothing else."""
    sides = []
    for name, default in zip(("PlayResX", "PlayResY"), _PLAY_RES, strict=True):
        told = subtitles.info.get(name, "")
        sides.append(int(told) if told.isdigit() and int(told) > 0 else default)
    for style in subtitles.styles.values():
        _change(style, look, min(sides) / 1080)


def uppercase(subtitles: pysubs2.SSAFile, language: str) -> None:
    """All text in capital letters, as the language writes them."""
    turkic = language.lower().partition("-")[0] in ("tr", "az")
    for event in subtitles.events:
        parts = MARKUP.split(event.text)
        event.text = "".join(
            part if MARKUP.fullmatch(part) else _upper(part, turkic) for part in parts
        )


def _upper(text: str, turkic: bool) -> str:
    return (text.translate(_TURKIC) if turkic else text).upper()


# Fields of the look, and those of a style that they set.
_AS_IT_IS = {"font": "fontname", "bold": "bold", "italic": "italic"}
_LENGTHS = {"size": "fontsize", "outline": "outline", "shadow": "shadow"}
_MARGINS = {"marginl": "margin_x", "marginr": "margin_x", "marginv": "margin_y"}
_COLORS = {"color": "primarycolor", "outline_color": "outlinecolor"}


def _change(style: pysubs2.SSAStyle, look: Look, unit: float) -> None:
    """unit: one of the look's pixels, in those of the file."""
    given = {name: value for name, value in asdict(look).items() if value is not None}
    changes = {_AS_IT_IS[name]: value for name, value in given.items() if name in _AS_IT_IS}
    changes |= {_LENGTHS[name]: given[name] * unit for name in given if name in _LENGTHS}
    changes |= {_COLORS[name]: _color(given[name]) for name in given if name in _COLORS}
    for field, name in _MARGINS.items():  # whole numbers in ASS
        if name in given:
            changes[field] = round(given[name] * unit)
    if look.position is not None:
        changes["alignment"] = pysubs2.Alignment(look.position)
    if look.box_color is not None:
        changes |= {"borderstyle": _BOX, "backcolor": _color(look.box_color)}
        changes["shadow"] = _BOX_PADDING_PX * unit
    for field, value in changes.items():
        setattr(style, field, value)


def _color(text: str) -> pysubs2.Color:
    """ "#RRGGBB" or "#RRGGBBAA"; ASS counts transparency, not opacity."""
    red, green, blue, alpha = ImageColor.getcolor(text, "RGBA")  # type: ignore[misc]
    return pysubs2.Color(red, green, blue, 255 - alpha)
