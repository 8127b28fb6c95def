"""`apigpu add-audio`: a video gets another sound."""

from __future__ import annotations

import click
from apigpu.video.v1 import operations_pb2 as contract
from apigpu.video.v1.operations_pb2 import AddAudio, LoudnessTarget

from apigpu_client.cli import options as common
from apigpu_client.cli.encoding import encoded, encoding
from apigpu_client.cli.making import make
from apigpu_client.cli.options import Options
from apigpu_client.cli.words import Words

_MODES = Words(contract.VideoMode, "VIDEO_MODE_")
_ENDS = Words(contract.EndPolicy, "END_POLICY_")
_FILLS = Words(contract.Fill, "FILL_")


@click.command("add-audio")
@click.argument("video")
@click.argument("audio")
@click.option("--end", type=_ENDS.choice, help="What the result ends with. Default: shorter.")
@click.option(
    "--fill",
    type=_FILLS.choice,
    help="After the shorter one: silence and the last picture, or again. Default: pad.",
)
@click.option(
    "--video-mode", type=_MODES.choice, help="Default: copy the picture where that is exact."
)
@click.option("--loudness", type=float, metavar="LUFS", help="For example -14. Default: as it is.")
@click.option("--true-peak", type=float, metavar="DBTP", help="With --loudness. Default: -1.")
@encoding
@common.making
@click.pass_obj
def add_audio(
    options: Options,
    /,
    video: str,
    audio: str,
    end: str | None,
    fill: str | None,
    video_mode: str | None,
    loudness: float | None,
    true_peak: float | None,
    codec: str | None,
    quality: int | None,
    encoder: str | None,
) -> None:
    """Give VIDEO the sound of AUDIO.

    The result ends with the shorter of the two, unless --end says otherwise.
    """
    if true_peak is not None and loudness is None:
        raise click.UsageError("--true-peak says something only with --loudness")
    target = LoudnessTarget(integrated=loudness, true_peak=true_peak)
    request = AddAudio(
        video_mode=_MODES.value(video_mode),
        end=_ENDS.value(end),
        fill=_FILLS.value(fill),
        loudness=target if loudness is not None else None,
        encoding=encoded(codec, quality, encoder),
    )
    make(
        options,
        1,
        lambda session: session.client.add_audio(video, audio, request, session.uploading),
    )
