"""Follow a job to its end on behalf of a person or a program, and bring its results home."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from apigpu.video.v1.job_pb2 import Item, Job, JobEvent
from google.protobuf import json_format
from rich.console import Console

from apigpu_client.cli import exits, text
from apigpu_client.cli.display import Display
from apigpu_client.cli.exits import Exit
from apigpu_client.client import VideoClient

_CANCEL_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Wishes:
    """What the caller wants to see and keep.

    as_json: one event a line on standard output, and nothing else there.
    output: a file or folder for the results, or None to leave them with the service.
    """

    console: Console
    as_json: bool
    output: Path | None
    cancel_on_interrupt: bool = True


async def follow(
    client: VideoClient, events: AsyncIterator[JobEvent], display: Display, wishes: Wishes
) -> Exit:
    """Show events up to the end, then download and summarise. Ctrl-C cancels the job."""
    job = await _until_finished(client, events, display, wishes)
    if job is None:
        return Exit.INTERRUPTED
    saved = await download_outputs(client, job, display, wishes.output)
    if not wishes.as_json:
        _summarise(job, saved, wishes.console)
    return exits.of_job(job)


async def _until_finished(
    client: VideoClient, events: AsyncIterator[JobEvent], display: Display, wishes: Wishes
) -> Job | None:
    """The finished job; None where the user did not want to wait for it."""
    name = ""
    try:
        with _interruptible():
            async for event in events:
                name = event.job
                if wishes.as_json:
                    print_json(event)
                else:
                    display.event(event)
                if event.HasField("finished"):
                    return event.finished
    except asyncio.CancelledError:
        if not (name and wishes.cancel_on_interrupt):
            return None
        wishes.console.print(f"[yellow]cancelling {name}[/yellow]")
        async with asyncio.timeout(_CANCEL_TIMEOUT_S):
            await client.cancel_job(name)
            async for event in client.watch(name):
                if event.HasField("finished"):
                    wishes.console.print(f"{name} {text.state_words(event.finished.state)}")
    return None


@contextmanager
def _interruptible() -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) cancels this task, the second ends the program."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def interrupt(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def download_outputs(
    client: VideoClient, job: Job, display: Display, output: Path | None
) -> dict[str, Path]:
    """Save what the job has made; returns the paths by item id."""
    finished = [item for item in job.items if item.state == Item.SUCCEEDED]
    if output is None or not finished:
        return {}
    as_folder = output.is_dir() or str(output).endswith("/") or len(job.items) > 1
    saved = {}
    for item in finished:
        path = output / item.output.filename if as_folder else output
        on_progress = partial(display.transfer, "download", path.name)
        saved[item.id] = await client.download(item.output.file, path, on_progress)
    return saved


def _summarise(job: Job, saved: dict[str, Path], console: Console) -> None:
    took_s = job.end_time.ToDatetime() - job.create_time.ToDatetime()
    console.print(text.results(job, saved))
    console.print(
        f"{job.name} {text.state_words(job.state)} in {took_s.total_seconds():.1f} s",
        highlight=False,
    )
    for note in text.encoder_notes(job):
        console.print(f"[dim]{note}[/dim]", highlight=False)


def print_json(message: Job | JobEvent) -> None:
    """One line of JSON, with the contract's own field names."""
    told = json_format.MessageToDict(message, preserving_proto_field_name=True)
    print(json.dumps(told), file=sys.stdout, flush=True)
