"""A worker for tests of the emulator alone: the unmodified SDK, and a handler that yields what it
is told to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from gpu_worker import runpod_sdk


async def handler(job: dict[str, Any]) -> AsyncIterator[Any]:
    """input.chunks: what is yielded, in turn. input.end: "hang" or "raise", after that."""
    for chunk in job["input"].get("chunks", ()):
        yield chunk
    match job["input"].get("end"):
        case "hang":
            await asyncio.Event().wait()
        case "raise":
            raise RuntimeError("told to fail")


if __name__ == "__main__":
    runpod_sdk.load().serverless.start(
        {
            "handler": handler,
            "return_aggregate_stream": True,
            "concurrency_modifier": lambda _: int(os.environ.get("ECHO_JOBS", "1")),
            "refresh_worker": "ECHO_REFRESH" in os.environ,
        }
    )
