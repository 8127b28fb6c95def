"""The fonts at hand, ours and the caller's: their families, and which characters they can draw.
Runs in the captions' child: fontTools parses strangers' files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fontTools.ttLib import TTCollection, TTFont

from gpu_worker.media.refusal import Refused

OURS = Path(__file__).resolve().parent.parent / "fonts"
_SUFFIXES = (".ttf", ".otf", ".ttc")
_MAGIC = (b"\x00\x01\x00\x00", b"true", b"OTTO", b"ttcf")
_FAMILY_NAMES = (1, 16)
# Never drawn: controls, formats, separators, private use aside.
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


def at_hand(users: Sequence[str]) -> Fonts:
    """users: the caller's font files. Raises Refused for one that is none."""
    faces = [face for index, path in enumerate(users) for face in _users(path, index)]
    for path in sorted(OURS.iterdir()):
        if path.suffix in _SUFFIXES:
            faces += _faces(path)
    families = dict.fromkeys(name for face in faces for name in _families(face))
    characters = frozenset(code for face in faces for code in face.getBestCmap() or {})
    return Fonts(tuple(families), characters)


def _users(path: str, index: int) -> list[TTFont]:
    try:
        faces = _faces(Path(path))
        for face in faces:
            _families(face), face.getBestCmap()
        return faces
    except Exception as error:  # whatever the parser stumbles over, it is the font
        raise Refused(
            "FONT_UNREADABLE",
            "This is no font that can be read: send TrueType or OpenType (TTF, OTF, TTC).",
            field=f"caption.fonts[{index}]",
        ) from error


def _faces(path: Path) -> list[TTFont]:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic not in _MAGIC:
        raise ValueError("not a font")
    if magic == b"ttcf":
        return list(TTCollection(path, lazy=True).fonts)
    return [TTFont(path, lazy=True)]


def _families(face: TTFont) -> list[str]:
    names = face["name"].names
    return [str(name) for name in names if name.nameID in _FAMILY_NAMES]
