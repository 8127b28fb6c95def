"""The recipes of docs/grpcurl.md, run as they stand there by tools that know nothing of us but
what reflection tells."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.server import Orchestrator
from tests.e2e.conftest import Scripted
from tests.scripted_worker import ScriptedWorker
from tests.services import settings

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "grpcurl.md"
TIMEOUT_S = 60
# The project's own tools lie beside its Python.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

# What a reader of each block wants to see, in the order of the page
SEEN = [
    [
        "grpc.health.v1.Health",
        "VideoService.CreateJob",
        "stream .apigpu.video.v1.JobEvent",
        "images",
    ],
    ['"requestId"'],
    ['"status": "SERVING"', '"version"', '"backend": "BACKEND"'],
    ["jobs/"],
    ['"created"', '"finished"', '"sequence": "3"'],
    ['"state": "SUCCEEDED"'],
    ['"show": "news"'],
    ['"filename": "hello.srt"'],
    ["00:00:00,000 --> 00:00:02,000"],
    ['"state": "SUCCEEDED"', "{"],
    ["JOB_NOT_FOUND", "NotFound", "job.caption.video", "InvalidArgument"],
    ["{"],
]


@pytest.mark.skipif(
    shutil.which("grpcurl", path=PATH) is None, reason="no grpcurl for this platform on PyPI"
)
async def test_every_recipe_works_as_written(tmp_path: Path, scripted: Scripted) -> None:
    recipes = re.findall(r"```sh\n(.*?)```", RECIPES.read_text(), flags=re.S)
    async with (
        scripted.by(ScriptedWorker()) as backend,
        Orchestrator(settings(tmp_path, **backend.settings)) as service,
    ):
        script = "echo; echo ===NEXT===\n".join(recipes)
        child = await asyncio.create_subprocess_exec(
            *("bash", "-euc", script.replace("localhost:50051", service.address)),
            env={**os.environ, "PATH": PATH},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await asyncio.wait_for(child.communicate(), TIMEOUT_S)
    blocks = printed.decode().split("===NEXT===")
    assert child.returncode == 0, blocks[-1]
    assert len(blocks) == len(SEEN)
    for block, wanted in zip(blocks, SEEN, strict=True):
        for words in wanted:
            assert words.replace("BACKEND", backend.name) in block
