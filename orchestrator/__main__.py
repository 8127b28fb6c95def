"""`python -m orchestrator`: run the service with settings from the environment."""

from __future__ import annotations

import asyncio
import socket
import sys

from pydantic import ValidationError

from apigpu_common.errors import ServiceError
from apigpu_common.logs import set_up_logging
from apigpu_common.telemetry import telemetry
from orchestrator.server import run
from orchestrator.settings import Settings


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"a setting is wrong: {error}", file=sys.stderr)  # noqa: T201
        return 2
    set_up_logging(
        settings.log_level,
        as_json=settings.log_format == "json",
        folder=settings.logs_dir,
        program="orchestrator",
    )
    try:
        with telemetry("apigpu-orchestrator", socket.gethostname(), settings.metrics_listen):
            asyncio.run(run(settings))
    except (ServiceError, OSError, RuntimeError, ValueError) as error:
        print(f"cannot serve: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
