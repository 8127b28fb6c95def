"""`make demo-runpod`: the work goes to RunPod Serverless, whose cloud is emulated on this machine.
Workers come from none as work does, sleep when they idle, wake in no time, and go."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import ImagesToVideos
from fleet_view import FleetView
from rich.console import Console
from run import BUILD, OUTPUT, PICTURES, run

from apigpu_client import VideoClient
from tests.runpod_emulator import ENDPOINT, KEY, Cloud, Policy, running
from tests.services import process

PLACE = BUILD / "runpod"
CLIP_S = 5.0
WAIT_S = 60.0
POLICY = Policy(workers_max=2, idle_timeout_s=4.0)


def environment(cloud: Cloud) -> dict[str, str]:
    """What a user sets to work on RunPod, and where that is emulated."""
    return {
        "RUNPOD_API_KEY": KEY,
        "RUNPOD_ENDPOINT_ID": ENDPOINT,
        "APIGPU_RUNPOD_URL": cloud.url,
        "APIGPU_RUNPOD_REST_URL": cloud.rest_url,
        "APIGPU_RUNPOD_WORKER_SLOTS": "1",
        "APIGPU_RUNPOD_COLD_START_S": "2",
        "APIGPU_LOG_LEVEL": "ERROR",
    }


async def make(client: VideoClient, view: FleetView, pictures: list[Path]) -> Job:
    """Have clips of the pictures made, and show it."""
    view.begin()
    batch = ImagesToVideos(width=1280, height=720)
    ended = Job()
    async for event in client.run(await client.images_to_videos(pictures, CLIP_S, batch)):
        view.tell(event)
        if event.HasField("finished"):
            ended = event.finished
    return ended


async def story(cloud: Cloud, client: VideoClient, view: FleetView) -> Job:
    """Two jobs, and what the endpoint's workers do before, between and after them."""
    fleet = cloud.fleet

    async def until(state: str) -> None:
        await cloud.clock.until(lambda: fleet.count(state) == len(cloud.workers), WAIT_S)

    view.say("A batch of eight clips: work waits, so workers are started.")
    made = await make(client, view, [*PICTURES, *PICTURES])
    view.say("Done. Nobody needs the workers now: soon they are put to sleep, and cost nothing.")
    await until("paused")
    view.say("Two more clips: sleeping workers wake at once (flash boot).")
    await make(client, view, PICTURES[:2])
    POLICY.flash_boot = False
    view.say("Done. Without flash boot, workers that idle are ended.")
    await cloud.clock.until(lambda: not fleet.count("idle"), WAIT_S)
    return made


def summary(console: Console, job: Job) -> None:
    console.print("\nWhat the first job tells of its attempts:")
    for attempt in job.attempts:
        queue_s, execution_s = (
            time.ToTimedelta().total_seconds()
            for time in (attempt.queue_time, attempt.execution_time)
        )
        console.print(
            f"  {attempt.worker_id}: {len(attempt.item_ids)} clips,"
            f" waited {queue_s:.1f} s, worked {execution_s:.1f} s",
            highlight=False,
        )


async def main() -> int:
    console = Console()
    shutil.rmtree(PLACE, ignore_errors=True)
    async with running(PLACE / "cloud", policy=POLICY) as cloud:
        # One clip at a time, so that two workers share this machine well.
        cloud.fleet.environment["BATCH_SIZE"] = "1"
        async with (
            process(PLACE / "data", **environment(cloud)) as service,
            VideoClient(service.address) as client,
        ):
            async with FleetView(cloud, console) as view:
                job = await story(cloud, client, view)
            folder = OUTPUT / "runpod"
            folder.mkdir(parents=True, exist_ok=True)
            for item in job.items:
                await client.download(item.output.file, folder / item.output.filename)
    summary(console, job)
    console.print(f"\nLook at them: {folder.relative_to(Path.cwd())}/*.mp4", highlight=False)
    return 0 if job.state == Job.SUCCEEDED else 1


if __name__ == "__main__":
    run(lambda: asyncio.run(main()))
