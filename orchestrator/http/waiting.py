"""An answer that may take long, over HTTP as it is: proxies cut connections that are silent.

An answer that comes soon has its own status. After `patience_s` the head goes out (200), and
then a space as often, which JSON allows before a value; the body tells how it ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Answer:
    """What is told at the end. body: for JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class PatientResponse:
    """Waits for `answer`. If the caller leaves, the waiting ends; what is waited for does not."""

    def __init__(
        self,
        answer: Coroutine[Any, Any, Answer],
        headers: Mapping[str, str],
        patience_s: float,
    ) -> None:
        self._answer = answer
        self._headers = headers
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        working = asyncio.ensure_future(self._answer)
        leaving = asyncio.ensure_future(_left(receive))
        either = {working, leaving}
        try:
            await asyncio.wait(either, timeout=self._patience_s, return_when="FIRST_COMPLETED")
            if working.done():
                answer = working.result()
                await self._start(send, answer.status, answer.headers)
                await _end(send, answer)
                return
            if leaving.done():
                return
            await self._start(send, 200, {})
            while not any(task.done() for task in either):
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.wait(either, timeout=self._patience_s, return_when="FIRST_COMPLETED")
            if working.done():
                await _end(send, working.result())
        finally:
            for task in either:
                task.cancel()
            await asyncio.gather(*either, return_exceptions=True)

    async def _start(self, send: Send, status: int, headers: Mapping[str, str]) -> None:
        told = {
            "content-type": "application/json",
            "cache-control": "no-store",
            "x-accel-buffering": "no",  # nginx must pass the spaces on
            **self._headers,
            **headers,
        }
        raw = [(name.lower().encode("latin-1"), told[name].encode("latin-1")) for name in told]
        await send({"type": "http.response.start", "status": status, "headers": raw})


async def _left(receive: Receive) -> None:
    """Returns when the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.body", "body": json.dumps(answer.body).encode()})
