"""`apigpu animate`: pictures become clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.operations_pb2 import ImagesToVideos, Motion

from apigpu_client.cli import options as common
from apigpu_client.cli.encoding import encoded, encoding
from apigpu_client.cli.making import make
from apigpu_client.cli.options import Options
from apigpu_client.cli.words import Words

_FITS = {
    "cover": contract.FIT_COVER,
    "blur": contract.FIT_CONTAIN_BLUR,
    "color": contract.FIT_CONTAIN_COLOR,
}


def _pair(form: str, kind: Callable[[str], Any], separator: str) -> Callable[..., Any]:
    """A parser of two values, for example 1920x1080."""

    def parse(context: click.Context, option: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            first, second = value.split(separator)
            return kind(first), kind(second)
        except ValueError:
            raise click.BadParameter(f"must look like {form}") from None

    return parse


_ZOOM_DIRECTIONS = Words(contract.ZoomDirection, "ZOOM_DIRECTION_")
_PANS = Words(contract.PanDirection, "PAN_DIRECTION_")
_EASINGS = Words(contract.Easing, "EASING_")


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--duration", default=5.0, show_default=True, help="Seconds for each clip.")
@click.option("--zoom", type=float, help="How much closer the closest view is. Default: 1.324.")
@click.option(
    "--zoom-direction",
    type=_ZOOM_DIRECTIONS.choice,
    help="Default: in; hold with --pan.",
)
@click.option("--pan", type=_PANS.choice, help="Where the view travels.")
@click.option("--easing", type=_EASINGS.choice, help="Default: linear.")
@click.option(
    "--focal-point",
    callback=_pair("0.5,0.3", float, ","),
    metavar="X,Y",
    help="Where to zoom in, in parts of width and height. Default: 0.5,0.5.",
)
@click.option(
    "--fit",
    type=click.Choice(list(_FITS)),
    help="Crop to the clip's shape, or add blurred or coloured bars. Default: cover.",
)
@click.option("--bar-color", metavar="#RRGGBB", help="With --fit color. Default: #000000.")
@click.option(
    "--size", callback=_pair("1920x1080", int, "x"), metavar="WxH", help="Default: 1920x1080."
)
@click.option("--fps", type=float, help="Frames per second. Default: 24.")
@encoding
@common.making
@click.pass_obj
def animate(
    options: Options,
    /,
    images: Sequence[str],
    duration: float,
    size: tuple[int, int] | None,
    fps: float | None,
    fit: str | None,
    bar_color: str | None,
    codec: str | None,
    quality: int | None,
    encoder: str | None,
    **move: Any,
) -> None:
    """Turn IMAGES into clips over which a camera moves (Ken Burns).

    The default is a slow zoom on the centre.
    """
    width, height = size or (None, None)
    batch = ImagesToVideos(
        width=width,
        height=height,
        frame_rate=fps,
        fit=_FITS[fit] if fit else contract.FIT_UNSPECIFIED,
        bar_color=bar_color or "",
        motion=_motion(**move),
        encoding=encoded(codec, quality, encoder),
    )
    make(
        options,
        len(images),
        lambda session: session.client.images_to_videos(images, duration, batch, session.uploading),
    )


def _motion(
    zoom: float | None,
    zoom_direction: str | None,
    pan: str | None,
    easing: str | None,
    focal_point: tuple[float, float] | None,
) -> Motion | None:
    """The move, or None where the service's default will do."""
    motion = Motion(
        zoom=zoom,
        zoom_direction=_ZOOM_DIRECTIONS.value(zoom_direction),
        pan=_PANS.value(pan),
        easing=_EASINGS.value(easing),
    )
    if focal_point is not None:
        motion.focal_point.x, motion.focal_point.y = focal_point
        motion.focal_point.SetInParent()
    return motion if motion.ByteSize() else None
