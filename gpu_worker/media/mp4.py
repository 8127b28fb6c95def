"""End an MP4 file at an exact time, by its edit lists.

A copied picture can only be cut between packets, and packets come in coding order: with
B-frames a cut by packets keeps frames too many, or loses some that were needed. So a few too
many are kept, and the edit list says where playing ends; every player honours it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MAX_MOOV_BYTES = 256 * 1024 * 1024
_CONTAINERS = frozenset({b"moov", b"trak", b"edts"})


def end_at(path: Path, duration_s: float) -> None:
    """Make every track and the movie of a faststart MP4 end at `duration_s`, where they last
    longer. Changes fields in place: no byte is added or moved."""
    with path.open("r+b") as file:
        start, size = _find_moov(file)
        file.seek(start)
        moov = bytearray(file.read(size))
        _trim(moov, duration_s)
        file.seek(start)
        file.write(moov)


def _find_moov(file: BinaryIO) -> tuple[int, int]:
    """Position and length of the moov box among the top-level ones."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            raise ValueError("no moov box")
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1:
            (size,) = struct.unpack(">Q", head[8:16])
        if kind == b"moov":
            if size > _MAX_MOOV_BYTES:
                raise ValueError("the moov box is too large")
            return position, size
        if size < 8:
            raise ValueError("a damaged box")
        position += size


def _boxes(data: bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of its content, end) of the boxes in a range, containers' content too."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8:
            raise ValueError("a damaged box")
        yield kind, start + 8, start + size
        if kind in _CONTAINERS:
            yield from _boxes(data, start + 8, start + size)
        start += size


def _trim(moov: bytearray, duration_s: float) -> None:
    ticks = 0
    for kind, start, _ in _boxes(moov, 0, len(moov)):
        wide = kind in (b"mvhd", b"tkhd", b"elst") and moov[start] == 1
        if kind == b"mvhd":  # comes first: its timescale is that of all durations here
            (timescale,) = struct.unpack_from(">I", moov, start + (20 if wide else 12))
            ticks = round(duration_s * timescale)
            _lower(moov, start + (24 if wide else 16), wide, ticks)
        elif kind == b"tkhd":
            _lower(moov, start + (28 if wide else 20), wide, ticks)
        elif kind == b"elst":
            _trim_edits(moov, start, wide, ticks)


def _trim_edits(moov: bytearray, start: int, wide: bool, ticks: int) -> None:
    (count,) = struct.unpack_from(">I", moov, start + 4)
    entry_bytes = 20 if wide else 12
    left = ticks
    for index in range(count):
        position = start + 8 + index * entry_bytes
        left -= _lower(moov, position, wide, max(0, left))


def _lower(moov: bytearray, position: int, wide: bool, limit: int) -> int:
    """Bring a duration down to `limit` if it is greater; returns what it is now."""
    form = ">Q" if wide else ">I"
    (value,) = struct.unpack_from(form, moov, position)
    lowered = min(int(value), limit)
    struct.pack_into(form, moov, position, lowered)
    return lowered
