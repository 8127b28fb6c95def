"""A worker as a child process on this machine, over a unix socket. It is started again when
it dies, and never outlives this process: it ends when its standard input does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Attempt
from apigpu.worker.v1 import worker_service_pb2

from apigpu_common.errors import InternalError
from orchestrator.dispatch.grpc_workers import GrpcDispatcher
from orchestrator.jobs.sharding import Fleet

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_FIRST_RESTART_S = 0.2
_MAX_RESTART_S = 10.0


class ChildDispatcher:
    """Implements `Dispatcher` with one spawned worker."""

    name = "child"
    shares_disk = True
    outlives_us = False

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        # Unix socket paths are short by nature, data folders need not be.
        self._socket_dir = Path(tempfile.mkdtemp(prefix="apigpu-"))
        self._address = f"unix:{self._socket_dir / 'worker.sock'}"
        self._workers = GrpcDispatcher([self._address], name=self.name, shares_disk=True)
        self._supervisor: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the worker; returns when it serves. Raises InternalError if it cannot."""
        process = await self._start()
        await self._workers.open()
        self._supervisor = asyncio.create_task(self._supervise(process))

    async def close(self) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        await self._workers.close()
        shutil.rmtree(self._socket_dir, ignore_errors=True)

    async def capacity(self) -> int:
        return await self._workers.capacity()

    def execute(
        self, task: worker_service_pb2.Task, attempt: Attempt
    ) -> AsyncIterator[worker_service_pb2.TaskEvent]:
        return self._workers.execute(task, attempt)

    async def cancel(self, attempt: Attempt) -> None:
        """Nothing to do: closing the iterator has stopped it."""

    def fleet(self) -> Fleet:
        return self._workers.fleet()

    def price_micros_per_second(self, gpu: str) -> int | None:
        return None

    async def status(self) -> video_service_pb2.BackendStatus:
        return await self._workers.status()

    async def workers(self) -> list[video_service_pb2.WorkerInfo]:
        return await self._workers.workers()

    async def _supervise(self, process: asyncio.subprocess.Process) -> None:
        pause_s = _FIRST_RESTART_S
        while True:
            try:
                code = await process.wait()
            finally:
                await _stop(process)
            log.error("the worker process ended with %s; starting it again", code)
            await asyncio.sleep(pause_s)
            try:
                process = await self._start()
                pause_s = _FIRST_RESTART_S
            except InternalError as error:
                log.error("%s", error)
                pause_s = min(pause_s * 2, _MAX_RESTART_S)

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gpu_worker",
            "--listen",
            self._address,
            "--die-with-parent",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"APIGPU_WORKER_WORK_DIR": str(self._work_dir), **os.environ},
            start_new_session=True,
        )
        try:
            await asyncio.wait_for(_ready(process), _START_TIMEOUT_S)
        except BaseException as error:
            await _stop(process)
            if isinstance(error, TimeoutError):
                raise InternalError("WORKER_START", "The worker did not start in time.") from None
            raise
        return process


async def _ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(b"ready "):
            return
    code = await process.wait()
    raise InternalError("WORKER_START", f"The worker ended with {code} before it served.")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the process and its group, gently first, and reap it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
