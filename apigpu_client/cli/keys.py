"""The commands that manage API keys; they need a key with the scope admin."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from apigpu.admin.v1 import key_service_pb2 as admin
from apigpu.admin.v1.key_service_pb2_grpc import KeyServiceStub
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Column, Table

from apigpu_client.cli import options as common
from apigpu_client.cli.follow import print_json
from apigpu_client.cli.options import Options, Session

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.admin.v1.key_service_pb2_grpc import KeyServiceAsyncStub

_SCOPES = {
    "jobs.read": admin.SCOPE_JOBS_READ,
    "jobs.write": admin.SCOPE_JOBS_WRITE,
    "files": admin.SCOPE_FILES,
    "admin": admin.SCOPE_ADMIN,
}
_COUNT = click.IntRange(0)


@click.group()
def keys() -> None:
    """Manage API keys. Once there is one, every call needs one."""


@keys.command()
@click.option("--owner", default="", help="Whose jobs and files it sees. Default: default.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([*_SCOPES]),
    help="What it is for; repeat it for several. Default: all but admin.",
)
@click.option("--title", default="", help="Where it is used, for people.")
@click.option("--days", type=click.FloatRange(0, min_open=True), help="How long it is good.")
@click.option("--replaces", default="", metavar="KEY", help="The key that it takes the place of.")
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0),
    help="How long the replaced key stays good. Default: 24.",
)
@click.option("--max-requests", default="", help="Calls in a time, like 100/minute.")
@click.option("--max-streams", type=_COUNT, default=0, help="Streams open at the same time.")
@click.option("--max-jobs", type=_COUNT, default=0, help="Its owner's jobs that have not ended.")
@click.option("--max-stored-bytes", type=_COUNT, default=0, help="What its owner's files take.")
@click.option("--max-upload-bytes", type=_COUNT, default=0, help="Longest file.")
@common.everywhere
@click.pass_obj
def create(
    options: Options,
    /,
    owner: str,
    scopes: tuple[str, ...],
    title: str,
    days: float | None,
    replaces: str,
    overlap_hours: float | None,
    **limits: Any,
) -> None:
    """Make a key, and print it: it cannot be shown again. Limits that are not given are as the
    service's settings say."""
    request = admin.CreateKeyRequest(
        owner=owner,
        scopes=[_SCOPES[scope] for scope in scopes],
        title=title,
        replaces=_name(replaces) if replaces else "",
    )
    if any(limits.values()):
        given = {name.removeprefix("max_"): value for name, value in limits.items()}
        request.limits.CopyFrom(admin.KeyLimits(**given))
    if days is not None:
        request.lifetime.FromTimedelta(timedelta(days=days))
    if overlap_hours is not None:
        request.overlap.FromTimedelta(timedelta(hours=overlap_hours))

    async def work(session: Session) -> None:
        made = await _stub(session).CreateKey(request)
        if options.as_json:
            print_json(made)
        else:
            click.echo(made.token)
            click.echo(f"{made.key.name} of {made.key.owner}: keep it now", err=True)

    common.run(options, work)


@keys.command("list")
@click.option("--owner", default="", help="Only this owner's.")
@common.everywhere
@click.pass_obj
def list_(options: Options, owner: str) -> None:
    """List keys, newest first."""

    async def work(session: Session) -> None:
        found = await _stub(session).ListKeys(admin.ListKeysRequest(owner=owner))
        if options.as_json:
            for key in found.keys:
                print_json(key)
        else:
            session.console.print(_table(found))

    common.run(options, work)


@keys.command()
@click.argument("key")
@common.everywhere
@click.pass_obj
def revoke(options: Options, key: str) -> None:
    """End KEY at once."""

    async def work(session: Session) -> None:
        ended = await _stub(session).RevokeKey(admin.RevokeKeyRequest(name=_name(key)))
        if options.as_json:
            print_json(ended)
        else:
            click.echo(f"{ended.name} is revoked")

    common.run(options, work)


def _stub(session: Session) -> KeyServiceAsyncStub:
    return KeyServiceStub(session.client.channel)


def _name(argument: str) -> str:
    """The id, the resource name, or the key itself, whatever is at hand."""
    if argument.startswith("apigpu_"):
        argument = argument.split("_")[1]
    return argument if argument.startswith("keys/") else f"keys/{argument}"


def _table(found: admin.ListKeysResponse) -> Table:
    table = Table(
        Column("key", no_wrap=True),  # it is copied from here
        *("owner", "scopes", "title", "made", "ends", "last used", "limits"),
        box=None,
    )
    words = {number: name for name, number in _SCOPES.items()}
    for key in found.keys:
        ends = "revoked" if key.HasField("revoke_time") else _date(key.expire_time, "never")
        table.add_row(
            key.name.removeprefix("keys/"),
            key.owner,
            " ".join(words[scope] for scope in key.scopes),
            key.title,
            _date(key.create_time),
            ends,
            _date(key.last_use_time, "never"),
            " ".join(f"{field.name}={value}" for field, value in key.limits.ListFields()),
        )
    return table


def _date(at: Timestamp, unset: str = "") -> str:
    return f"{at.ToDatetime():%Y-%m-%d %H:%M}" if at.seconds else unset
