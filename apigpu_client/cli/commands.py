"""The commands and their options. What they do stands in the modules beside this one."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import MediaSource
from rich.console import Console

from apigpu_client import channel, jobs
from apigpu_client.cli import exits, follow, specs, text
from apigpu_client.cli.display import Display
from apigpu_client.cli.exits import Exit
from apigpu_client.client import VideoClient
from apigpu_client.errors import ApiGpuError

_MAX_LISTED = 100


@dataclass(frozen=True)
class Options:
    """What all commands share."""

    server: str
    as_json: bool
    names_only: bool = False

    @property
    def console(self) -> Console:
        """For people. Standard output may belong to programs: events, or names of results."""
        return Console(stderr=self.as_json or self.names_only, quiet=self.as_json)


@dataclass(frozen=True)
class _Session:
    """One command's connection and display."""

    client: VideoClient
    display: Display
    options: Options

    async def source(self, media: str) -> MediaSource:
        """A URL or the service's own file as it is; a local file, uploaded."""
        name = Path(media).name
        return await self.client.source(
            media, lambda done, total: self.display.transfer("upload", name, done, total)
        )


def _run(options: Options, work: Callable[[_Session], Awaitable[Exit | None]]) -> None:
    """Connect, do `work`, and leave with the right exit code."""

    async def session() -> Exit:
        display = Display(options.console)
        async with VideoClient(options.server) as client:
            with display:
                return await work(_Session(client, display, options)) or Exit.DONE

    try:
        code = asyncio.run(session())
    except ApiGpuError as error:
        click.secho(exits.explain(error, options.server), fg="red", err=True)
        code = exits.of_error(error)
    except (ValueError, OSError) as error:
        click.secho(str(error), fg="red", err=True)
        code = Exit.BAD_REQUEST
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = Exit.INTERRUPTED
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("api-gpu"))
@click.option(
    "--server",
    default=channel.DEFAULT_TARGET,
    envvar="APIGPU_SERVER",
    show_default=True,
    show_envvar=True,
    help="Address of the service, host:port.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.pass_context
def main(context: click.Context, server: str, as_json: bool) -> None:
    """Make videos: captions, moving pictures, sound. Media are local files or URLs."""
    context.obj = Options(server, as_json)


@dataclass(frozen=True)
class _Making:
    """What the commands that make a job have in common."""

    output: Path | None
    detach: bool
    labels: Sequence[str]
    as_json: bool


def _job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `_Making` to a command, which gets them as one argument."""

    @functools.wraps(command)
    def bundled(
        *arguments: Any,
        output: Path | None,
        detach: bool,
        labels: Sequence[str],
        as_json_here: bool,
        **own: Any,
    ) -> None:
        command(*arguments, making=_Making(output, detach, labels, as_json_here), **own)

    for option in (
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            help="Download the result to this file; to this folder, for several.",
        ),
        click.option("--detach", is_flag=True, help="Print the job's name and leave."),
        click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Mark the job."),
        # Also accepted after the command, where people look for it.
        click.option("--json", "as_json_here", is_flag=True, help="As `apigpu --json`."),
    ):
        bundled = option(bundled)
    return bundled


def _make(options: Options, build: Callable[[_Session], Awaitable[Job]], making: _Making) -> None:
    """Build a job, have it done, follow it."""
    options = Options(options.server, options.as_json or making.as_json, making.detach)

    async def work(session: _Session) -> Exit:
        job = await build(session)
        for label in making.labels:
            key, _, value = label.partition("=")
            job.labels[key] = value
        if making.detach:
            created = await session.client.create_job(job)
            click.echo(created.name)
            return Exit.DONE
        wishes = follow.Wishes(session.options.console, options.as_json, making.output)
        return await follow.follow(session.client, session.client.run(job), session.display, wishes)

    _run(options, work)


@main.command()
@click.argument("video")
@click.argument("subtitles")
@_job_options
@click.pass_obj
def caption(options: Options, /, video: str, subtitles: str, making: _Making) -> None:
    """Burn SUBTITLES (SRT, VTT, ASS) into VIDEO."""

    async def build(session: _Session) -> Job:
        return jobs.caption(await session.source(video), await session.source(subtitles))

    _make(options, build, making)


@main.command("add-audio")
@click.argument("video")
@click.argument("audio")
@_job_options
@click.pass_obj
def add_audio(options: Options, /, video: str, audio: str, making: _Making) -> None:
    """Give VIDEO the sound of AUDIO; ends with the shorter of the two."""

    async def build(session: _Session) -> Job:
        return jobs.add_audio(await session.source(video), await session.source(audio))

    _make(options, build, making)


def _pair(form: str, kind: Callable[[str], Any], separator: str) -> Callable[..., Any]:
    def parse(context: click.Context, option: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            first, second = value.split(separator)
            return kind(first), kind(second)
        except ValueError:
            raise click.BadParameter(f"must look like {form}") from None

    return parse


@main.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--duration", default=5.0, show_default=True, help="Seconds for each clip.")
@click.option("--zoom", type=float, help="How much larger at the end. Default: 1.324.")
@click.option(
    "--focal-point",
    callback=_pair("0.5,0.3", float, ","),
    metavar="X,Y",
    help="Where to zoom in, in parts of width and height. Default: 0.5,0.5.",
)
@click.option(
    "--size", callback=_pair("1920x1080", int, "x"), metavar="WxH", help="Default: 1920x1080."
)
@click.option("--fps", type=float, help="Frames per second. Default: 24.")
@_job_options
@click.pass_obj
def animate(
    options: Options,
    /,
    images: Sequence[str],
    duration: float,
    zoom: float | None,
    focal_point: tuple[float, float] | None,
    size: tuple[int, int] | None,
    fps: float | None,
    making: _Making,
) -> None:
    """Turn IMAGES into clips that slowly zoom in (Ken Burns)."""
    width, height = size or (None, None)
    clip = jobs.ClipOptions(zoom, focal_point, width, height, fps)

    async def build(session: _Session) -> Job:
        ids = jobs.item_ids(images)
        sources = {i: await session.source(image) for i, image in zip(ids, images, strict=True)}
        return jobs.images_to_videos(sources, [duration] * len(ids), clip)

    _make(options, build, making)


@main.command()
@click.argument("spec", type=click.File(encoding="utf-8"))
@_job_options
@click.pass_obj
def run(options: Options, /, spec: Any, making: _Making) -> None:
    """Run a job from a JSON file (`-`: standard input). A uri may be a local path."""
    content = spec.read()
    base = Path() if spec.name == "<stdin>" else Path(spec.name).parent

    async def build(session: _Session) -> Job:
        job = specs.parse(content)
        await specs.send_local_media(job, base, lambda path: session.source(str(path)))
        return job

    _make(options, build, making)


@main.command()
@click.argument("job")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Download the results.")
@click.option("--after", default=0, help="Skip events up to this number.")
@click.pass_obj
def watch(options: Options, job: str, output: Path | None, after: int) -> None:
    """Follow JOB to its end, from wherever it is."""

    async def work(session: _Session) -> Exit:
        wishes = follow.Wishes(options.console, options.as_json, output, cancel_on_interrupt=False)
        events = session.client.watch(_named("jobs", job), after)
        return await follow.follow(session.client, events, session.display, wishes)

    _run(options, work)


def _named(collection: str, text_: str) -> str:
    return text_ if text_.startswith(f"{collection}/") else f"{collection}/{text_}"


@main.command()
@click.argument("job")
@click.pass_obj
def get(options: Options, job: str) -> None:
    """Show JOB as it stands now."""

    async def work(session: _Session) -> None:
        found = await session.client.get_job(_named("jobs", job))
        if options.as_json:
            follow.print_json(found)
            return
        options.console.print(text.job_list([found], options.console.width))
        options.console.print(text.results(found, {}))

    _run(options, work)


@main.command("list")
@click.option(
    "--filter", "filter_", default="", help='For example: state = RUNNING AND labels.show = "news"'
)
@click.option("--limit", default=_MAX_LISTED, show_default=True, help="How many at most.")
@click.pass_obj
def list_(options: Options, filter_: str, limit: int) -> None:
    """List jobs, newest first."""

    async def work(session: _Session) -> None:
        found: list[Job] = []
        async for job in session.client.list_jobs(filter_, min(limit, 1000)):
            found.append(job)
            if options.as_json:
                follow.print_json(job)
            if len(found) >= limit:
                break
        options.console.print(text.job_list(found, options.console.width))

    _run(options, work)


@main.command()
@click.argument("job")
@click.pass_obj
def cancel(options: Options, job: str) -> None:
    """Stop JOB."""

    async def work(session: _Session) -> None:
        found = await session.client.cancel_job(_named("jobs", job))
        if options.as_json:
            follow.print_json(found)
        options.console.print(f"{found.name} {text.state_words(found.state)}")

    _run(options, work)


@main.command()
@click.argument("name")
@click.option(
    "-o", "--output", default=Path(), type=click.Path(path_type=Path), help="File or folder."
)
@click.pass_obj
def download(options: Options, name: str, output: Path) -> None:
    """Download the results of a job, or one file (files/...)."""
    options = Options(options.server, options.as_json, names_only=True)

    async def work(session: _Session) -> None:
        if name.startswith("files/"):
            path = output / name.removeprefix("files/") if output.is_dir() else output
            saved = [await session.client.download(name, path)]
        else:
            job = await session.client.get_job(_named("jobs", name))
            paths = await follow.download_outputs(session.client, job, session.display, output)
            saved = list(paths.values())
        for path in saved:
            click.echo(path)

    _run(options, work)


@main.command()
@click.pass_obj
def info(options: Options) -> None:
    """Show what the service and its workers can do."""

    async def work(session: _Session) -> None:
        click.echo(text.server_info(await session.client.server_info()))

    _run(options, work)


@main.command()
@click.option("--listen", help="Address for gRPC, host:port. Default: 127.0.0.1:50051.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of jobs and files.")
def serve(listen: str | None, data_dir: Path | None) -> None:
    """Start the service here, with a worker on this machine."""
    if listen:
        os.environ["APIGPU_LISTEN"] = listen
    if data_dir:
        os.environ["APIGPU_DATA_DIR"] = str(data_dir)
    # Another program, not an import: the client knows the contract alone.
    os.execv(sys.executable, [sys.executable, "-m", "orchestrator"])  # noqa: S606
