"""Two things at once."""

from __future__ import annotations

import asyncio

import pytest

from apigpu_common.errors import InvalidInput
from gpu_worker.media.concurrency import both


async def test_both_results_come_in_order() -> None:
    async def give(value: int) -> int:
        return value

    assert await both(give(1), give(2)) == (1, 2)


async def test_when_one_fails_the_other_is_stopped_first_and_the_failure_is_told_as_it_is() -> None:
    ended = False

    async def endless() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # stopping takes a moment
            ended = True

    async def fail() -> None:
        raise InvalidInput("NOT_AUDIO", "no", field="add_audio.audio")

    with pytest.raises(InvalidInput):
        await both(endless(), fail())
    assert ended
