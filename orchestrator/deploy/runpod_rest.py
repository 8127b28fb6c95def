"""RunPod's REST API for templates and endpoints (rest.runpod.io/v1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp

Kind = Literal["templates", "endpoints"]

_TIMEOUT_S = 60.0
_MOST_SHOWN = 500
# Else those that belong to an endpoint are not listed.
_LIST = {"templates": "templates?includeEndpointBoundTemplates=true", "endpoints": "endpoints"}


class RestError(Exception):
    """RunPod did not do it; says why, and what to do."""


class RunpodRest:
    """Use as `async with`. Nothing is sent twice: a second run finds what the first one made."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    async def __aenter__(self) -> RunpodRest:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def list(self, kind: Kind) -> list[dict[str, Any]]:
        found = await self._ask("GET", _LIST[kind])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise RestError(f"RunPod's list of {kind} is not understood")
        return found

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        return _one(kind, await self._ask("POST", kind, body))

    async def update(self, kind: Kind, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return _one(kind, await self._ask("PATCH", f"{kind}/{name}", body))

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        url = f"{self._url}/{path}"
        try:
            async with self._session.request(method, url, json=body) as answer:
                text = await answer.text()
                _check(answer.status, f"{method} /{path.partition('?')[0]}", text)
                return json.loads(text)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RestError(
                f"no answer from {self._url} ({type(error).__name__}): run this again, it goes on"
                " with what is there"
            ) from error


def _check(status: int, call: str, text: str) -> None:
    if status in (401, 403):
        raise RestError(
            "RunPod refuses the key: RUNPOD_API_KEY needs write access to rest.runpod.io (console:"
            " Settings, API Keys)"
        )
    if not 200 <= status < 300:
        raise RestError(f"RunPod answers {status} to {call}: {text[:_MOST_SHOWN].strip()}")


def _one(kind: Kind, answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict) or not answer.get("id"):
        raise RestError(f"RunPod did not say which of its {kind} it made: run this again")
    return answer
