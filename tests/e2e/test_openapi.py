"""The OpenAPI description of the REST paths holds: schemathesis asks the running service for what
it allows and what it forbids, and every answer must be one that is described."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from orchestrator.server import Orchestrator
from tests.e2e.conftest import Scripted
from tests.scripted_worker import ScriptedWorker
from tests.services import settings

KEY = "the-key-of-schemathesis"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
TIMEOUT_S = 100


@pytest.mark.one_backend("what an answer looks like does not depend on who does the work")
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    async with (
        Scripted().by(ScriptedWorker()) as backend,
        Orchestrator(settings(tmp_path, **backend.settings, x_api_key=KEY)) as service,
    ):
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIGURATION),
            *("run", f"http://{service.http_address}/openapi.json"),
            *("--header", f"X-API-Key: {KEY}", "--checks", "all"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            printed, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, printed.decode()
    assert b"9 tested" in printed or b"9 selected" in printed, printed.decode()
