"""The command group `apigpu`. What the commands do stands in the modules beside this one."""

from __future__ import annotations

from importlib.metadata import version

import click

from apigpu_client.cli import add_audio, animate, caption, doctor, keys, looking, making, webhooks
from apigpu_client.cli import options as common
from apigpu_client.cli.options import Options


@click.group(context_settings={"help_option_names": ["-h", "--help"], "obj": Options()})
@click.version_option(version("api-gpu"))
@common.before_any
def main() -> None:
    """Make videos: captions, moving pictures, sound. Media are local files or URLs."""


for _command in (
    caption.caption,
    animate.animate,
    add_audio.add_audio,
    making.run,
    looking.watch,
    looking.get,
    looking.list_,
    looking.cancel,
    looking.retry,
    looking.download,
    looking.info,
    looking.backend,
    doctor.doctor,
    looking.serve,
    looking.deploy,
    looking.backup,
    keys.keys,
    webhooks.webhooks,
):
    main.add_command(_command)
