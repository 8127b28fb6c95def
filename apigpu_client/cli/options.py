"""What all commands share: their options, their connection, and how they end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import grpc
from rich.console import Console

from apigpu_client import channel
from apigpu_client.cli import exits
from apigpu_client.cli.display import Display
from apigpu_client.cli.exits import Exit
from apigpu_client.cli.saving import Place
from apigpu_client.cli.words import Seconds
from apigpu_client.client import VideoClient
from apigpu_client.errors import ApiGpuError, from_rpc_error


@dataclass(frozen=True)
class Options:
    """as_json: one object a line on standard output. output: where results go, or None to
    leave them with the service. detach: create the job and leave. names_only: standard
    output is for names that a program reads.
    """

    server: str = channel.DEFAULT_TARGET
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    cert_key: Path | None = None
    as_json: bool = False
    output: Place | None = None
    detach: bool = False
    names_only: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int | None = None
    queue_limit: float | None = None
    run_limit: float | None = None
    max_cost: float | None = None

    def console(self) -> Console:
        """For people. Standard output may belong to programs: events, or names."""
        to_stderr = self.as_json or self.detach or self.names_only
        return Console(stderr=to_stderr, quiet=self.as_json)

    def connect(self) -> VideoClient:
        """The key comes from the environment alone: arguments are seen by other users."""
        files = self.ca, self.cert, self.cert_key
        tls = channel.Tls(*files) if self.tls or any(files) else None
        return VideoClient(self.server, api_key=os.environ.get("APIGPU_API_KEY", ""), tls=tls)


def with_names_only(options: Options) -> Options:
    return replace(options, names_only=True)


@dataclass(frozen=True)
class Session:
    """One command's connection, and what it shows."""

    client: VideoClient
    display: Display
    console: Console
    options: Options

    def uploading(self, path: str, done: int, total: int) -> None:
        """Show how far an upload is."""
        self.display.transfer("upload", Path(path).name, done, total)


def run(options: Options, work: Callable[[Session], Awaitable[Exit | None]]) -> None:
    """Connect, do `work`, and leave with the right exit code."""
    try:
        code = asyncio.run(_session(options, work))
    except ApiGpuError as error:
        click.secho(exits.explain(error, options.server), fg="red", err=True)
        code = exits.of_error(error)
    except BrokenPipeError:  # the reader has had enough: click ends that quietly
        raise
    except (ValueError, OSError) as error:
        click.secho(exits.explain_local(error), fg="red", err=True)
        code = exits.of_local(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = Exit.INTERRUPTED
    sys.exit(code)


async def _session(options: Options, work: Callable[[Session], Awaitable[Exit | None]]) -> Exit:
    console = options.console()
    async with options.connect() as client:
        with Display(console) as display:
            try:
                return await work(Session(client, display, console, options)) or Exit.DONE
            except grpc.aio.AioRpcError as error:  # of a stub that a command calls by itself
                raise from_rpc_error(error) from None


# Options of commands. Each puts its value into the Options that `click.pass_obj` gives the
# command, so that `apigpu --json list` and `apigpu list --json` are the same.

Command = Callable[..., Any]


def _into(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value or (value == 0 and value is not False):
            context.obj = replace(context.find_object(Options) or Options(), **{name: value})

    return keep


def _output(context: click.Context, option: click.Parameter, value: str | None) -> None:
    _into("output")(context, option, Place.parse(value) if value else None)


def _labels(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> None:
    pairs = [label.partition("=") for label in value]
    if not all(key and equals for key, equals, _ in pairs):
        raise click.BadParameter("must look like show=news")
    _into("labels")(context, option, {key: text for key, _, text in pairs})


_SERVER = partial(
    click.option,
    "--server",
    metavar="HOST:PORT",
    help=f"Address of the service. Default: $APIGPU_SERVER or {channel.DEFAULT_TARGET}.",
    callback=_into("server"),
    expose_value=False,
)
_JSON = click.option(
    "--json",
    is_flag=True,
    help="One JSON object a line, for programs.",
    callback=_into("as_json"),
    expose_value=False,
)
_OUTPUT = click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="Download the result to this file; to this folder, for several.",
    callback=_output,
    expose_value=False,
)
_DETACH = click.option(
    "--detach",
    is_flag=True,
    help="Print the job's name and leave.",
    callback=_into("detach"),
    expose_value=False,
)
_LABEL = click.option(
    "--label",
    multiple=True,
    metavar="KEY=VALUE",
    help="Mark the job.",
    callback=_labels,
    expose_value=False,
)

_PRIORITY = click.option(
    "--priority",
    type=click.IntRange(0, 100),
    help="Higher goes first. Default: 50.",
    callback=_into("priority"),
    expose_value=False,
)
_QUEUE_LIMIT = click.option(
    "--queue-limit",
    type=Seconds(),
    help="Fail when no worker has begun after so long: 90s, 10m, 2h.",
    callback=_into("queue_limit"),
    expose_value=False,
)
_RUN_LIMIT = click.option(
    "--run-limit",
    type=Seconds(),
    help="Fail what is not done so long after a worker has begun.",
    callback=_into("run_limit"),
    expose_value=False,
)

_MAX_COST = click.option(
    "--max-cost",
    type=click.FloatRange(min=0.000001),
    metavar="DOLLARS",
    help="Stop the job when it has cost so much: 0.05.",
    callback=_into("max_cost"),
    expose_value=False,
)


def _pem(flag: str, name: str, help_: str) -> Callable[[Command], Command]:
    return click.option(
        flag,
        envvar=f"APIGPU_{name.upper()}",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"{help_} (PEM). Default: $APIGPU_{name.upper()}.",
        callback=_into(name),
        expose_value=False,
    )


_TLS = click.option(
    "--tls",
    is_flag=True,
    envvar="APIGPU_TLS",
    help="Connect over TLS; the other TLS options imply it. The API key comes from"
    " $APIGPU_API_KEY.",
    callback=_into("tls"),
    expose_value=False,
)
_CA = _pem("--ca", "ca", "Who must have signed the service's certificate")
_CERT = _pem("--cert", "cert", "Our own certificate")
_CERT_KEY = _pem("--cert-key", "cert_key", "The private key of our certificate")


def before_any(command: Command) -> Command:
    """Options before the command's name. Only here does the environment count: below, it
    would beat what was said here."""
    return _SERVER(envvar="APIGPU_SERVER")(_TLS(_CA(_CERT(_CERT_KEY(_JSON(command))))))


def everywhere(command: Command) -> Command:
    """Options of every command."""
    return _SERVER()(_JSON(command))


def detaching(command: Command) -> Command:
    """Options of commands that follow a job that is made of another."""
    return _DETACH(saving(command))


def saving(command: Command) -> Command:
    """Options of commands that may download results."""
    return _OUTPUT(everywhere(command))


def making(command: Command) -> Command:
    """Options of commands that make a job."""
    return _DETACH(_LABEL(_PRIORITY(_QUEUE_LIMIT(_RUN_LIMIT(_MAX_COST(saving(command)))))))
