"""`apigpu caption`: a video gets captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.operations_pb2 import Caption, CaptionStyle

from apigpu_client.cli import options as common
from apigpu_client.cli.encoding import encoded, encoding
from apigpu_client.cli.making import make
from apigpu_client.cli.options import Options
from apigpu_client.cli.words import Words

_POSITIONS = Words(contract.CaptionPosition, "CAPTION_POSITION_")


@click.command()
@click.argument("video")
@click.argument("subtitles")
@click.option("--soft", is_flag=True, help="As a track that players can switch on.")
@click.option("--language", metavar="TAG", help="Of the captions, for example pt-BR.")
@click.option("--font", multiple=True, metavar="FILE", help="A font to draw with (TTF, OTF).")
@click.option("--font-name", metavar="FAMILY", help="Default: Noto Sans.")
@click.option("--size", type=float, help="Of the text, if the video had 1080 rows. Default: 58.")
@click.option("--color", metavar="#RRGGBB", help="Default: #FFFFFF.")
@click.option("--outline-color", metavar="#RRGGBB", help="Default: #000000.")
@click.option("--outline", type=float, help="Width. Default: 3.5.")
@click.option("--shadow", type=float, help="Distance. Default: 1.")
@click.option("--box-color", metavar="#RRGGBBAA", help="Default: no box.")
@click.option("--position", type=_POSITIONS.choice, help="Default: bottom.")
@click.option("--margin-x", type=float, help="From the sides. Default: 60.")
@click.option("--margin-y", type=float, help="From top or bottom. Default: 56.")
@click.option("--bold/--no-bold", default=None, help="Default: bold.")
@click.option("--italic/--no-italic", default=None, help="Default: not italic.")
@click.option("--uppercase", is_flag=True, help="All in capital letters.")
@click.option(
    "--allow-missing-glyphs", is_flag=True, help="Draw what fonts have, warn of the rest."
)
@encoding
@common.making
@click.pass_obj
def caption(
    options: Options,
    /,
    video: str,
    subtitles: str,
    soft: bool,
    language: str | None,
    font: Sequence[str],
    codec: str | None,
    quality: int | None,
    encoder: str | None,
    allow_missing_glyphs: bool,
    **look: Any,
) -> None:
    """Draw SUBTITLES (SRT, VTT, ASS) into VIDEO.

    Lengths are in pixels of a video with 1080 rows, and scale along.
    """
    request = Caption(
        mode=contract.CAPTION_MODE_SOFT if soft else contract.CAPTION_MODE_UNSPECIFIED,
        language=language or "",
        allow_missing_glyphs=allow_missing_glyphs,
        style=_style(**look),
        encoding=encoded(codec, quality, encoder),
    )
    make(
        options,
        1,
        lambda session: session.client.caption(video, subtitles, request, font, session.uploading),
    )


def _style(font_name: str | None, position: str | None, **same_name: Any) -> CaptionStyle | None:
    """The look, or None where nothing was said of it."""
    given = {name: value for name, value in same_name.items() if value is not None}
    style = CaptionStyle(font=font_name or "", position=_POSITIONS.value(position), **given)
    return style if style.ByteSize() else None
