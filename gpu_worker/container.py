"""The first process of the worker's image: RunPod's handler where RunPod has started us, the
gRPC server elsewhere. It becomes that program, so that signals reach it."""

from __future__ import annotations

import os
import sys


def main() -> None:
    on_runpod = "RUNPOD_WEBHOOK_GET_JOB" in os.environ
    program = "gpu_worker.runpod_handler" if on_runpod else "gpu_worker"
    os.execv(sys.executable, [sys.executable, "-m", program, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
