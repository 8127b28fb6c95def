"""GET /runpod/health and /runpod/config tell of the endpoint as RunPod does."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from orchestrator.server import Orchestrator
from tests.runpod_emulator import ENDPOINT, KEY, running
from tests.services import settings


async def told(tmp_path: Path, path: str, url: str) -> tuple[int, dict[str, object]]:
    runpod = {"runpod_api_key": KEY, "runpod_endpoint_id": ENDPOINT, "runpod_url": url}
    async with (
        Orchestrator(settings(tmp_path / "data", (), **runpod)) as service,
        aiohttp.ClientSession(f"http://{service.http_address}") as http,
        http.get(path) as response,
    ):
        return response.status, await response.json()


async def test_a_working_endpoint_is_healthy_and_tells_its_configuration(tmp_path: Path) -> None:
    async with running(tmp_path / "cloud") as cloud:
        status, health = await told(tmp_path, "/runpod/health", cloud.url)
        assert (status, health["status"], health["endpoint"]) == (
            *(200, "healthy"),
            "RunPod Serverless",
        )
        status, configuration = await told(tmp_path, "/runpod/config", cloud.url)
    assert status == 200
    assert configuration == {"endpointId": ENDPOINT, "idleTimeout": 300, "maxTimeout": 600}


async def test_an_endpoint_that_does_not_answer_is_unhealthy(tmp_path: Path) -> None:
    status, health = await told(tmp_path, "/runpod/health", "http://127.0.0.1:9")
    assert status == 503
    assert health["status"] == "unhealthy"
    assert health["error"]


async def test_without_runpod_there_is_nothing_that_could_be_healthy(tmp_path: Path) -> None:
    async with (
        Orchestrator(settings(tmp_path, ("127.0.0.1:9",))) as service,
        aiohttp.ClientSession(f"http://{service.http_address}") as http,
        http.get("/runpod/health") as response,
    ):
        assert response.status == 503
        assert "RUNPOD_ENDPOINT_ID" in (await response.json())["error"]
