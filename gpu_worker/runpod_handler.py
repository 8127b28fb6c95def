"""`python -m gpu_worker.runpod_handler`: a worker under RunPod's own loop.

The work is done by our WorkerService in a child process, reached through the generated stub: it
starts first, while the SDK is still being imported. Without it this process is of no use.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

# What takes time to import is imported once the child is on its way.
from apigpu_common import __version__
from apigpu_common.logs import set_up_logging
from gpu_worker.media.launch import die_with_parent

if TYPE_CHECKING:
    from gpu_worker.relay import Relay

_BEGAN_AT = time.monotonic()
_START_TIMEOUT_S = 120.0
_ASK_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class WorkerProcess:
    """The child that encodes. Use as `with`; it never outlives us."""

    def __init__(self) -> None:
        # In no folder, so that nothing is left of it whatever happens.
        self.address = f"unix-abstract:apigpu-{uuid.uuid4().hex}"
        self._serves = threading.Event()
        self._told: list[str] = []
        command = [sys.executable, "-m", "gpu_worker", "--listen", self.address]
        # In our process group: whoever kills that has killed all.
        self._process = subprocess.Popen(
            [*command, "--die-with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._attend, daemon=True).start()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()

    def wait_until_it_serves(self) -> None:
        """Raises RuntimeError where it does not."""
        self._serves.wait(_START_TIMEOUT_S)
        if not self._told:
            raise RuntimeError(f"the encoder process does not serve ({self._process.poll()})")

    def capacity(self) -> int:
        """How many items it works on at the same time."""
        import grpc
        from apigpu.worker.v1 import worker_service_pb2
        from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceStub

        with grpc.insecure_channel(self.address) as channel:
            answer = WorkerServiceStub(channel).GetCapabilities(
                worker_service_pb2.GetCapabilitiesRequest(), timeout=_ASK_TIMEOUT_S
            )
        return max(1, answer.max_parallel_items)

    def _attend(self) -> None:
        """Learn that it serves, and go when it goes: RunPod starts another worker. Where it never
        served, whoever waits for that finds out."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ready "):
                self._told.append(line)
                self._serves.set()
        self._process.wait()
        self._serves.set()
        if self._told:
            os.kill(os.getpid(), signal.SIGTERM)


class Ready:
    """What the SDK asks before each poll for work; the first time, we get ready for it."""

    def __init__(self, worker: WorkerProcess, relay: Relay) -> None:
        self._worker = worker
        self._relay = relay
        self._capacity = 0

    def concurrency(self, _: int) -> int:
        """Jobs at a time: as many as the encoder has slots, always the same number, because
        the SDK waits for all work to end before it changes it."""
        if not self._capacity:
            self._stop_at_once_on_signals()
            self._capacity = self._worker.capacity()
            log.info("ready after %.2f s", time.monotonic() - _BEGAN_AT)
        return self._capacity

    def _stop_at_once_on_signals(self) -> None:
        """On SIGTERM the SDK lets running jobs end; ours end at once, to be done elsewhere."""
        import asyncio

        theirs = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(self._relay.stop)
            if callable(theirs):
                theirs(number, frame)

        signal.signal(signal.SIGTERM, stop)


def _serve(worker: WorkerProcess) -> None:
    from gpu_worker import runpod_sdk

    runpod = runpod_sdk.load()
    from apigpu.worker.v1.worker_service_pb2 import TaskStarted

    from gpu_worker.relay import Relay

    started = TaskStarted(
        worker_id=os.environ.get("RUNPOD_POD_ID", "runpod"), gpu=_gpu(), version=__version__
    )
    relay = Relay(worker.address, started)

    @runpod.serverless.register_fitness_check  # type: ignore[untyped-decorator]
    def encoder_process_serves() -> None:
        worker.wait_until_it_serves()
        started.start_up_time.FromMilliseconds(int((time.monotonic() - _BEGAN_AT) * 1000))

    # The SDK's process of pings would tell of us as alive, had we been killed.
    parent = os.getpid()
    os.register_at_fork(after_in_child=lambda: die_with_parent(parent))
    runpod.serverless.start(
        {
            "handler": relay.handle,
            "return_aggregate_stream": True,
            "concurrency_modifier": Ready(worker, relay).concurrency,
        }
    )
    runpod_sdk.give_back_what_never_ran()


def _gpu() -> str:
    """As RunPod calls it, in the address where we ask for work."""
    query = parse_qs(urlsplit(os.environ.get("RUNPOD_WEBHOOK_GET_JOB", "")).query)
    return query.get("gpu", [""])[0]


def main() -> int:
    # The first process of a container has no default for it; the SDK sets its own, later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with WorkerProcess() as worker:
        # Before the SDK, which would set it up its way.
        set_up_logging(os.environ.get("APIGPU_WORKER_LOG_LEVEL", "INFO"))
        _serve(worker)
    return 0


if __name__ == "__main__":
    sys.exit(main())
