"""The fonts at hand, ours and the caller's: their families, and which characters they can draw.
Runs in the captions' child: fontTools parses strangers' files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fontTools.ttLib import TTCollection, TTFont

from gpu_worker.media.captions_order import OUR_FONTS
from gpu_worker.media.refusal import Refused

_SUFFIXES = (".ttf", ".otf", ".ttc")
_MAGIC = (b"\x00\x01\x00\x00", b"true", b"OTTO", b"ttcf")
_FAMILY_NAMES = (1, 16)
# Never drawn: controls, formats, separators, what is no character.
_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp", "Cs", "Cn"})


@dataclass(frozen=True)
class Fonts:
    """families: preferred ones first. characters: all that any font can draw."""

    families: tuple[str, ...]
    characters: frozenset[int]

    def missing(self, text: Iterable[str]) -> list[str]:
        """The characters that no font can draw, in the order of their first use."""
        return [char for char in dict.fromkeys(text) if not self._draws(char)]

    def _draws(self, char: str) -> bool:
        if ord(char) in self.characters or unicodedata.category(char) in _INVISIBLE:
            return True
        if unicodedata.name(char, "").startswith("VARIATION SELECTOR"):
            return True
        parts = unicodedata.normalize("NFD", char)
        return len(parts) > 1 and all(ord(part) in self.characters for part in parts)


@dataclass(frozen=True)
class _Face:
    families: list[str]
    characters: frozenset[int]


def at_hand(users: Sequence[str]) -> Fonts:
    """users: the caller's font files. Raises Refused for one that is none."""
    faces = [face for index, path in enumerate(users) for face in _users(Path(path), index)]
    for path in sorted(OUR_FONTS.iterdir()):
        if path.suffix in _SUFFIXES:
            faces += _faces(path)
    families = dict.fromkeys(name for face in faces for name in face.families)
    return Fonts(tuple(families), frozenset().union(*(face.characters for face in faces)))


def _users(path: Path, index: int) -> list[_Face]:
    try:
        return _faces(path)
    except Exception as error:  # whatever the parser stumbles over, it is the font
        raise Refused(
            "FONT_UNREADABLE",
            "This is no font that can be read: send TrueType or OpenType (TTF, OTF, TTC).",
            field=f"caption.fonts[{index}]",
        ) from error


def _faces(path: Path) -> list[_Face]:
    """What is in a font file; a collection has several faces."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic not in _MAGIC:
        raise ValueError("not a font")
    is_collection = magic == b"ttcf"
    fonts = TTCollection(path, lazy=True).fonts if is_collection else [TTFont(path, lazy=True)]
    return [_face(font) for font in fonts]


def _face(font: TTFont) -> _Face:
    names = [str(name) for name in font["name"].names if name.nameID in _FAMILY_NAMES]
    return _Face(names, frozenset(font.getBestCmap() or {}))
