"""The commands for jobs that exist, and for the service itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from apigpu.video.v1.job_pb2 import JOB_VIEW_BASIC, JOB_VIEW_FULL, Job

from apigpu_client.cli import backend_text, board, text
from apigpu_client.cli import options as common
from apigpu_client.cli.exits import Exit
from apigpu_client.cli.follow import Story, follow, print_json
from apigpu_client.cli.making import see_through
from apigpu_client.cli.options import Options, Session
from apigpu_client.cli.saving import Place, count, save_results
from apigpu_client.cli.words import job_name

_MAX_PAGE = 1000


@click.command()
@click.argument("job", required=False)
@click.option("--after", default=0, help="Skip events up to this number.")
@click.option("--all", "all_", is_flag=True, help="All jobs, as they stand, until Ctrl-C.")
@click.option("--filter", "filter_", default="", help="With --all: which jobs, as in `list`.")
@common.saving
@click.pass_obj
def watch(options: Options, job: str | None, after: int, all_: bool, filter_: str) -> None:
    """Follow JOB to its end, from wherever it is; or all jobs at a glance."""
    if (job is None) != all_ or (filter_ and not all_):
        raise click.UsageError("name a JOB, or say --all (with --filter, for some of them)")

    async def work(session: Session) -> Exit | None:
        if job is None:
            await board.show(session, filter_)
            return None
        # Asked first, so that a wrong name or address is told at once.
        found = await session.client.get_job(job_name(job))
        if options.output is not None:
            options.output.check(count(found))
        return await follow(Story(session, found.name, after), cancel_on_interrupt=False)

    common.run(options, work)


@click.command()
@click.argument("job")
@common.detaching
@click.pass_obj
def retry(options: Options, job: str) -> None:
    """Try again what failed of JOB, in a new job that keeps what did not; follow it."""

    async def work(session: Session) -> Exit:
        created = await session.client.retry_job(job_name(job))
        if options.output is not None:
            options.output.check(count(created))
        return await see_through(session, created)

    common.run(options, work)


@click.command()
@click.argument("job")
@common.everywhere
@click.pass_obj
def get(options: Options, job: str) -> None:
    """Show JOB as it stands now."""

    async def work(session: Session) -> None:
        found = await session.client.get_job(job_name(job))
        if options.as_json:
            print_json(found)
            return
        session.console.print(text.job_list([found], session.console.width))
        session.console.print(text.results(found, {}, session.console.width))
        session.console.print(backend_text.stats(found), style="dim", highlight=False)

    common.run(options, work)


@click.command("list")
@click.option(
    "--filter",
    "filter_",
    default="",
    help='For example: state = RUNNING AND (labels.show = "news" OR priority >= 80)',
)
@click.option(
    "--order",
    default="",
    help='For example: "priority desc, create_time". Fields: create_time, end_time, priority,'
    " state. Default: newest first.",
)
@click.option("--limit", default=100, show_default=True, help="How many at most.")
@common.everywhere
@click.pass_obj
def list_(options: Options, filter_: str, order: str, limit: int) -> None:
    """List jobs, newest first where --order does not say otherwise."""

    async def work(session: Session) -> None:
        found: list[Job] = []
        view = JOB_VIEW_FULL if options.as_json else JOB_VIEW_BASIC
        size = min(limit, _MAX_PAGE)
        async for job in session.client.list_jobs(filter_, size, order, view):
            found.append(job)
            if options.as_json:
                print_json(job)
            if len(found) >= limit:
                break
        session.console.print(text.job_list(found, session.console.width))

    common.run(options, work)


@click.command()
@click.argument("job")
@common.everywhere
@click.pass_obj
def cancel(options: Options, job: str) -> None:
    """Stop JOB."""

    async def work(session: Session) -> None:
        found = await session.client.cancel_job(job_name(job))
        if options.as_json:
            print_json(found)
        session.console.print(f"{found.name} {text.state_words(found.state)}")

    common.run(options, work)


@click.command()
@click.argument("name")
@click.option("-o", "--output", default=".", metavar="PATH", help="File or folder. Default: here.")
@common.everywhere
@click.pass_obj
def download(options: Options, name: str, output: str) -> None:
    """Download the results of a job, or one file (files/...). Prints where they are."""
    place = Place.parse(output)

    async def one_file(session: Session) -> list[Path]:
        file = await session.client.describe_file(name)
        path = place.of(file.filename, 1)
        return [await session.client.download(name, path)]

    async def results(session: Session) -> list[Path]:
        job = await session.client.get_job(job_name(name))
        place.check(count(job))
        saved = await save_results(session.client, job, session.display, place)
        if not saved:
            state = Job.State.Name(job.state).lower()
            raise ValueError(f"{job.name} is {state} and has no results to download")
        return list(saved.values())

    async def work(session: Session) -> None:
        for path in await (one_file if name.startswith("files/") else results)(session):
            click.echo(path)

    common.run(common.with_names_only(options), work)


@click.command()
@common.everywhere
@click.pass_obj
def info(options: Options) -> None:
    """Show what the service and its workers can do."""

    async def work(session: Session) -> None:
        found = await session.client.server_info()
        if options.as_json:
            print_json(found)
        else:
            click.echo(text.server_info(found))

    common.run(options, work)


@click.command()
@common.everywhere
@click.pass_obj
def backend(options: Options) -> None:
    """Show whoever does the work: workers, queue, limits, and what is wrong."""

    async def work(session: Session) -> None:
        found = await session.client.backend_status()
        if options.as_json:
            print_json(found)
        else:
            session.console.print(backend_text.status(found), highlight=False)

    common.run(options, work)


@click.command()
@click.option("--listen", help="Address for gRPC, host:port. Default: 127.0.0.1:50051.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of jobs and files.")
def serve(listen: str | None, data_dir: Path | None) -> None:
    """Start the service here, with a worker on this machine."""
    if listen:
        os.environ["APIGPU_LISTEN"] = listen
    if data_dir:
        os.environ["APIGPU_DATA_DIR"] = str(data_dir)
    _become("orchestrator")


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def deploy(arguments: tuple[str, ...]) -> None:
    """Set up RunPod's template and endpoint: apigpu deploy runpod --help."""
    _become("orchestrator.deploy", *arguments)


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def backup(arguments: tuple[str, ...]) -> None:
    """Copy database and files while the service runs: apigpu backup --help."""
    _become("orchestrator.keeping.backup", *arguments)


def _become(module: str, *arguments: str) -> None:
    """Another program, not an import: the client knows the contract alone."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
