"""The README's commands, run as they stand there, against the service that it describes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks
from tests.e2e.conftest import Backend
from tests.services import Process, process

TIMEOUT_S = 100


@pytest.fixture
async def service(tmp_path: Path, backend: Backend) -> AsyncIterator[Process]:
    async with process(tmp_path / "data", **backend.environment) as running:
        yield running


async def shell(script: str, cwd: Path, server: str) -> subprocess.CompletedProcess[str]:
    """Run a README block; its localhost:50051 is our server."""
    return await asyncio.to_thread(
        subprocess.run,
        ["bash", "-euc", script.replace("localhost:50051", server)],
        cwd=cwd,
        env={**os.environ, "APIGPU_SERVER": server},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="no grpcurl for this platform")
async def test_the_grpcurl_commands_work_as_written(service: Process, tmp_path: Path) -> None:
    explore, run_job, refused = blocks("README.md", "grpcurl", "sh")

    explored = await shell(explore, tmp_path, service.address)
    assert explored.returncode == 0, explored.stderr
    assert "apigpu.video.v1.VideoService" in explored.stdout
    assert "rpc RunJob" in explored.stdout
    assert '"status": "SERVING"' in explored.stdout

    # The README's picture is on the internet: the job is real, its download is refused here.
    ran = await shell(run_job, tmp_path, service.address)
    assert ran.returncode == 0, ran.stderr
    events = _json_values(ran.stdout)
    assert [int(str(event["sequence"])) for event in events] == list(range(1, len(events) + 1))
    assert "created" in events[0]
    assert "finished" in events[-1]

    told = await shell(refused, tmp_path, service.address)
    assert told.returncode != 0
    assert "InvalidArgument" in told.stderr
    assert "job.images_to_videos.images[0].image" in told.stderr


def _json_values(text: str) -> list[dict[str, object]]:
    decoder = json.JSONDecoder()
    values, position = [], 0
    while position < len(text.rstrip()):
        value, position = decoder.raw_decode(text, position)
        values.append(value)
        position += len(text[position:]) - len(text[position:].lstrip())
    return values


async def test_the_command_line_examples_work_as_written(service: Process, tmp_path: Path) -> None:
    _, commands = blocks("README.md", "The command line", "sh")
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    ran = await shell(commands, tmp_path, service.address)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 4
    assert (tmp_path / "captioned.mp4").stat().st_size > 0


@pytest.mark.one_backend("the same commands as the README's, in Portuguese")
async def test_the_portuguese_quick_start_works_as_written(tmp_path: Path) -> None:
    _, commands = blocks("docs/inicio-rapido.pt.md", "Ligar o serviço", "sh")
    (tmp_path / "demo" / "media").mkdir(parents=True)
    for pattern in ("01-*.jpg", "narration.mp3", "captions.srt"):  # one picture is enough
        (found,) = (ROOT / "demo" / "media").glob(pattern)
        (tmp_path / "demo" / "media" / found.name).symlink_to(found)
    async with process(tmp_path / "data") as service:
        ran = await shell(commands, tmp_path, service.address)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert (tmp_path / "legendado.mp4").stat().st_size > 0


async def test_the_python_example_works_as_written(service: Process, tmp_path: Path) -> None:
    (example,) = blocks("README.md", "Python", "python")
    picture = next((ROOT / "demo" / "media").glob("01*.jpg"))
    (tmp_path / "demo" / "media").mkdir(parents=True)
    shutil.copyfile(picture, tmp_path / "demo" / "media" / picture.name)
    (tmp_path / "example.py").write_text(example.replace("localhost:50051", service.address))
    ran = await shell("python example.py", tmp_path, service.address)
    assert ran.returncode == 0, ran.stderr
    assert "100 %" in ran.stdout
    assert (tmp_path / f"{picture.stem}.mp4").stat().st_size > 0
