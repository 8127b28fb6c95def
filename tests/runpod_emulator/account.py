"""The account's templates and endpoints: rest.runpod.io/v1, as its OpenAPI description has it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from aiohttp import web

from tests.runpod_emulator import endpoint
from tests.runpod_emulator.policy import Policy

_TEMPLATE = {"containerDiskInGb", "containerRegistryAuthId", "dockerEntrypoint", "dockerStartCmd"}
_TEMPLATE |= {"env", "imageName", "isPublic", "name", "ports", "readme", "volumeInGb"}
_TEMPLATE |= {"volumeMountPath"}
_NEW_TEMPLATE = _TEMPLATE | {"category", "isServerless"}
_ENDPOINT = {"allowedCudaVersions", "cpuFlavorIds", "dataCenterIds", "executionTimeoutMs"}
_ENDPOINT |= {"flashboot", "gpuCount", "gpuTypeIds", "idleTimeout", "minCudaVersion", "name"}
_ENDPOINT |= {"networkVolumeId", "networkVolumeIds", "scalerType", "scalerValue", "templateId"}
_ENDPOINT |= {"vcpuCount", "workersMax", "workersMin"}
_NEW_ENDPOINT = _ENDPOINT | {"computeType"}
_GPUS = {"NVIDIA L4", "NVIDIA RTX A4000", "NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB"}

Thing = dict[str, Any]


class Account:
    """id: of the endpoint that is emulated; changes of its numbers take effect. Others are kept,
    and do no work. fault: the status of a call instead of its answer, by its words, for example
    "POST endpoints"."""

    def __init__(self, id_: str, policy: Policy) -> None:
        self._policy = policy
        self._numbers = count(1)
        self.fault: dict[str, int] = {}
        self.calls: list[tuple[str, Thing]] = []
        self.templates: dict[str, Thing] = {}
        self.endpoints: dict[str, Thing] = {id_: {}}
        self._ours = id_

    def handlers(self) -> list[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]]]:
        return [
            ("GET", "templates", self._list),
            ("POST", "templates", self._create_template),
            ("PATCH", "templates/{id}", self._change),
            ("GET", "endpoints", self._list),
            ("POST", "endpoints", self._create_endpoint),
            ("PATCH", "endpoints/{id}", self._change),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        if _kind(request) == "endpoints":
            return web.json_response([self._told(id_) for id_ in self.endpoints])
        bound = {self._told(id_).get("templateId") for id_ in self.endpoints}
        all_ = request.query.get("includeEndpointBoundTemplates") == "true"
        return web.json_response(
            [each for each in self.templates.values() if all_ or each["id"] not in bound]
        )

    async def _create_template(self, request: web.Request) -> web.Response:
        body = await self._body(request, _NEW_TEMPLATE)
        if not body.get("name") or not body.get("imageName"):
            raise _refused("name and imageName are required")
        if any(each["name"] == body["name"] for each in self.templates.values()):
            raise _refused("Template name must be unique")
        # What is not told by default is what RunPod would take.
        made = {"containerDiskInGb": 50, "env": {}, "ports": ["8888/http", "22/tcp"], **body}
        made["id"] = f"tpl{next(self._numbers)}"
        self.templates[made["id"]] = made
        return web.json_response(made)

    async def _create_endpoint(self, request: web.Request) -> web.Response:
        body = await self._body(request, _NEW_ENDPOINT)
        if body.get("templateId") not in self.templates:
            raise _refused("templateId is required")
        made = {"idleTimeout": 5, "workersMax": 3, "workersMin": 0, **body}
        made["id"] = f"ep{next(self._numbers)}"
        made["name"] += " -fb" if made.pop("flashboot", False) else ""
        self.endpoints[made["id"]] = made
        return web.json_response(made)

    async def _change(self, request: web.Request) -> web.Response:
        kind, id_ = _kind(request), request.match_info["id"]
        body = await self._body(request, _TEMPLATE if kind == "templates" else _ENDPOINT)
        things = self.templates if kind == "templates" else self.endpoints
        if id_ not in things:
            raise _refused("not found")
        things[id_].update(body)
        if id_ == self._ours:
            self._policy.workers_max = body.get("workersMax", self._policy.workers_max)
            self._policy.workers_min = body.get("workersMin", self._policy.workers_min)
            self._policy.idle_timeout_s = body.get("idleTimeout", self._policy.idle_timeout_s)
        return web.json_response(things[id_] if kind == "templates" else self._told(id_))

    def _told(self, id_: str) -> Thing:
        """What the running endpoint says of itself, and what was changed here."""
        base = endpoint.configuration(id_, self._policy) if id_ == self._ours else {}
        return {**base, **self.endpoints[id_]}

    async def _body(self, request: web.Request, known: set[str]) -> Thing:
        call = f"{request.method} {_kind(request)}"
        if status := self.fault.get(call):
            raise _refused("so the test wants", status)
        body: Thing = json.loads(await request.read())
        if strange := set(body) - known:
            raise _refused(f"unknown fields: {sorted(strange)}")
        if wrong := set(body.get("gpuTypeIds", [])) - _GPUS:
            raise _refused(f"gpuTypeIds: {sorted(wrong)} are none of the allowed values")
        self.calls.append((call, body))
        return body


def _kind(request: web.Request) -> str:
    return request.path.split("/")[2]


def _refused(message: str, status: int = 400) -> web.HTTPException:
    error = web.HTTPBadRequest(text=json.dumps({"error": message}))
    error.set_status(status)
    return error
