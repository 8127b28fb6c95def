"""Bytes of captions from anywhere to text: by mark, as UTF-8, or by the legacy encoding that fits
best. Pure."""

from __future__ import annotations

import codecs
import re

import charset_normalizer

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What subtitles were saved in for decades.
_LATIN = ("cp1252", "cp1250", "cp1254")
_OTHER = ("cp1251", "cp1253", "cp1255", "cp1256", "cp874", "cp932", "gb18030", "big5", "cp949")
# Times and numbers are the same in every language, and only dilute the evidence.
_NO_WORDS = re.compile(rb"(?m)^[\d:.,> \t-]{1,60}\r?$")

# The same bytes are õ in Portuguese and ő in Hungarian: statistics of letters alone mix them up.
# But the letters beyond ASCII of a whole file are those of one language.
_ALPHABETS = {
    "cp1252": (
        "áâãàçéêíóôõúüªº",  # Portuguese
        "áéíñóúü¿¡",  # Spanish
        "àâæçèéêëîïôœùûüÿ",  # French
        "äöüß",  # German
        "àèéìîòóù",  # Italian
        "æøåéòóô",  # Danish, Norwegian
        "åäöé",  # Swedish, Finnish
        "áðéíóúýþæö",  # Icelandic
        "àçèéíïóòúü",  # Catalan
        "áäéëèêíïóöúü",  # Dutch
    ),
    "cp1250": (
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîşţ",  # Romanian
        "čćđšž",  # Croatian, Slovenian
    ),
    "cp1254": ("çğıöşüâîû",),  # Turkish
}


def decode(data: bytes) -> str | None:
    """The text, or None where it is none."""
    text = _decode(data)
    return None if text is None or "\x00" in text else text


def _decode(data: bytes) -> str | None:
    marked = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    try:
        return data.decode(marked or "utf-8")
    except UnicodeDecodeError:
        if marked is not None:
            return None
    words = _NO_WORDS.sub(b"", data)
    best = charset_normalizer.from_bytes(words, cp_isolation=[*_LATIN, *_OTHER]).best()
    if best is None:
        return None
    encoding = _latin(words) if best.encoding in _LATIN else best.encoding
    return data.decode(encoding, errors="replace")


def _latin(words: bytes) -> str:
    """Which of the Latin encodings makes the letters beyond ASCII those of one language."""

    def fit(encoding: str) -> int:
        text = words.decode(encoding, errors="replace").lower()
        seen = [letter for letter in text if letter > "\x7f"]
        return max(sum(letter in known for letter in seen) for known in _ALPHABETS[encoding])

    return max(_LATIN, key=fit)  # the first of equals
