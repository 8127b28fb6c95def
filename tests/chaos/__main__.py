"""Run it: `python -m tests.chaos --database sqlite --jobs 200 --seed 7`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests import runpod_jobs
from tests.chaos import checks
from tests.chaos.faults import Faults
from tests.chaos.load import Callers
from tests.chaos.system import Postgres, System
from tests.services import connect

_SETTLE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What runs under fire, for how long, and by which dice."""

    database: str
    backend: str
    jobs: int
    seed: int
    limit_s: float


async def chaos(folder: Path, plan: Plan) -> int:
    """Returns how many things are wrong."""
    dice = random.Random(plan.seed)
    postgres = None
    if plan.database == "postgres":
        postgres = Postgres(folder / "postgres")
    with contextlib.ExitStack() as stack:
        runpod = None
        if plan.backend == "runpod":
            runpod = stack.enter_context(runpod_jobs.emulator(folder / "cloud", workers=2))
        system = System(folder, postgres, 2 if postgres else 1, runpod)
        await system.start()
        callers, faults = Callers(system, dice, plan.jobs), Faults(system, dice)
        began = time.monotonic()
        try:
            async with asyncio.timeout(plan.limit_s):
                await _under_fire(callers, faults)
            stored = await _stored(system)
            codes = await system.stop()
            tasks = await _open_tasks(system)
        finally:
            for replica in system.replicas:
                with contextlib.suppress(ProcessLookupError):
                    replica.process.kill()
            if postgres is not None:
                postgres.stop()
    seconds = time.monotonic() - began
    wrong = [
        *checks.stories(callers.stories, stored),
        *checks.results(stored, folder / "data"),
        *checks.leftovers(folder),
        *([f"{tasks} tasks are left"] if tasks else []),
        *(f"an orchestrator ended with {code}" for code in codes if code),
    ]
    _report(plan, seconds, callers, faults, stored)
    for line in wrong[:20]:
        print(f"  WRONG: {line}")
    return len(wrong)


async def _under_fire(callers: Callers, faults: Faults) -> None:
    columns = (
        TextColumn("under fire"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("jobs ended | {task.fields[faults]} faults |"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=len(callers.stories), faults=0)
        fire = asyncio.create_task(faults.run())
        load = asyncio.create_task(callers.run())
        try:
            while not load.done():
                await asyncio.wait([load, fire], timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
                progress.update(bar, completed=callers.ended, faults=faults.done.total())
                if fire.done():
                    fire.result()  # a fault that could not be done is an error of the test
            load.result()
            # What was killed is started again before anybody looks.
            faults.enough = True
            await fire
        finally:
            await _end(load)
            await _end(fire)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _stored(system: System) -> dict[str, Job]:
    """All jobs, as the service tells them now."""
    found: dict[str, Job] = {}
    async with connect(system.replicas[0].address) as stub:
        token = ""
        while True:
            request = video_service_pb2.ListJobsRequest(page_size=1000, page_token=token)
            page = await stub.ListJobs(request, timeout=_SETTLE_S)
            for job in page.jobs:
                name = video_service_pb2.GetJobRequest(name=job.name)
                found[job.name] = await stub.GetJob(name, timeout=_SETTLE_S)
            token = page.next_page_token
            if not token:
                return found


async def _open_tasks(system: System) -> int:
    """Tasks, and so leases, that are still in the database."""
    count = "SELECT count(*) FROM tasks"
    if system.postgres is not None:
        connection = await asyncpg.connect(system.postgres.url)
        try:
            return int(await connection.fetchval(count))
        finally:
            await connection.close()
    with contextlib.closing(sqlite3.connect(system.folder / "data" / "jobs.sqlite3")) as database:
        return int(database.execute(count).fetchone()[0])


def _report(
    plan: Plan,
    seconds: float,
    callers: Callers,
    faults: Faults,
    stored: dict[str, Job],
) -> None:
    attempts = [len(job.attempts) for job in stored.values()]
    cuts = sum(story.cuts for story in callers.stories)
    items = sum(len(job.items) for job in stored.values())
    print(
        f"{plan.database} and {plan.backend}, seed {plan.seed}: {len(stored)} jobs with {items}"
        f" items in {seconds:.0f} s,"
        f" {sum(attempts)} attempts (at most {max(attempts, default=0)} for one job),"
        f" {cuts} streams cut or refused"
    )
    for name, count in sorted(faults.done.items()):
        print(f"  {count:4d} {name}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--backend", choices=("child", "runpod"), default="child")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--limit-s", type=float, default=1800.0)
    arguments = parser.parse_args()
    # Not below the folder for tests, which PostgreSQL's own user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="apigpu-chaos-"))
    folder.chmod(0o755)
    print(f"seed {arguments.seed}; logs in {folder}", flush=True)
    wrong = asyncio.run(chaos(folder, Plan(**vars(arguments))))
    if wrong:
        print(f"{wrong} promises were broken; everything is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    print("every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
