"""The service with its HTTP door, and a worker whose behaviour the test scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from orchestrator.server import Orchestrator
from tests.scripted_worker import Script, ScriptedWorker, serve
from tests.services import settings


@dataclass
class Doors:
    """A running service. http: a session whose paths begin at its HTTP address."""

    http: aiohttp.ClientSession
    http_address: str
    grpc_address: str
    worker: ScriptedWorker


Open = Callable[..., AbstractAsyncContextManager[Doors]]


@pytest.fixture
def open_doors(tmp_path: Path) -> Open:
    """Start the service: `async with open_doors(script, setting=...) as doors`."""

    @asynccontextmanager
    async def opened(*scripts: Script, **more: object) -> AsyncIterator[Doors]:
        worker = ScriptedWorker(*scripts)
        async with (
            serve(worker) as address,
            Orchestrator(settings(tmp_path, (address,), **more)) as service,
            aiohttp.ClientSession(f"http://{service.http_address}") as http,
        ):
            yield Doors(http, service.http_address, service.address, worker)

    return opened


@pytest.fixture
async def doors(open_doors: Open) -> AsyncIterator[Doors]:
    async with open_doors() as opened:
        yield opened
