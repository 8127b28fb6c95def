"""`python -m orchestrator`: run the service with settings from the environment."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from apigpu_common import environment
from apigpu_common.environment import SettingsError
from apigpu_common.errors import ServiceError
from apigpu_common.logs import set_up_logging
from apigpu_common.telemetry import telemetry
from orchestrator.server import run
from orchestrator.settings import Settings

log = logging.getLogger("orchestrator")

# Names that begin like ours: the worker looks after its own, and the command `apigpu` has some.
_OTHERS = (
    "APIGPU_WORKER_",
    *("APIGPU_SERVER", "APIGPU_API_KEY", "APIGPU_TLS", "APIGPU_CA"),
    *("APIGPU_CERT", "APIGPU_CERT_KEY"),
)


def main() -> int:
    try:
        settings = environment.read(Settings)
    except SettingsError as error:
        print(f"cannot start:\n{error}", file=sys.stderr)  # noqa: T201
        return 2
    set_up_logging(
        settings.log_level,
        as_json=settings.log_format == "json",
        folder=settings.logs_dir,
        program="orchestrator",
    )
    for sentence in environment.unknown(Settings, _OTHERS):
        log.warning(sentence)
    try:
        with telemetry("apigpu-orchestrator", socket.gethostname(), settings.metrics_listen):
            asyncio.run(run(settings))
    except (ServiceError, OSError, RuntimeError, ValueError) as error:
        print(f"cannot serve: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
