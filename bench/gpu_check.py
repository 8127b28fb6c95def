"""`make gpu-check`: every encoder that works here on the same clip, beside software.

For someone who has a GPU: says what works and why not, and how long, how large and how good each
one's file is.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import common, quality, zoom
from gpu_worker.media.encoders import discover
from gpu_worker.media.process import QUIET
from gpu_worker.media.profiles import ALL, Profile


def encode(raw: Path, profile: Profile, target: Path) -> None:
    options = ("-c:v", profile.name, *profile.options, "-pix_fmt", "yuv420p")
    common.run([*common.FFMPEG, *zoom.RAW, "-i", raw, *options, target])


def main() -> None:
    os.environ.update(QUIET)
    console = Console()
    tools = asyncio.run(discover(None))
    probes = {probe.name: probe for probe in tools.encoders}
    table = Table("encoder", "wall s", "MB", "VMAF mean", "VMAF worst", "")
    with tempfile.TemporaryDirectory(prefix="apigpu-gpu-check-") as folder:
        work = Path(folder)
        raw, reference = work / "frames.yuv", work / "reference.mkv"
        with raw.open("wb") as file:
            common.run(zoom.render_command(zoom.photo(work), work), stdout=file)
        common.run([*common.FFMPEG, *zoom.RAW, "-i", raw, *common.LOSSLESS, reference])
        for profile in ALL:
            probe = probes[profile.name]
            if not probe.works:
                table.add_row(profile.name, "", "", "", "", f"does not work: {probe.reason}")
                continue
            target = work / f"{profile.name}.mp4"
            (took,) = common.best(lambda p=profile, t=target: encode(raw, p, t))  # type: ignore[misc]
            vmaf = quality.vmaf(target, reference, work)
            size = f"{target.stat().st_size / 1e6:.2f}"
            mean, worst = f"{sum(vmaf) / len(vmaf):.1f}", f"{min(vmaf):.1f}"
            table.add_row(profile.name, f"{took.wall_s:.2f}", size, mean, worst, "works")
    console.print(f"FFmpeg {tools.ffmpeg_version}, a clip of {zoom.FRAMES} frames, quality 23:")
    console.print(table)


if __name__ == "__main__":
    main()
