"""`python -m tests.runpod_emulator`: an endpoint on loopback until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.runpod_emulator.cloud import ENDPOINT, KEY, running
from tests.runpod_emulator.policy import Policy
from tests.runpod_emulator.worker import RELAY

_READY_S = 120.0


async def serve(port: int, policy: Policy, work_dir: Path, relay_to: str) -> None:
    """Says `ready` and its addresses once it serves, and the workers that it must have do."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(work_dir, port=port, policy=policy) as cloud:
        if relay_to:
            cloud.fleet.command = RELAY
            cloud.fleet.environment["RELAY_TO"] = relay_to
        await cloud.clock.until(lambda: cloud.fleet.count("idle") >= policy.workers_min, _READY_S)
        print(f"ready {cloud.url} {cloud.rest_url}", flush=True)
        print("A service that works here is started with", file=sys.stderr)
        print(
            f"  RUNPOD_API_KEY={KEY} RUNPOD_ENDPOINT_ID={ENDPOINT} APIGPU_RUNPOD_URL={cloud.url}"
            f" APIGPU_RUNPOD_REST_URL={cloud.rest_url} apigpu serve",
            file=sys.stderr,
        )
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.runpod_emulator", description="RunPod Serverless on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--min-workers", type=int, default=0)
    parser.add_argument("--max-workers", type=int, default=2)
    parser.add_argument("--idle-timeout", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--cold-start", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--no-flash-boot", action="store_true")
    parser.add_argument("--work-dir", type=Path, help="for workers' files and logs")
    parser.add_argument("--relay-to", default="", help="the gRPC worker that does all work")
    arguments = parser.parse_args()
    policy = Policy(
        workers_min=arguments.min_workers,
        workers_max=arguments.max_workers,
        idle_timeout_s=arguments.idle_timeout,
        cold_start_s=arguments.cold_start,
        flash_boot=not arguments.no_flash_boot,
    )
    with tempfile.TemporaryDirectory(prefix="runpod-emulator-") as folder:
        work_dir = arguments.work_dir or Path(folder)
        asyncio.run(serve(arguments.port, policy, work_dir, arguments.relay_to))


if __name__ == "__main__":
    main()
