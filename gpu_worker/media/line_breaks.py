"""Where lines may break that are written without spaces: Japanese, Chinese and Thai. Without such
places libass draws one long line beyond the sides of the picture."""

from __future__ import annotations

import functools
import re

import budoux

from gpu_worker.media.ass_style import MARKUP

# A space that takes no room: libass breaks lines at spaces only, into parts of like length.
PLACE = r"{\fscx0} {\fscx}"
_KANA = re.compile(r"[\u3040-\u30ff]")
_THAI = "\u0e00-\u0e7f"
# Ideographs, kana and their punctuation, full-width forms; or Thai.
_UNSPACED = re.compile(
    rf"[\u2e80-\u312f\u3190-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uffee\U00020000-\U0003ffff]+"
    rf"|[{_THAI}]+"
)


def mark(text: str) -> str:
    """A caption in the terms of ASS, with a place between any two phrases."""
    japanese = _KANA.search(text) is not None
    parts = MARKUP.split(text)
    parts[::2] = (
        _UNSPACED.sub(lambda run: PLACE.join(_phrases(run[0], japanese)), part)
        for part in parts[::2]
    )
    return "".join(parts)


def _phrases(run: str, japanese: bool) -> list[str]:
    """japanese: what could as well be Chinese is not."""
    if re.match(f"[{_THAI}]", run):
        return _thai().parse(run)
    return (_japanese() if japanese else _chinese()).parse(run)


_thai = functools.cache(budoux.load_default_thai_parser)
_japanese = functools.cache(budoux.load_default_japanese_parser)
_chinese = functools.cache(budoux.load_default_simplified_chinese_parser)
