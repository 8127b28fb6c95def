"""The commands of docs/rest.md and docs/clients.md, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import aiohttp
import pytest

from orchestrator.server import Orchestrator
from tests.e2e.conftest import Scripted
from tests.scripted_worker import ScriptedWorker
from tests.services import settings

ROOT = Path(__file__).resolve().parents[2]
KEY = "your-secure-api-key-here"
TIMEOUT_S = 60


def commands(page: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.S)


async def run(script: str, folder: Path) -> str:
    tools = 'curl() { command curl -sS "$@"; }\n'
    child = await asyncio.create_subprocess_exec(
        *("bash", "-euc", tools + script),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, problems = await asyncio.wait_for(child.communicate(), TIMEOUT_S)
    assert child.returncode == 0, problems.decode()
    return printed.decode()


@pytest.mark.parametrize(
    ("page", "number", "wanted"),
    [
        ("rest.md", 0, "Images converted to videos successfully"),
        ("clients.md", 1, '"state": "QUEUED"'),
        ("clients.md", 2, "{"),
    ],
)
async def test_a_curl_command_works_as_written(
    tmp_path: Path, scripted: Scripted, page: str, number: int, wanted: str
) -> None:
    key = KEY if page == "rest.md" else ""
    async with (
        scripted.by(ScriptedWorker()) as backend,
        Orchestrator(settings(tmp_path, **backend.settings, x_api_key=key)) as service,
    ):
        script = commands(page)[number].replace("localhost:3000", service.http_address)
        printed = await run(script, tmp_path)
    assert wanted in printed
    json.loads(printed)


@pytest.mark.one_backend("no service is in it")
@pytest.mark.skipif(shutil.which("protoc") is None, reason="no protoc with Java's generator here")
async def test_the_contract_generates_a_client_as_written(tmp_path: Path) -> None:
    (tmp_path / "gen").symlink_to(ROOT / "gen")
    await run(commands("clients.md")[0], tmp_path)
    (made,) = (tmp_path / "build" / "client").rglob("*.java")
    assert "class JobOuterClass" in made.read_text()


async def test_the_page_lists_the_paths_that_there_are(tmp_path: Path, scripted: Scripted) -> None:
    page = (ROOT / "docs" / "rest.md").read_text()
    listed = set(re.findall(r"^\| (GET|POST) \| `(.*?)` \|", page, flags=re.M))
    async with (
        scripted.by(ScriptedWorker()) as backend,
        Orchestrator(settings(tmp_path, **backend.settings)) as service,
        aiohttp.ClientSession(f"http://{service.http_address}") as http,
        http.get("/openapi.json") as response,
    ):
        described = (await response.json())["paths"]
    paths = {
        (method.upper(), path.replace("{", ":").replace("}", ""))
        for path, methods in described.items()
        for method in methods
    }
    assert listed == paths
