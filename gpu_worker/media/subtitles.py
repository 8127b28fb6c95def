"""Captions as people send them, made into an ASS file in a child process: strangers' files never
meet our parsers in the worker itself."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from apigpu_common.errors import InvalidInput
from gpu_worker.media import refusal
from gpu_worker.media.process import READING, ChildFailed, child

log = logging.getLogger(__name__)

_TIMEOUT_S = 60.0


async def write_ass(source: Path, target: Path, width: int, height: int, field: str) -> None:
    """Write the captions of `source` to `target`, as ASS for a video of that size.

    Raises InvalidInput with `field`.
    """
    command: list[str | Path] = [
        sys.executable,
        "-I",
        "-m",
        "gpu_worker.media.subtitles_child",
        source,
        target,
        str(width),
        str(height),
    ]
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            child(command, cwd=target.parent, limits=READING) as running,
        ):
            await running.wait()
    except (ChildFailed, TimeoutError) as error:
        log.info("captions were refused: %s", error)
        raise _refusal(error, field) from None


def _refusal(error: ChildFailed | TimeoutError, field: str) -> InvalidInput:
    refused = refusal.told(error.code, error.stderr) if isinstance(error, ChildFailed) else None
    if refused is None:  # nothing but a trick brings the parser down
        return InvalidInput(
            "SUBTITLES_UNREADABLE", "These captions cannot be read: they are damaged.", field=field
        )
    return InvalidInput(refused.reason, str(refused), field=field)
