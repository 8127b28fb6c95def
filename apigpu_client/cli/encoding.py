"""The options of commands whose result is encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.operations_pb2 import VideoEncoding

from apigpu_client.cli.words import Words

_CODECS = Words(contract.VideoCodec, "VIDEO_CODEC_")
_KINDS = Words(contract.EncoderKind, "ENCODER_KIND_")

Command = Callable[..., Any]


def encoding(command: Command) -> Command:
    """Adds --codec, --quality and --encoder; `encoded` makes a message of their values."""
    for option in (
        click.option("--encoder", type=_KINDS.choice, help="Default: what works."),
        click.option(
            "--quality", type=int, help="1 (best) to 51, as x264's CRF counts. Default: 23."
        ),
        click.option("--codec", type=_CODECS.choice, help="Default: h264."),
    ):
        command = option(command)
    return command


def encoded(codec: str | None, quality: int | None, encoder: str | None) -> VideoEncoding | None:
    """The contract's message, or None where nothing was asked for."""
    if codec is None and quality is None and encoder is None:
        return None
    return VideoEncoding(codec=_CODECS.value(codec), quality=quality, encoder=_KINDS.value(encoder))
