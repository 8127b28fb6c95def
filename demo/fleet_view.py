"""What a person sees of an emulated RunPod endpoint: its workers, its queue, and our job's bars."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType

from apigpu.video.v1.job_pb2 import Item, JobEvent
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from tests.runpod_emulator import Cloud

# state as the emulator calls it -> what is shown, in which colour
_STATES = {
    "initializing": ("starting", "yellow"),
    "idle": ("idle", "cyan"),
    "running": ("busy", "green"),
    "paused": ("asleep", "blue"),
    "stopping": ("going", "magenta"),
    "gone": ("gone", "bright_black"),
}
_REFRESH_S = 0.1


@dataclass
class _Seen:
    """A worker's last known state, and since when, in real time."""

    state: str
    since: float


class FleetView:
    """Live on a terminal, a line for each change elsewhere. Use as `async with`."""

    def __init__(self, cloud: Cloud, console: Console) -> None:
        self._cloud = cloud
        self._console = console
        self._seen: dict[str, _Seen] = {}
        self._bars = Progress(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=None, complete_style="green", finished_style="bright_black"),
            TextColumn("{task.percentage:>5.1f} %"),
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._headline = ""
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)

    async def __aenter__(self) -> FleetView:
        if self._console.is_terminal:
            self._live.start()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])
        self._look()
        if self._live.is_started:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def say(self, headline: str) -> None:
        """What happens now, in a sentence."""
        self._headline = headline
        if not self._console.is_terminal:
            self._console.print(headline)

    def begin(self) -> None:
        """Another job: its bars replace those of the last one."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()

    def tell(self, event: JobEvent) -> None:
        """Move the bars."""
        self._move("all of it", event.progress.percent)
        if event.HasField("item"):
            done = event.item.state == Item.SUCCEEDED
            self._move(event.item.id, 100.0 if done else event.item.progress.percent)

    def _move(self, name: str, percent: float) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=100.0)
        self._bars.update(self._tasks[name], completed=percent)

    async def _watch(self) -> None:
        while True:
            self._look()
            if self._live.is_started:
                self._live.update(self._picture(), refresh=True)
            await asyncio.sleep(_REFRESH_S)

    def _look(self) -> None:
        fleet = self._cloud.fleet
        states = {name: fleet.state(worker) for name, worker in fleet.workers.items()}
        for name in {**self._seen, **states}:
            state = states.get(name, "gone")
            known = self._seen.get(name)
            if known is None or known.state != state:
                self._seen[name] = _Seen(state, time.monotonic())
                if not self._console.is_terminal:
                    self._console.print(f"  {name}: {_STATES[state][0]}")

    def _picture(self) -> Group:
        policy = self._cloud.policy
        title = (
            f"RunPod endpoint (emulated): 0 to {policy.workers_max} workers,"
            f" idle time-out {policy.idle_timeout_s:.0f} s"
        )
        return Group(
            Text(self._headline, style="bold"),
            Panel(Group(self._workers(), self._queue()), title=title, title_align="left"),
            self._bars,
        )

    def _workers(self) -> Table:
        table = Table(box=None, expand=True, pad_edge=False)
        for column, ratio in (("worker", 3), ("state", 2), ("for", 1), ("works on", 4)):
            table.add_column(column, ratio=ratio, header_style="dim", no_wrap=True)
        for name, seen in self._seen.items():
            shown, colour = _STATES[seen.state]
            table.add_row(
                Text(name),
                Text(f"● {shown}", style=colour),
                f"{time.monotonic() - seen.since:.0f} s",
                self._clips(name),
            )
        if not self._seen:
            table.add_row("none", "", "", Text("nothing runs, nothing costs", style="dim"))
        return table

    def _clips(self, worker: str) -> str:
        tasks = [job.body["input"]["task"] for job in self._cloud.queue.owned(worker)]
        count = sum(len(task["items"]) for task in tasks)
        return f"{count} clip{'s' * (count > 1)}" if count else ""

    def _queue(self) -> Text:
        jobs = list(self._cloud.jobs.values())
        waiting = sum(job.status == "IN_QUEUE" for job in jobs)
        running = sum(job.status == "IN_PROGRESS" for job in jobs)
        ended = len(jobs) - waiting - running
        return Text(f"jobs: {waiting} waiting, {running} running, {ended} done", style="dim")
