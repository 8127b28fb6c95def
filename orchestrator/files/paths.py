"""Paths of results in the file storage, made from a template of the operator's. Pure.

Whatever jobs and items are called, a path stays below the storage's root and is nobody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

FIELDS = ("owner", "job", "item", "file", "filename", "date")
_FIELD = re.compile(r"\{([a-z]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9._/ -]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_PART, _MAX_ENDING = 100, 8
_RESERVED = ("incoming", "uploads")


def check(template: str) -> str:
    """`template`, if it is one. Raises ValueError with what is wrong."""
    for name in _FIELD.findall(template):
        if name not in FIELDS:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ValueError(f"there is no {{{name}}}; there are {known}")
    if not _PLAIN.fullmatch(_FIELD.sub("", template)):
        raise ValueError("beside {fields} only letters, digits, and . _ - / are possible")
    parts = template.split("/")
    if any(part.strip(". ") == "" for part in parts) or parts[0] in _RESERVED:
        raise ValueError("every part needs a name; '..', and 'incoming' at the start, are none")
    if "{file}" not in template and not ("{job}" in template and "{item}" in template):
        raise ValueError("it must have {job} and {item}, or {file}: else results would collide")
    return template


def fill(template: str, values: Mapping[str, str]) -> str:
    """The path for one result."""
    parts = [_part(_FIELD.sub(lambda m: values[m[1]], part)) for part in template.split("/")]
    if parts[0] in _RESERVED:
        parts[0] += "_"
    return "/".join(parts)


def _part(text: str) -> str:
    """One name in a path: no separator, no dots alone, not too long; the ending is kept."""
    safe = _UNSAFE.sub("_", text).strip(".")
    stem, dot, ending = safe.rpartition(".")
    if len(safe) > _MAX_PART and dot and len(ending) <= _MAX_ENDING:
        return stem[: _MAX_PART - _MAX_ENDING] + dot + ending
    return safe[:_MAX_PART] or "_"


def alternatives(path: str, file_id: str) -> Iterator[str]:
    """`path`, and where that is taken, one beside it that cannot be."""
    yield path
    head, slash, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    yield f"{head}{slash}{stem}-{file_id}{dot}{ending}" if dot else f"{path}-{file_id}"
