"""The commands that show what a job's webhook was told, and tell it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from apigpu.video.v1 import webhook_service_pb2 as rpc
from apigpu.video.v1.webhook_service_pb2_grpc import WebhookServiceStub
from rich.table import Table

from apigpu_client.cli import options as common
from apigpu_client.cli.follow import print_json
from apigpu_client.cli.options import Options, Session
from apigpu_client.cli.words import job_name

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.video.v1.webhook_service_pb2_grpc import WebhookServiceAsyncStub

_STATE = rpc.WebhookDelivery.State


@click.group()
def webhooks() -> None:
    """Look at what jobs' webhooks were told."""


@webhooks.command("list")
@click.argument("job")
@common.everywhere
@click.pass_obj
def list_(options: Options, job: str) -> None:
    """List what JOB's webhook was told, or is still to be told."""

    async def work(session: Session) -> None:
        found = await _stub(session).ListWebhookDeliveries(
            rpc.ListWebhookDeliveriesRequest(job=job_name(job))
        )
        if options.as_json:
            for delivery in found.deliveries:
                print_json(delivery)
        else:
            session.console.print(_table(found))

    common.run(options, work)


@webhooks.command()
@click.argument("job")
@click.argument("sequence", type=click.IntRange(1))
@common.everywhere
@click.pass_obj
def resend(options: Options, job: str, sequence: int) -> None:
    """Tell the event with this SEQUENCE again, whatever came of it before."""

    async def work(session: Session) -> None:
        again = await _stub(session).ResendWebhook(
            rpc.ResendWebhookRequest(job=job_name(job), sequence=sequence)
        )
        if options.as_json:
            print_json(again)
        else:
            click.echo(f"{again.type} of {again.job} is told again")

    common.run(options, work)


@webhooks.command()
@common.everywhere
@click.pass_obj
def secret(options: Options) -> None:
    """Print the secret that your webhooks are signed with."""

    async def work(session: Session) -> None:
        found = await _stub(session).GetWebhookSecret(rpc.GetWebhookSecretRequest())
        click.echo(found.secret)

    common.run(options, work)


def _stub(session: Session) -> WebhookServiceAsyncStub:
    return WebhookServiceStub(session.client.channel)


def _table(found: rpc.ListWebhookDeliveriesResponse) -> Table:
    table = Table("sequence", "type", "state", "tries", "status", "what went wrong", box=None)
    for each in found.deliveries:
        table.add_row(
            str(each.sequence),
            each.type,
            _STATE.Name(each.state).lower().replace("_", " "),
            str(each.attempts),
            str(each.last_status or ""),
            each.last_error,
        )
    return table
