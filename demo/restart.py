"""`make demo-restart`: the orchestrator is killed in the middle of a job, and started again.
The progress bar goes on by itself to the end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

from apigpu.video.v1.job_pb2 import Job
from rich.console import Console
from run import BUILD, PICTURES, STOP_TIMEOUT_S, address_of, run

from apigpu_client import VideoClient
from apigpu_client.cli.display import Display

DATA = BUILD / "restart"
CLIP_S = 12.0
KILL_AT_PERCENT = 35.0
AWAY_S = 3.0


class Service:
    """The orchestrator as a process that can be killed and started again at the same place."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        # The demo may be ended while a thread is about to start the process again.
        self._one_at_a_time = threading.Lock()
        self._is_over = False

    def start(self) -> None:
        log_path = DATA / "service.log"
        with log_path.open("a") as log, self._one_at_a_time:
            if self._is_over:
                return
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "APIGPU_LISTEN": self.address,
                    "APIGPU_HTTP_LISTEN": "127.0.0.1:0",
                    "APIGPU_DATA_DIR": str(DATA / "data"),
                },
            )
        address_of(self.process, log_path)

    def kill(self) -> None:
        """As a crash or a power cut would: nothing is said, nothing is tidied up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        with self._one_at_a_time:
            self._is_over = True
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()


async def main() -> int:
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    console = Console()
    service = Service()
    console.print("Starting the service and its worker ...")
    try:
        service.start()
        job = await follow(service, console)
    finally:
        service.stop()
    for attempt in job.attempts:
        why = attempt.error.message or "ended well"
        console.print(f"attempt {attempt.id[-8:]}: {', '.join(attempt.item_ids)}: {why}")
    console.print(f"{job.name} is [bold]{Job.State.Name(job.state)}[/bold]")
    return 0 if job.state == Job.SUCCEEDED else 1


async def follow(service: Service, console: Console) -> Job:
    """Have a long job done; kill the service in its middle, once."""
    async with VideoClient(service.address) as client:
        with Display(console) as display:
            spec = await client.images_to_videos([str(path) for path in PICTURES], CLIP_S)
            crash: asyncio.Task[None] | None = None
            async for event in client.run(spec):
                display.event(event)
                if crash is None and event.progress.percent >= KILL_AT_PERCENT:
                    crash = asyncio.create_task(kill_and_start(service, console))
                if event.HasField("finished"):
                    return event.finished
    raise AssertionError("`run` ends with `finished`, or raises")


async def kill_and_start(service: Service, console: Console) -> None:
    console.print(f"[red]kill -9 {service.process.pid}[/red]: the orchestrator is gone")
    service.kill()
    await asyncio.sleep(AWAY_S)
    console.print("starting it again, in the same folder ...")
    await asyncio.to_thread(service.start)
    console.print(f"[green]it is back[/green], as process {service.process.pid}")


if __name__ == "__main__":
    run(lambda: asyncio.run(main()))
