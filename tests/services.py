"""Start the real orchestrator for a test: in this process, or as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub

from orchestrator.server import Orchestrator
from orchestrator.settings import Settings

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub

START_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[VideoServiceAsyncStub]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield VideoServiceStub(channel)


def settings(data_dir: Path, workers: tuple[str, ...] = (), **more: object) -> Settings:
    values = {
        "data_dir": data_dir,
        "workers": workers,
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "grace_s": 0,
    }
    return Settings.model_validate({**values, **more})


@asynccontextmanager
async def in_process(
    data_dir: Path, workers: tuple[str, ...], **more: object
) -> AsyncIterator[VideoServiceAsyncStub]:
    """An orchestrator in this process, with workers by address."""
    async with (
        Orchestrator(settings(data_dir, workers, **more)) as orchestrator,
        connect(orchestrator.address) as stub,
    ):
        yield stub


def kept_files(data_dir: Path) -> list[Path]:
    """Every file that the service keeps on disk, complete or not."""
    folders = (data_dir / "files", data_dir / "uploads")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


class Process:
    """The orchestrator as a user starts it: `python -m orchestrator`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.address = ""
        self.http_address = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    async def terminate(self) -> int:
        """Ask it to stop gracefully; returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), START_TIMEOUT_S)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def process(
    data_dir: Path, *program: str, python: str | Path = sys.executable, **environment: str
) -> AsyncIterator[Process]:
    """An orchestrator of its own, with the worker child that it starts.

    python: the interpreter, and by it the packages. program: the module to run with its
    arguments, where it is not the orchestrator itself.
    """
    child = await asyncio.create_subprocess_exec(
        *(python, "-m", *(program or ("orchestrator",))),
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "APIGPU_LISTEN": "127.0.0.1:0",
            "APIGPU_HTTP_LISTEN": "127.0.0.1:0",
            "APIGPU_DATA_DIR": str(data_dir),
            **environment,
        },
    )
    running = Process(child)
    try:
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), START_TIMEOUT_S)
        assert line.startswith(b"ready "), "the orchestrator did not start"
        running.address, running.http_address = line.decode().split()[1:]
        yield running
    finally:
        await running.terminate()


@asynccontextmanager
async def worker_process(
    work_dir: Path, listen: str = "127.0.0.1:0", **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A worker process and its address; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gpu_worker", "--listen", listen, "--die-with-parent"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "APIGPU_WORKER_WORK_DIR": str(work_dir), **environment},
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        yield process, line.decode().split()[1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
