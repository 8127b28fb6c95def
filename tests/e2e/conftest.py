"""Everything runs twice: on this machine's workers, and on an emulated RunPod. What cannot have a
meaning on both says so with the marker `one_backend`, and why."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import runpod_jobs
from tests.runpod_jobs import Emulator
from tests.scripted_worker import ScriptedWorker, serve

# Loopback, where the media of tests are served; every other private address is refused as ever.
_WORKERS = {"APIGPU_WORKER_FETCH_ALLOW": "127.0.0.0/8"}


@dataclass(frozen=True)
class Backend:
    """Where a service has its work done.

    environment: what a service that is a process of its own needs to use it; settings: the same
    for one in this process. pid: the process below which work is done, and work_dir: where its
    workers' files are; for the child of a service, these are the service's own.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    pid: int | None = None
    work_dir: Path | None = None


def _on(emulator: Emulator) -> Backend:
    return Backend(
        "runpod", emulator.environment, emulator.settings, emulator.pid, emulator.work_dir
    )


@pytest.fixture(scope="session")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """RunPod with a worker that does real work."""
    with runpod_jobs.emulator(tmp_path_factory.mktemp("runpod"), variables=_WORKERS) as emulator:
        yield _on(emulator)


@pytest.fixture(scope="session", params=["child", "runpod"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Where real work is done."""
    if request.param == "child":
        return Backend("child", _WORKERS)
    found: Backend = request.getfixturevalue("runpod")
    return found


@dataclass(frozen=True)
class Scripted:
    """Has the work of tests done by scripted workers. Where there is an `address`, they serve
    there, and RunPod's worker hands on to them."""

    runpod: Backend | None = None
    address: str = ""

    @asynccontextmanager
    async def by(self, worker: ScriptedWorker) -> AsyncIterator[Backend]:
        async with serve(worker, self.address or "127.0.0.1:0") as address:
            yield self.runpod or Backend(
                "workers", {"APIGPU_WORKERS": address}, {"workers": (address,)}
            )


@pytest.fixture(scope="session")
def runpod_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    address = f"unix-abstract:apigpu-test-{uuid.uuid4().hex}"
    folder = tmp_path_factory.mktemp("relay")
    with runpod_jobs.emulator(folder, "--relay-to", address) as emulator:
        yield Scripted(_on(emulator), address)


@pytest.fixture(scope="session", params=["workers", "runpod"])
def scripted(request: pytest.FixtureRequest) -> Scripted:
    """Where scripted work is done: by workers by address, or behind RunPod."""
    if request.param == "workers":
        return Scripted()
    found: Scripted = request.getfixturevalue("runpod_relay")
    return found
