"""docs/runpod.md, from the service to the first job: its commands, run as they stand there, on an
emulated endpoint."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from tests.e2e.conftest import Backend
from tests.services import free_port

ROOT = Path(__file__).resolve().parents[2]
# The command `apigpu` lies beside Python.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
TIMEOUT_S = 100


def block(with_line: str) -> str:
    """The page's block of commands that has this line."""
    page = (ROOT / "docs" / "runpod.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, flags=re.S)
    (found,) = (each for each in blocks if with_line in each)
    return textwrap.dedent(found)


@pytest.mark.one_backend("it is about RunPod alone")
async def test_the_page_leads_from_a_service_to_the_first_job(
    tmp_path: Path, runpod: Backend
) -> None:
    here = f"127.0.0.1:{free_port()}"
    serve = block("apigpu serve").replace("apigpu serve", 'echo "$X_API_KEY"; exec apigpu serve')
    for shown, ours in (
        ("RUNPOD_API_KEY=...", f"RUNPOD_API_KEY={runpod.environment['RUNPOD_API_KEY']}"),
        (
            "RUNPOD_ENDPOINT_ID=...",
            f"RUNPOD_ENDPOINT_ID={runpod.environment['RUNPOD_ENDPOINT_ID']}",
        ),
        ("0.0.0.0:8080", here),
        ("https://api.example.com", f"http://{here}"),
    ):
        assert shown in serve
        serve = serve.replace(shown, ours)
    environment = {
        **os.environ,
        "PATH": PATH,
        "APIGPU_RUNPOD_URL": runpod.environment["APIGPU_RUNPOD_URL"],
        "APIGPU_RUNPOD_REST_URL": runpod.environment["APIGPU_RUNPOD_REST_URL"],
        "APIGPU_LISTEN": "127.0.0.1:0",
        "APIGPU_DATA_DIR": str(tmp_path / "data"),
    }
    service = await asyncio.create_subprocess_exec(
        *("bash", "-euc", serve), env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert service.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            key = (await service.stdout.readline()).decode().strip()
            address = (await service.stdout.readline()).decode().split()[1]
        picture = next((ROOT / "demo" / "media").glob("01*.jpg"))
        shutil.copyfile(picture, tmp_path / "photo.jpg")
        calls = block("apigpu doctor").replace("APIGPU_API_KEY=...", f"APIGPU_API_KEY={key}")
        calls += block("apigpu animate")
        client = await asyncio.create_subprocess_exec(
            *("bash", "-euc", calls),
            cwd=tmp_path,
            env={**os.environ, "PATH": PATH, "APIGPU_SERVER": address},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await asyncio.wait_for(client.communicate(), TIMEOUT_S)
        assert client.returncode == 0, printed.decode()
        assert "✓ round trip" in printed.decode() and "NVIDIA L4" in printed.decode()
        assert (tmp_path / "clip.mp4").stat().st_size > 0
    finally:
        service.terminate()
        assert await asyncio.wait_for(service.wait(), TIMEOUT_S) == 0
