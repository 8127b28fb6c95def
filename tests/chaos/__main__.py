"""Run it: `python -m tests.chaos --database sqlite --jobs 200 --seed 7`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import secrets
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.job_pb2 import Job
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests import runpod_jobs
from tests.chaos import checks
from tests.chaos.disk import enter_own_mounts
from tests.chaos.faults import Faults
from tests.chaos.load import Callers
from tests.chaos.system import System
from tests.services import connect
from tests.waiting import until

_SETTLE_S = 60.0


async def chaos(folder: Path, asked: argparse.Namespace) -> int:
    """Returns how many things are wrong."""
    dice = random.Random(asked.seed)
    with contextlib.ExitStack() as stack:
        runpod = None
        if asked.backend == "runpod":
            runpod = stack.enter_context(runpod_jobs.emulator(folder / "cloud", workers=2))
        system = System(folder, runpod, with_postgres=asked.database == "postgres")
        if not system.disk.is_own:
            print("NOT TESTED: a full disk. Only root can mount a small one (unshare, mount).")
        faults = Faults(system, dice, asked.outage_s)
        callers = Callers(system, dice, asked.jobs, faults.each_was_done)
        began = time.monotonic()
        try:
            await system.start()
            async with asyncio.timeout(asked.limit_s):
                await _under_fire(callers, faults)
            stored = await _stored(system)
            await _swept(system)
            codes = await system.stop()
            tasks = await _open_tasks(system)
        except BaseException:
            _keep(system)
            raise
        finally:
            await system.end()
    wrong = [
        *checks.stories(callers.stories, stored),
        *checks.times(stored),
        *checks.results(stored, system.data / "files"),
        *checks.leftovers(folder, system.data),
        *([f"{tasks} tasks are left"] if tasks else []),
        *(f"an orchestrator ended with {code}" for code in codes if code),
    ]
    _report(asked, time.monotonic() - began, callers, faults, stored)
    for line in wrong[:20]:
        print(f"  WRONG: {line}")
    if wrong:
        _keep(system)
    system.disk.close()
    return len(wrong)


def _keep(system: System) -> None:
    """The small disk goes with this process: what is on it is for whoever looks for the reason."""
    if system.disk.is_own and system.data.exists():
        shutil.copytree(system.data, system.folder / "data", dirs_exist_ok=True)


async def _under_fire(callers: Callers, faults: Faults) -> None:
    columns = (
        TextColumn("under fire"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("jobs ended | {task.fields[faults]} faults |"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("", faults=0)
        fire = asyncio.create_task(faults.run())
        load = asyncio.create_task(callers.run())
        try:
            while not load.done():
                await asyncio.wait([load, fire], timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
                told, count = len(callers.stories), faults.done.total()
                progress.update(bar, completed=callers.ended, total=told, faults=count)
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


async def _swept(system: System) -> None:
    """What died with its attempt is removed by the service; `leftovers` tells what was not."""
    with contextlib.suppress(TimeoutError):
        await until(lambda: not any(system.arrivals.iterdir()), _SETTLE_S)


async def _open_tasks(system: System) -> int:
    """Tasks, and so leases, that are still in the database."""
    count = "SELECT count(*) FROM tasks"
    if system.postgres is not None:
        connection = await asyncpg.connect(system.postgres.url)
        try:
            return int(await connection.fetchval(count))
        finally:
            await connection.close()
    with contextlib.closing(sqlite3.connect(system.data / "jobs.sqlite3")) as database:
        return int(database.execute(count).fetchone()[0])


def _report(
    asked: argparse.Namespace,
    seconds: float,
    callers: Callers,
    faults: Faults,
    stored: dict[str, Job],
) -> None:
    attempts = [len(job.attempts) for job in stored.values()]
    cuts = sum(story.cuts for story in callers.stories)
    items = sum(len(job.items) for job in stored.values())
    print(
        f"{asked.database} and {asked.backend}, seed {asked.seed}:"
        f" {len(stored)} jobs with {items} items in {seconds:.0f} s, {sum(attempts)} attempts"
        f" (at most {max(attempts, default=0)} for one job), {cuts} streams cut or refused"
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
    parser.add_argument("--outage-s", type=float, default=30.0, help="of the database, at worst")
    asked = parser.parse_args()
    enter_own_mounts()
    # Whoever ends it by SIGTERM, as a time limit does, leaves nothing behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Not below the folder for tests, which PostgreSQL's own user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="apigpu-chaos-"))
    folder.chmod(0o755)
    print(f"seed {asked.seed}; logs in {folder}", flush=True)
    wrong = asyncio.run(chaos(folder, asked))
    if wrong:
        print(f"{wrong} promises were broken; everything is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    print("every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
