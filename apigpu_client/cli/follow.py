"""Follow a job to its end on behalf of a person or a program. Ctrl-C is theirs to press."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from apigpu.video.v1.job_pb2 import Job
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console

from apigpu_client.cli import backend_text, exits, saving, text
from apigpu_client.cli.exits import Exit
from apigpu_client.cli.options import Session
from apigpu_client.errors import ApiGpuError

_CANCEL_TIMEOUT_S = 15.0


@dataclass
class Story:
    """A job's events as this command shows them. seen: the last one's sequence."""

    session: Session
    job: str
    seen: int = 0

    async def tell(self) -> Job:
        """Show the events that were not seen yet, up to the end; returns the finished job."""
        async for event in self.session.client.watch(self.job, self.seen):
            self.seen = event.sequence
            if self.session.options.as_json:
                print_json(event)
            else:
                self.session.display.event(event)
            if event.HasField("finished"):
                return event.finished
        raise AssertionError("watch ends with `finished`, or raises")


async def follow(story: Story, *, cancel_on_interrupt: bool) -> Exit:
    """Show events up to the end, then download and summarise."""
    session = story.session
    try:
        with interruptible():
            job = await story.tell()
    except asyncio.CancelledError:
        await _interrupted(story, cancel_on_interrupt)
        return Exit.INTERRUPTED
    place, saved = session.options.output, {}
    if place is not None:
        saved = await saving.save_results(session.client, job, session.display, place)
    if not session.options.as_json:
        session.console.print(text.results(job, saved, session.console.width))
        _summarise(job, session.console, downloaded=place is not None)
    return exits.of_job(job)


async def _interrupted(story: Story, cancel: bool) -> None:
    """Stop the job and see it end; or only say that it goes on."""
    console = story.session.console
    goes_on = f"{story.job} goes on: apigpu watch {story.job}"
    if not cancel:
        console.print(goes_on)
        return
    console.print(f"[yellow]cancelling {story.job}; press Ctrl-C again to leave at once[/yellow]")
    try:
        async with asyncio.timeout(_CANCEL_TIMEOUT_S):
            await story.session.client.cancel_job(story.job)
            job = await story.tell()
        console.print(f"{job.name} {text.state_words(job.state)}")
    except (TimeoutError, ApiGpuError):
        console.print(f"[red]it could not be cancelled in time[/red]; {goes_on}")


@contextmanager
def interruptible() -> Iterator[None]:
    """In here, Ctrl-C (or SIGTERM) cancels this task; after it, they end the program again."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    numbers = signal.SIGINT, signal.SIGTERM

    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _summarise(job: Job, console: Console, *, downloaded: bool) -> None:
    took = job.end_time.ToDatetime() - job.create_time.ToDatetime()
    console.print(
        f"{job.name} {text.state_words(job.state)} in {took.total_seconds():.1f} s",
        highlight=False,
    )
    for warning in text.warnings(job):
        console.print(warning, style="yellow", highlight=False, markup=False)
    for note in [*text.loudness_notes(job), *text.encoder_notes(job)]:
        console.print(note, style="dim", highlight=False, markup=False)
    if told := backend_text.stats(job):
        console.print(told, style="dim", highlight=False, markup=False)
    if not downloaded and job.state in (Job.SUCCEEDED, Job.PARTIALLY_SUCCEEDED):
        console.print(f"get the files: apigpu download {job.name}", style="dim", highlight=False)


def print_json(message: Message) -> None:
    """One line of JSON, with the contract's own field names."""
    told = json_format.MessageToDict(message, preserving_proto_field_name=True)
    print(json.dumps(told), file=sys.stdout, flush=True)
