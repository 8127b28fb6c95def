"""A worker whose work a test scripts: the unmodified SDK and our own relay, to whatever worker
serves at the address RELAY_TO by then. With REFRESH it goes after each job (`stopPod`)."""

from __future__ import annotations

import os

from apigpu.worker.v1.worker_service_pb2 import TaskStarted

from gpu_worker import runpod_sdk
from gpu_worker.relay import Relay

# Jobs at a time: nobody here waits for a worker.
_JOBS = 8

if __name__ == "__main__":
    relay = Relay(os.environ["RELAY_TO"], TaskStarted(worker_id=os.environ["RUNPOD_POD_ID"]))
    runpod_sdk.load().serverless.start(
        {
            "handler": relay.handle,
            "return_aggregate_stream": True,
            "concurrency_modifier": lambda _: _JOBS,
            "refresh_worker": "REFRESH" in os.environ,
        }
    )
