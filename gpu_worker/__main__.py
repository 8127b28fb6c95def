"""`python -m gpu_worker`: run a worker with settings from the environment."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys

from apigpu_common import environment
from apigpu_common.environment import SettingsError
from apigpu_common.errors import ServiceError
from apigpu_common.logs import set_up_logging
from apigpu_common.telemetry import telemetry
from gpu_worker.server import run
from gpu_worker.settings import WorkerSettings

log = logging.getLogger("gpu_worker")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gpu_worker", description="Run a worker.")
    parser.add_argument("--listen", help="host:port or unix:/path (APIGPU_WORKER_LISTEN)")
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when standard input does"
    )
    arguments = parser.parse_args()
    try:
        settings = environment.read(WorkerSettings)
    except SettingsError as error:
        print(f"cannot start:\n{error}", file=sys.stderr)  # noqa: T201
        return 2
    if arguments.listen:
        settings = settings.model_copy(update={"listen": arguments.listen})
    set_up_logging(
        settings.log_level,
        as_json=settings.log_format == "json",
        folder=settings.logs_dir,
        program="worker",
    )
    for sentence in environment.unknown(WorkerSettings):
        log.warning(sentence)
    try:
        with telemetry("apigpu-worker", socket.gethostname()):
            asyncio.run(run(settings, die_with_parent=arguments.die_with_parent))
    except (ServiceError, OSError, RuntimeError) as error:
        print(f"cannot serve: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
