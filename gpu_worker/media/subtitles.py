"""Captions as people send them (SRT, WebVTT, ASS, in any encoding) to the clean ASS that libass
draws: one style at any video size, tags kept, tricks removed."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import charset_normalizer
import pysubs2

from apigpu_common.errors import InvalidInput

MAX_BYTES = 8 * 1024 * 1024
FONT = "Noto Sans"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Tried in this order where the bytes are no UTF-8: what subtitles were saved in for decades.
_LEGACY = [
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp874",
    "cp932",
    "gb18030",
    "big5",
    "cp949",
]
_SRT_TIME = re.compile(r"\d+:\d{2}:\d{2}[,.]\d{1,3}\s*-->\s*\d+:\d{2}:\d{2}[,.]\d{1,3}")
_VTT_TIME = re.compile(r"(\d+:)?\d{2}:\d{2}\.\d{3}\s*-->\s*(\d+:)?\d{2}:\d{2}\.\d{3}")
_POSITION_TAG = re.compile(r"\{\\an([1-9])\}")


def to_ass(data: bytes, width: int, height: int, field: str) -> str:
    """The captions as an ASS file for a video of that size. Raises InvalidInput."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(
            "SUBTITLES_TOO_LARGE", f"Captions may have at most {MAX_BYTES} bytes.", field=field
        )
    text = decode(data, field)
    kind = _kind(text)
    if kind is None:
        raise _unreadable(field)
    try:
        subtitles = pysubs2.SSAFile.from_string(
            text if kind == "ass" else _without_tricks(text), format_=kind
        )
    except (pysubs2.exceptions.Pysubs2Error, ValueError, IndexError, KeyError):
        raise _unreadable(field) from None
    events = [
        e for e in subtitles.events if e.is_comment or (e.end > e.start and e.plaintext.strip())
    ]
    if not any(not e.is_comment for e in events):
        raise InvalidInput(
            "SUBTITLES_EMPTY",
            "There is no caption with a text and a time in the file.",
            field=field,
        )
    subtitles.events = events
    if kind != "ass":
        _set_style(subtitles, width, height)
    # Fonts inside the file would be parsed by FreeType: ours are enough.
    subtitles.fonts_opaque.clear()
    subtitles.graphics_opaque.clear()
    return subtitles.to_string("ass")


def decode(data: bytes, field: str) -> str:
    """Bytes to text: by BOM, as UTF-8, or by what legacy encoding fits best."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                raise _unreadable(field) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        best = charset_normalizer.from_bytes(data, cp_isolation=_LEGACY).best()
        if best is None:
            raise _unreadable(field) from None
        text = str(best)
    if "\x00" in text:
        raise _unreadable(field)
    return text


def _kind(text: str) -> str | None:
    head = text.lstrip("\ufeff \t\r\n")
    if head.startswith("WEBVTT"):
        return "vtt" if _VTT_TIME.search(text) else None
    if head.startswith("[") and "[Events]" in text:
        return "ass"
    return "srt" if _SRT_TIME.search(text) else None


def _without_tricks(text: str) -> str:
    """SRT and VTT text in which {\\an8} still moves a line, and no other override works.

    libass would obey any of them: drawings of any size, text that hides other text.
    """

    def keep(match: re.Match[str]) -> str:
        return f"\ue000{match[1]}\ue001"  # private use: not in anyone's text

    kept = _POSITION_TAG.sub(keep, text)
    harmless = re.sub(r"\{\\[^}\n]*\}", "", kept).replace("{", "(").replace("}", ")")
    return re.sub("\ue000([1-9])\ue001", r"{\\an\1}", harmless)


def _set_style(subtitles: pysubs2.SSAFile, width: int, height: int) -> None:
    """White on a black outline at the bottom, as large in a portrait video as in a wide one."""
    unit = min(width, height) / 1080
    style = pysubs2.SSAStyle(
        fontname=FONT,
        fontsize=58 * unit,
        bold=True,
        primarycolor=pysubs2.Color(255, 255, 255),
        outlinecolor=pysubs2.Color(0, 0, 0),
        backcolor=pysubs2.Color(0, 0, 0, 128),
        outline=3.5 * unit,
        shadow=1.0 * unit,
        alignment=pysubs2.Alignment.BOTTOM_CENTER,
        marginl=round(60 * unit),
        marginr=round(60 * unit),
        marginv=round(56 * unit),
        encoding=-1,  # the base direction follows the text: right-to-left scripts
    )
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


def _unreadable(field: str) -> InvalidInput:
    return InvalidInput(
        "SUBTITLES_UNREADABLE",
        "These are no captions that can be read: send SubRip (SRT), WebVTT or ASS, best in UTF-8.",
        field=field,
    )


def load(path: Path, width: int, height: int, field: str) -> str:
    """`to_ass` of a file; reads no more than may be in it."""
    with path.open("rb") as file:
        return to_ass(file.read(MAX_BYTES + 1), width, height, field)
