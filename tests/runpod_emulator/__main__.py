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


async def serve(port: int, policy: Policy) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="runpod-emulator-") as folder:
        async with running(Path(folder), port=port, policy=policy) as cloud:
            print(f"ready {cloud.url}", flush=True)
            print("A service that works here is started with", file=sys.stderr)
            print(
                f"  RUNPOD_API_KEY={KEY} RUNPOD_ENDPOINT_ID={ENDPOINT}"
                f" APIGPU_RUNPOD_URL={cloud.url} apigpu serve",
                file=sys.stderr,
            )
            await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.runpod_emulator", description="RunPod Serverless on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--max-workers", type=int, default=2)
    parser.add_argument("--idle-timeout", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--cold-start", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--no-flash-boot", action="store_true")
    arguments = parser.parse_args()
    policy = Policy(
        workers_max=arguments.max_workers,
        idle_timeout_s=arguments.idle_timeout,
        cold_start_s=arguments.cold_start,
        flash_boot=not arguments.no_flash_boot,
    )
    asyncio.run(serve(arguments.port, policy))


if __name__ == "__main__":
    main()
