"""How long an MP4 plays, by its header, as far as strangers' headers can be read at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.files.mp4_length import length_s
from tests import media_samples


async def of(data: bytes) -> float | None:
    async def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    return await length_s(read)


@pytest.mark.parametrize(
    ("name", "more", "known"),
    [
        ("header-last.mp4", (), True),
        ("header-first.mp4", ("-movflags", "+faststart"), True),
        ("a.mov", (), True),
        ("fragmented.mp4", ("-movflags", "+frag_keyframe+empty_moov"), False),
        ("a.mkv", (), False),
    ],
)
async def test_the_header_tells(
    tmp_path: Path, name: str, more: tuple[str, ...], known: bool
) -> None:
    path = media_samples.plain_video(tmp_path / name, duration_s=3, size=(64, 36), more=more)
    told = await of(path.read_bytes())
    assert told == (pytest.approx(3.0, abs=0.1) if known else None)


@given(st.binary(max_size=200))
async def test_any_bytes_are_answered(data: bytes) -> None:
    for begin in (b"", b"\0\0\0\x10ftypisom\0\0\0\0"):
        told = await of(begin + data)
        assert told is None or told >= 0


async def test_boxes_without_end_are_given_up() -> None:
    asked = []

    async def read(offset: int, length: int) -> bytes:
        asked.append(offset)
        return b"\0\0\0\x10" + (b"free" if offset else b"ftyp") + bytes(8)

    assert await length_s(read) is None
    assert len(asked) < 50
