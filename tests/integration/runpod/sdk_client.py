"""The SDK's own client, put to use; prints what it understood. Its worker echoes."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import aiohttp

from gpu_worker import runpod_sdk


async def ask(runpod: Any) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        endpoint = runpod.AsyncioEndpoint(os.environ["ENDPOINT"], session, os.environ["KEY"])
        job = await endpoint.run({"chunks": [{"n": 1}, {"n": 2}]})
        told = {
            "streamed": [chunk async for chunk in job.stream()],
            "status": await job.status(),
            "output": await job.output(timeout=5),
        }
        health = await endpoint.health()
        workers = health["workers"]
        told["health"] = {
            "jobs": health["jobs"],
            "running": workers["running"],
            "idle": workers["idle"],
        }
        hanging = await endpoint.run({"chunks": [1], "end": "hang"})
        await anext(hanging.stream())
        cancelled = await hanging.cancel()
        return {
            **told,
            "cancelled": cancelled["status"],
            "after": await hanging.status(),
            "purged": await endpoint.purge_queue(),
        }


def main() -> None:
    runpod = runpod_sdk.load()
    told = asyncio.run(ask(runpod))
    blocking = runpod.Endpoint(os.environ["ENDPOINT"], os.environ["KEY"])
    told["blocking"] = blocking.run_sync({"input": {"chunks": [7]}}, timeout=20)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
