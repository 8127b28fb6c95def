"""Run as a program: write the captions in a file as ASS, or as plain SRT for a text track.
To standard output goes a JSON list: how many cues there are, and what the caller should know, a
list of [reason, message].

python -m gpu_worker.media.subtitles_child ORDER.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pysubs2

from gpu_worker.media import ass, ass_style, captions_order, fonts, refusal
from gpu_worker.media.captions_order import CaptionsOrder
from gpu_worker.media.refusal import Refused

_TOLD_CHARACTERS = 5


def main() -> int:
    order = captions_order.read(Path(sys.argv[1]))
    try:
        answer = convert(order)
    except Refused as refused:
        return refusal.tell(refused)
    print(json.dumps(answer))  # noqa: T201  the answer
    return 0


def convert(order: CaptionsOrder) -> tuple[int, list[tuple[str, str]]]:
    """Write the target; returns the number of cues, and the warnings. Raises Refused."""
    with Path(order.source).open("rb") as file:
        captions = ass.parse(file.read(ass.MAX_BYTES + 1))
    if order.look.uppercase:
        ass_style.uppercase(captions.subtitles, order.language)
    if order.soft:
        Path(order.target).write_text(captions.subtitles.to_string("srt"), encoding="utf-8")
        return len(captions.subtitles), []
    at_hand = fonts.at_hand(order.fonts)
    look = order.look
    if look.font is None and order.fonts:
        look = replace(look, font=at_hand.families[0])
    _require_family(look.font, at_hand)
    warnings = _glyphs(captions.subtitles, at_hand, order.allow_missing_glyphs)
    text = ass.to_ass(captions, order.width, order.height, look)
    Path(order.target).write_text(text, encoding="utf-8")
    return len(captions.subtitles), warnings


def _require_family(family: str | None, at_hand: fonts.Fonts) -> None:
    known = {name.casefold() for name in at_hand.families}
    if family is not None and family.casefold() not in known:
        raise Refused(
            "FONT_NOT_FOUND",
            f'There is no font "{family}". Send it in caption.fonts, or use one of:'
            f" {', '.join(at_hand.families)}.",
            field="caption.style.font",
        )


def _glyphs(
    subtitles: pysubs2.SSAFile, at_hand: fonts.Fonts, allowed: bool
) -> list[tuple[str, str]]:
    """Nothing, or a warning of characters that no font can draw. Raises Refused."""
    missing = at_hand.missing(char for event in subtitles for char in event.plaintext)
    if not missing:
        return []
    first = next(e for e in subtitles if any(char in e.plaintext for char in missing))
    told = ", ".join(f"{char} (U+{ord(char):04X})" for char in missing[:_TOLD_CHARACTERS])
    more = " and others" if len(missing) > _TOLD_CHARACTERS else ""
    message = (
        f"No font can draw {told}{more}, first at"
        f" {pysubs2.time.ms_to_str(first.start, fractions=True)}."
    )
    if not allowed:
        raise Refused(
            "MISSING_GLYPHS",
            f"{message} Send a font that can in caption.fonts, or set allow_missing_glyphs.",
        )
    return [("MISSING_GLYPHS", message)]


if __name__ == "__main__":
    sys.exit(main())
