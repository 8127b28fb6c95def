"""`apigpu watch --all`: all jobs at a glance, as they stand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence

from apigpu.video.v1.job_pb2 import Job
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from apigpu_client.cli import text
from apigpu_client.cli.follow import interruptible, print_json
from apigpu_client.cli.options import Session

_OPEN = (Job.RUNNING, Job.CANCELLING, Job.QUEUED)
_WIDE = 100
_VERY_WIDE = 130


async def show(session: Session, filter: str) -> None:
    """Until the caller has seen enough (Ctrl-C)."""
    live = session.console.is_terminal and not session.options.as_json
    try:
        with interruptible():
            if live:
                await _live(session, filter)
            else:
                await _lines(session, filter)
    except asyncio.CancelledError:
        return


async def _live(session: Session, filter: str) -> None:
    session.display.give_way()
    console = session.console
    with Live(console=console, auto_refresh=False, screen=True, transient=True) as screen:
        screen.update(Text("waiting for the service ...", "dim"), refresh=True)
        async for jobs in session.client.watch_jobs(filter):
            size = console.size
            screen.update(board(jobs.values(), size.width, size.height), refresh=True)


async def _lines(session: Session, filter: str) -> None:
    """For programs and logs: a line for each job that has changed."""
    told: dict[str, bytes] = {}
    async for jobs in session.client.watch_jobs(filter):
        for name in [name for name in told if name not in jobs]:
            del told[name]
            if session.options.as_json:
                print(json.dumps({"removed": name}), flush=True)
        for name, job in jobs.items():
            # People are told of states; programs of everything.
            news = job.SerializeToString() if session.options.as_json else bytes([job.state])
            if told.get(name) != news:
                told[name] = news
                _line(session, job)


def _line(session: Session, job: Job) -> None:
    if session.options.as_json:
        print_json(job)
    else:
        session.console.print(f"{job.name} {text.state_words(job.state)}", highlight=False)


def board(jobs: Iterable[Job], width: int, height: int) -> RenderableType:
    """As many jobs as the screen has lines for: those that are open first, the newest first."""
    found = sorted(
        jobs,
        key=lambda job: (job.state not in _OPEN, -job.create_time.ToNanoseconds()),
    )
    room = max(height - 4, 1)
    rows = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for column in ("job", "state", "operation"):
        rows.add_column(column, no_wrap=True)
    rows.add_column("", ratio=1)
    for column in ("%", "items", "left"):
        rows.add_column(column, no_wrap=True, justify="right")
    if width >= _WIDE:
        rows.add_column("labels", no_wrap=True, max_width=30)
    for job in found[:room]:
        # The end tells jobs apart: ids begin with the time.
        name = job.name.removeprefix("jobs/") if width >= _VERY_WIDE else f"...{job.name[-8:]}"
        rows.add_row(name, *_row(job)[: len(rows.columns) - 1])
    rest = [Text(f"and {len(found) - room} more", "dim")] if len(found) > room else []
    return Group(_head(found), Text(), rows, *rest)


def _head(jobs: Sequence[Job]) -> Text:
    counts = Counter(job.state for job in jobs)
    parts = [f"{counts[state]} {_words(state)}" for state in Job.State.values() if counts[state]]
    return Text.assemble((f"{len(jobs)} jobs", "bold"), ("  ", ""), (", ".join(parts), "dim"))


def _row(job: Job) -> Sequence[RenderableType]:
    counts = job.item_counts
    left = job.progress.time_left.ToTimedelta().total_seconds()
    style = text.STATE_STYLE.get(job.state, "cyan")
    labels = " ".join(f"{key}={value}" for key, value in sorted(job.labels.items()))
    return (
        Text(_words(job.state), style),
        Text((job.WhichOneof("operation") or "").replace("_", " ")),
        ProgressBar(completed=job.progress.percent, complete_style=style, finished_style=style),
        f"{job.progress.percent:.0f}",
        f"{counts.succeeded}/{counts.total}",
        text.seconds(left) if job.progress.HasField("time_left") else "",
        Text(labels, "dim"),
    )


def _words(state: Job.State.ValueType) -> str:
    return Job.State.Name(state).lower().replace("_", " ")
