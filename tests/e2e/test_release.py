"""What a release gives: the sdist makes the wheel, and the wheel alone makes a video."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Backend

ROOT = Path(__file__).resolve().parents[2]
UV = str(Path(sys.executable).with_name("uv"))
TIMEOUT_S = 100


def run(*command: str, cwd: Path) -> str:
    # Nothing of this checkout may help: not its folders, not its virtual environment.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel, made from the sdist, and its lock."""
    folder = tmp_path_factory.mktemp("release")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    run("tar", "xf", str(sdist), cwd=folder)
    source = folder / sdist.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=source)
    (wheel,) = folder.glob("*.whl")
    run(UV, "venv", "-q", "--python", sys.executable, "env", cwd=folder)
    install = (UV, "pip", "install", "-q", "--python", "env/bin/python")
    run(*install, "--require-hashes", "-r", str(source / "requirements.txt"), cwd=folder)
    run(*install, "--no-deps", str(wheel), cwd=folder)
    return folder / "env" / "bin"


async def test_the_wheel_alone_serves_and_makes_a_video(
    installed: Path, tmp_path: Path, backend: Backend
) -> None:
    apigpu = str(installed / "apigpu")
    service = await asyncio.create_subprocess_exec(
        *(apigpu, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")),
        cwd=tmp_path,
        env={**os.environ, "APIGPU_HTTP_LISTEN": "127.0.0.1:0", **backend.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert service.stdout is not None
        line = await asyncio.wait_for(service.stdout.readline(), TIMEOUT_S)
        address = line.decode().split()[1]
        picture = next((ROOT / "demo" / "media").glob("01*.jpg"))
        animate = (apigpu, "--server", address, "animate", str(picture), "--duration", "1")
        await asyncio.to_thread(run, *animate, "-o", "clip.mp4", cwd=tmp_path)
        assert (tmp_path / "clip.mp4").stat().st_size > 0
    finally:
        service.terminate()
        assert await asyncio.wait_for(service.wait(), TIMEOUT_S) == 0


@pytest.mark.one_backend("no service is in it")
def test_the_wheel_knows_its_version(installed: Path, tmp_path: Path) -> None:
    (wheel,) = installed.parents[1].glob("*.whl")
    version = wheel.name.split("-")[1]
    assert version in run(str(installed / "apigpu"), "--version", cwd=tmp_path)


@pytest.mark.one_backend("no service is in it")
def test_everything_that_the_wheel_needs_is_in_the_lock(installed: Path, tmp_path: Path) -> None:
    run(UV, "pip", "check", "--python", str(installed / "python"), cwd=tmp_path)
