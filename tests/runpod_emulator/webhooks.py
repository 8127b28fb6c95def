"""Tells whoever asked for it how a job ended."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.runpod_emulator.policy import Policy
from tests.runpod_emulator.queue import Job


class Webhooks:
    """Posts what /status tells to a job's `webhook`, until it answers 200."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, job: Job) -> None:
        if url := job.body.get("webhook"):
            task = asyncio.create_task(self._tell(str(url), job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, url: str, job: Job) -> None:
        told = job.told()
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for number in range(self._policy.webhook_tries):
                if number:
                    await asyncio.sleep(self._policy.webhook_pause_s)
                try:
                    async with session.post(url, json=told) as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    continue
