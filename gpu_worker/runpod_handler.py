"""`python -m gpu_worker.runpod_handler`: a worker under RunPod's own loop.

The work is done by our WorkerService in a child process, reached through the generated stub:
so it starts while the SDK is still being imported, and a crash of either is told as one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
from apigpu.worker.v1 import worker_service_pb2
from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceStub
from google.protobuf import json_format

from apigpu_common.errors import Unavailable
from apigpu_common.logs import set_up_logging
from gpu_worker.outbox import Outbox
from gpu_worker.settings import WorkerSettings

# Each event is a request to RunPod, and all of them together are the job's output there.
_INTERVAL_S = 0.5
# The worker enforces the limit itself; this only catches one that hangs.
_LIMIT_MARGIN_S = 30.0
_MESSAGE_BYTES = 8 * 1024 * 1024


log = logging.getLogger(__name__)


class Handler:
    """Does RunPod jobs with the worker at `address`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._calls: set[Any] = set()

    async def handle(self, job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yields TaskEvents in their JSON form; the last one is complete in itself.

        Raises where the input is not a task: RunPod then tells the job as failed.
        """
        task = json_format.ParseDict(job["input"]["task"], worker_service_pb2.Task())
        outbox = Outbox(task.attempt_id, os.environ.get("RUNPOD_POD_ID", "runpod"), _INTERVAL_S)
        relay = asyncio.create_task(self._relay(task, outbox))
        # The SDK's own task ends at once when it is cancelled, this generator only when it is
        # collected: FFmpeg must not go on until then.
        current = asyncio.current_task()
        assert current is not None
        current.add_done_callback(lambda _: relay.cancel())
        async for event in outbox.events():
            yield json_format.MessageToDict(event, preserving_proto_field_name=True)

    async def _relay(self, task: worker_service_pb2.Task, outbox: Outbox) -> None:
        """Pass the worker's events on, and tell of every item how it ended."""
        results: dict[str, worker_service_pb2.ItemResult] = {}
        lost = Unavailable("WORKER_LOST", "The worker was stopped in the middle of the work.")
        try:
            async for event in self._execute(task):
                _pass_on(event, outbox, results)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                lost = Unavailable("TASK_REFUSED", f"The worker refuses: {error.details()}")
        except Exception:  # told as lost: an outbox without an end would seem alive for ever
            log.exception("the events of %s cannot be passed on", task.attempt_id)
        for item in task.items:
            if item.id not in results:
                results[item.id] = worker_service_pb2.ItemResult(
                    item_id=item.id, error=lost.to_status()
                )
        outbox.finish([results[item.id] for item in task.items])

    async def _execute(
        self, task: worker_service_pb2.Task
    ) -> AsyncIterator[worker_service_pb2.TaskEvent]:
        """The worker's events. They end early where `stop` was called."""
        async with grpc.aio.insecure_channel(
            self._address, options=[("grpc.max_receive_message_length", _MESSAGE_BYTES)]
        ) as channel:
            call = WorkerServiceStub(channel).Execute(
                worker_service_pb2.ExecuteRequest(task=task),
                timeout=task.time_limit.ToTimedelta().total_seconds() + _LIMIT_MARGIN_S,
                wait_for_ready=True,
            )
            self._calls.add(call)
            try:
                async for event in call:
                    yield event
            except asyncio.CancelledError:
                if not call.cancelled():  # not by `stop`: our own task is
                    raise
            finally:
                call.cancel()
                self._calls.discard(call)

    def stop(self) -> None:
        """Stop all work now; the jobs end and say so."""
        for call in list(self._calls):
            call.cancel()


def _pass_on(
    event: worker_service_pb2.TaskEvent,
    outbox: Outbox,
    results: dict[str, worker_service_pb2.ItemResult],
) -> None:
    if event.HasField("progress"):
        outbox.progress(event.progress.item_id, event.progress.progress)
    elif event.HasField("result"):
        results[event.result.item_id] = event.result
        outbox.result(event.result)
    elif event.HasField("finished"):
        results.update({result.item_id: result for result in event.finished.results})


def _serve(handler: Handler, concurrency: int) -> None:
    # The SDK asks for the processor's name when it is imported, which takes a second.
    cpuinfo = ModuleType("cpuinfo")
    cpuinfo.get_cpu_info = dict  # type: ignore[attr-defined]
    sys.modules.setdefault("cpuinfo", cpuinfo)
    import runpod

    async def handle(job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        _chain_signals(handler)
        async for event in handler.handle(job):
            yield event

    runpod.serverless.start(
        {
            "handler": handle,
            "return_aggregate_stream": True,
            "concurrency_modifier": lambda _: concurrency,
        }
    )


def _chain_signals(handler: Handler) -> None:
    """On SIGTERM the SDK lets running jobs end; ours end at once, to be done elsewhere."""
    theirs = signal.getsignal(signal.SIGTERM)
    if getattr(theirs, "ours", False):
        return
    loop = asyncio.get_running_loop()

    def stop(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(handler.stop)
        if callable(theirs):
            theirs(number, frame)

    stop.ours = True  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, stop)


def _go_along(worker: subprocess.Popen[bytes]) -> None:
    """Without its worker this process is of no use: RunPod starts another."""
    worker.wait()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    settings = WorkerSettings()
    set_up_logging(settings.log_level)  # before the SDK, which would set it up its way
    with tempfile.TemporaryDirectory(prefix="apigpu-") as folder:
        address = f"unix:{Path(folder) / 'worker.sock'}"
        command = [sys.executable, "-m", "gpu_worker", "--listen", address, "--die-with-parent"]
        # In our process group: whoever kills that has killed all.
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        threading.Thread(target=_go_along, args=(worker,), daemon=True).start()
        try:
            _serve(Handler(address), settings.max_parallel_items)
        finally:
            with contextlib.suppress(ProcessLookupError):
                worker.terminate()
            worker.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
