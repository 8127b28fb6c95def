"""Whole jobs run twice: with the worker child of the service, and on an emulated RunPod, whose
endpoint and warm worker all tests share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.runpod_emulator import ENDPOINT, KEY


@dataclass(frozen=True)
class Backend:
    """environment: what the service needs to use it. pid: the process below which work is done,
    and work_dir: the worker's; for the child of a service, these are the service's own."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    pid: int | None = None
    work_dir: Path | None = None


@pytest.fixture(scope="session")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    work_dir = tmp_path_factory.mktemp("runpod")
    command = (sys.executable, "-m", "tests.runpod_emulator", "--work-dir", str(work_dir))
    emulator = subprocess.Popen(
        (*command, "--min-workers", "1", "--max-workers", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert emulator.stdout is not None
    try:
        said, url, rest_url = emulator.stdout.readline().split()
        assert said == "ready"
        environment = {
            "RUNPOD_API_KEY": KEY,
            "RUNPOD_ENDPOINT_ID": ENDPOINT,
            "APIGPU_RUNPOD_URL": url,
            "APIGPU_RUNPOD_REST_URL": rest_url,
        }
        yield Backend("runpod", environment, emulator.pid, next(work_dir.glob("pod*/work")))
    finally:
        emulator.terminate()
        emulator.wait(20)


@pytest.fixture(params=["child", "runpod"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "child":
        return Backend("child")
    found: Backend = request.getfixturevalue("runpod")
    return found
