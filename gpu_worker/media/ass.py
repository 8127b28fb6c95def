"""SRT, WebVTT and ASS to the clean ASS that libass draws: one style at any video size, the usual
tags kept, tricks removed. Pure; runs in the captions' child."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import pysubs2
from PIL import ImageColor

from gpu_worker.media import ass_style, encodings, line_breaks
from gpu_worker.media.captions_order import Look
from gpu_worker.media.refusal import Refused

MAX_BYTES = 8 * 1024 * 1024

# Every repetition is bounded, so that no text makes a search slow.
_SRT_TIME = re.compile(r"\d{1,3}:\d\d:\d\d[,.]\d{1,3} *--> *\d{1,3}:\d\d:\d\d[,.]\d{1,3}")
_VTT_TIME = re.compile(r"\d\d:\d\d\.\d{3}[ \t]+-->[ \t]+(\d{1,4}:)?\d\d:\d\d\.\d{3}")
_TAG = re.compile(r"<(/?)([a-zA-Z]{1,10})([^<>]{0,200})>")
_KARAOKE_TIME = re.compile(r"<[\d:.]{5,20}>")
_COLOR = re.compile(r"""color\s{0,9}=\s{0,9}["']?([#a-zA-Z0-9]{1,30})""", re.IGNORECASE)
_OVERRIDE = re.compile(r"\{\\[^{}\n]{0,2000}\}")
_PLACE = re.compile(r"\{\\an([1-9])\}")
# After it comes the style again, which may be bold or slanted itself.
_TAG_END = re.compile(r"\{\\([bius])0\}")
# Private use: in nobody's text. They stand for the braces of the overrides that we write.
_OPEN, _CLOSE = "\ue000", "\ue001"


@dataclass(frozen=True)
class Captions:
    """kind: "srt", "vtt" or "ass", what they were."""

    subtitles: pysubs2.SSAFile
    kind: str


def parse(data: bytes) -> Captions:
    """What is shown of the captions in a file. Raises Refused."""
    if len(data) > MAX_BYTES:
        raise Refused("SUBTITLES_TOO_LARGE", f"Captions may have at most {MAX_BYTES} bytes.")
    text = _one_kind_of_newline(encodings.decode(data) or "")
    kind = _kind(text)
    if kind is None:
        raise _unreadable()
    try:
        subtitles = _parse(text, kind)
    except (pysubs2.exceptions.Pysubs2Error, ValueError, IndexError, KeyError):
        raise _unreadable() from None
    subtitles.events = [event for event in subtitles.events if _is_shown(event)]
    if not subtitles.events:
        raise Refused("SUBTITLES_EMPTY", "There is no caption with a text and a time in the file.")
    # Fonts inside the file would be parsed by FreeType: ours are enough.
    subtitles.fonts_opaque.clear()
    subtitles.graphics_opaque.clear()
    return Captions(subtitles, kind)


def to_ass(captions: Captions, width: int, height: int, look: Look) -> str:
    """As an ASS file for a video of that size."""
    if captions.kind == "ass":
        ass_style.change_styles(captions.subtitles, look)
    else:
        ass_style.set_style(captions.subtitles, width, height, look)
        for event in captions.subtitles.events:
            event.text = line_breaks.mark(_TAG_END.sub(r"{\\\1}", event.text))
    return captions.subtitles.to_string("ass")


def _one_kind_of_newline(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _kind(text: str) -> str | None:
    head = text.lstrip("\ufeff \t\r\n")
    if head.startswith("WEBVTT"):
        return "vtt" if _VTT_TIME.search(text) else None
    if head.startswith("[") and "[Events]" in text:
        return "ass"
    return "srt" if _SRT_TIME.search(text) else None


def _parse(text: str, kind: str) -> pysubs2.SSAFile:
    if kind == "ass":
        return pysubs2.SSAFile.from_string(text, format_="ass")
    if kind == "vtt":
        text = _cues_only(text)
    subtitles = pysubs2.SSAFile.from_string(_safe(text), format_=kind, keep_html_tags=True)
    for event in subtitles.events:
        words = html.unescape(event.text) if kind == "vtt" else event.text
        # Braces are orders to libass, even where an entity stood for them.
        words = words.replace("{", "(").replace("}", ")")
        event.text = words.replace(_OPEN, "{").replace(_CLOSE, "}")
    return subtitles


def _is_shown(event: pysubs2.SSAEvent) -> bool:
    return not event.is_comment and event.end > event.start and bool(event.plaintext.strip())


def _cues_only(text: str) -> str:
    """The cues of a WebVTT file: without names, notes, styles and karaoke times."""
    cues = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.split("\n")
        timed = next((n for n, line in enumerate(lines) if _VTT_TIME.search(line)), None)
        if timed is not None:
            cues.append("\n".join(lines[timed:]))
    return "WEBVTT\n\n" + _KARAOKE_TIME.sub("", "\n\n".join(cues))


def _safe(text: str) -> str:
    """Text of a stranger's SRT or VTT in which only what we allow means anything to libass.

    Kept are bold, italic, underline, strike-out, colour and the nine places. Drawings, sizes
    and moves, which could hide the picture or keep libass busy for hours, are not.
    """
    text = text.replace(_OPEN, "").replace(_CLOSE, "")
    text = _PLACE.sub(rf"{_OPEN}\\an\1{_CLOSE}", text)
    return _TAG.sub(_override, _OVERRIDE.sub("", text))


def _override(tag: re.Match[str]) -> str:
    """The override for an HTML-like tag; nothing for those that have none."""
    closing, name = bool(tag[1]), tag[2].lower()
    if name in ("b", "i", "u", "s"):
        return f"{_OPEN}\\{name}{0 if closing else 1}{_CLOSE}"
    if name == "font":
        return f"{_OPEN}\\c{'' if closing else _ass_color(tag[3])}{_CLOSE}"
    return ""


def _ass_color(attributes: str) -> str:
    """`color="#ff8000"` or a name as ASS writes it, or nothing where it cannot be understood."""
    named = _COLOR.search(attributes)
    if named is None:
        return ""
    try:
        red, green, blue = ImageColor.getrgb(named[1])[:3]
    except ValueError:
        return ""
    return f"&H{blue:02X}{green:02X}{red:02X}&"


def _unreadable() -> Refused:
    return Refused(
        "SUBTITLES_UNREADABLE",
        "These are no captions that can be read: send SubRip (SRT), WebVTT or ASS, best in UTF-8.",
    )
