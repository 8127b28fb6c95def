"""How long a stored MP4 or MOV plays, by its own header: a few small reads, nothing is decoded.

To size time limits by. A header that lies costs its owner a time limit, and nobody else anything.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable

# (offset, length) -> so many bytes, fewer at the end of the file.
Read = Callable[[int, int], Awaitable[bytes]]

# ftyp, moov, mdat, free ...: more before the header than this is not looked through.
_MOST_BOXES = 16
# The movie header in front of the movie box: its own is the first in there.
_HEADER_BYTES = 48


async def length_s(read: Read) -> float | None:
    """None where the file is of another kind, or does not say: a fragmented one tells 0."""
    position = 0
    for _ in range(_MOST_BOXES):
        head = await read(position, 16)
        if len(head) < 16:
            return None
        size, kind = struct.unpack_from(">I4s", head)
        begins = 8
        if size == 1:
            (size,), begins = struct.unpack_from(">Q", head, 8), 16
        if not position and kind != b"ftyp":
            return None
        if kind == b"moov":
            return _told(await read(position + begins, _HEADER_BYTES))
        if size < begins:  # to the end of the file, or damaged
            return None
        position += size
    return None


def _told(header: bytes) -> float | None:
    """By the movie header (mvhd)."""
    if len(header) < _HEADER_BYTES or header[4:8] != b"mvhd":
        return None
    # Version 1 has times of 8 bytes, version 0 of 4.
    layout, place = (">IQ", 28) if header[8] else (">II", 20)
    scale, duration = struct.unpack_from(layout, header, place)
    unknown = duration in (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    return None if unknown or not scale else duration / scale
