"""`apigpu doctor` and `apigpu backend`, as commands, against the emulated cloud."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.server import Orchestrator
from tests import runpod_jobs
from tests.runpod_emulator import ENDPOINT, KEY, Cloud, running
from tests.services import settings

TIMEOUT_S = 100
pytestmark = pytest.mark.one_backend("it checks RunPod endpoints")


async def apigpu(server: str, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "apigpu_client.cli", *arguments),
        env={**os.environ, "APIGPU_SERVER": server},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert "Traceback" not in err.decode()
    return process.returncode or 0, out.decode()


def service(cloud: Cloud, data_dir: Path, **more: object) -> Orchestrator:
    values = runpod_jobs.settings(cloud.url, cloud.rest_url)
    return Orchestrator(settings(data_dir, **{**values, **more}))


def findings(out: str) -> dict[str, dict[str, Any]]:
    return {line["check"]: line for line in map(json.loads, out.splitlines())}


async def test_a_working_endpoint_is_checked_from_key_to_clip(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "cloud") as cloud,
        service(cloud, tmp_path / "data") as orchestrator,
    ):
        code, out = await apigpu(orchestrator.address, "doctor", "--json")
        found = findings(out)
        assert code == 0, out
        for check in ("service", "key", "endpoint", "upload", "worker", "storage", "round trip"):
            assert found[check]["verdict"] == "ok", found[check]
        assert found["GPU"]["message"] == "NVIDIA L4"
        # There is no GPU here: said, with what to do, and no failure.
        assert found["encoder"]["verdict"] == "warn" and found["encoder"]["hint"]
        assert found["download"]["verdict"] == "ok"
        code, out = await apigpu(orchestrator.address, "backend")
        assert code == 0 and ENDPOINT in out and "NVIDIA L4" in out
        assert KEY not in out


async def test_a_wrong_key_is_found_before_a_job_is_made(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "cloud") as cloud,
        service(cloud, tmp_path / "data", runpod_api_key="wrong") as orchestrator,
    ):
        code, out = await apigpu(orchestrator.address, "doctor", "--json")
        assert code == 1
        assert findings(out)["key"]["verdict"] == "fail"
        assert "RUNPOD_API_KEY" in findings(out)["key"]["hint"]
        assert "run" not in cloud.calls
        code, out = await apigpu(orchestrator.address, "doctor")
        assert code == 1 and "✗ key" in out


async def test_workers_that_cannot_reach_the_service_are_told_as_that(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "cloud") as cloud,
        service(
            cloud, tmp_path / "data", public_url="http://127.0.0.1:9", max_attempts=1
        ) as orchestrator,
    ):
        code, out = await apigpu(orchestrator.address, "doctor", "--json")
        assert code == 1
        assert "APIGPU_PUBLIC_URL" in findings(out)["storage"]["hint"]


async def test_an_endpoint_without_workers_ends_in_time_and_leaves_nothing(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "cloud", max_workers=0) as cloud,
        service(cloud, tmp_path / "data") as orchestrator,
    ):
        code, out = await apigpu(orchestrator.address, "doctor", "--json", "--no-job")
        assert code == 1 and findings(out)["endpoint"]["message"] == "NO_WORKERS_ALLOWED"
        assert "run" not in cloud.calls


async def test_a_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, _ = await apigpu("127.0.0.1:1", "doctor")
    assert code == 4
