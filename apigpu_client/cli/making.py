"""Commands that make a job, and what they share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO

import click
from apigpu.video.v1.job_pb2 import Job

from apigpu_client.cli import options as common
from apigpu_client.cli import saving, specs
from apigpu_client.cli.exits import Exit
from apigpu_client.cli.follow import Story, follow, print_json
from apigpu_client.cli.options import Options, Session


def make(options: Options, results: int, build: Callable[[Session], Awaitable[Job]]) -> None:
    """Build a job (which uploads its media), have it done, follow it."""

    async def work(session: Session) -> Exit:
        if options.output is not None:
            options.output.check(results)
        job = await build(session)
        _mark(job, options)
        return await see_through(session, await session.client.create_job(job))

    common.run(options, work)


async def see_through(session: Session, created: Job) -> Exit:
    """Follow a job that this command has made; or tell its name and leave."""
    options = session.options
    if not options.detach:
        return await follow(Story(session, created.name), cancel_on_interrupt=True)
    if options.as_json:
        print_json(created)
    else:
        click.echo(created.name)
    return Exit.DONE


def _mark(job: Job, options: Options) -> None:
    """What holds for any operation."""
    job.labels.update(options.labels)
    if options.priority is not None:
        job.priority = options.priority
    if options.max_cost is not None:
        job.max_cost_micros = round(options.max_cost * 1e6)
    if options.queue_limit is not None:
        job.queue_time_limit.FromMilliseconds(round(options.queue_limit * 1000))
    if options.run_limit is not None:
        job.run_time_limit.FromMilliseconds(round(options.run_limit * 1000))


@click.command()
@click.argument("spec", type=click.File(encoding="utf-8"))
@common.making
@click.pass_obj
def run(options: Options, spec: IO[str]) -> None:
    """Run a job from a JSON file (`-`: standard input). A uri may be a local path."""
    base = Path() if spec.name == "<stdin>" else Path(spec.name).parent
    try:
        job = specs.parse(spec.read())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=spec.name) from None

    async def build(session: Session) -> Job:
        await specs.send_local_media(job, base, session.client, session.uploading)
        return job

    make(options, saving.count(job), build)
