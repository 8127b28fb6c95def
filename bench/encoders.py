"""`python -m bench.encoders [FILM...]`: every software profile at three qualities, on a zoom over a
photograph and on the films that are named. The tables of docs/encoders.md come from here."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import common, quality, zoom
from gpu_worker.media.cpu import available_cpus
from gpu_worker.media.encoders import EncodeOptions
from gpu_worker.media.process import QUIET
from gpu_worker.media.profiles import CODECS, Profile, profile

_QUALITIES = (18, 23, 28)


def zoomed(work: Path) -> Path:
    """The frames of a zoom, without loss."""
    raw, target = work / "frames.yuv", work / "zoom.mkv"
    with raw.open("wb") as file:
        common.run(zoom.render_command(zoom.photo(work), work), stdout=file)
    common.run([*common.FFMPEG, *zoom.RAW, "-i", raw, *common.LOSSLESS, target])
    raw.unlink()
    return target


def kept(film: Path, work: Path) -> Path:
    """The frames of a film, each as long as another, without loss."""
    target = work / "film.mkv"
    even = "crop=trunc(iw/2)*2:trunc(ih/2)*2"
    common.run([*common.FFMPEG, "-i", film, "-an", "-vf", even, *common.LOSSLESS, target])
    return target


def told(frames: Path, chosen: Profile, work: Path) -> str:
    """CPU seconds, size and VMAF."""
    target = work / f"{chosen.name}.mp4"
    options = EncodeOptions(chosen, available_cpus()).arguments(common.RATE)
    command = [*common.FFMPEG, "-i", frames, *options, target]
    took = common.cost(lambda: common.run(command))
    vmaf = quality.vmaf(target, frames, work)
    mean = sum(vmaf) / len(vmaf)
    size_mb = target.stat().st_size / 1e6
    return f"{took.cpu_s:.1f} s, {size_mb:.2f} MB, {mean:.1f} ({min(vmaf):.1f})"


def main() -> None:
    os.environ.update(QUIET)
    table = Table("", "quality", *(profile(codec, hardware=False).name for codec in CODECS))
    with tempfile.TemporaryDirectory(prefix="apigpu-encoders-") as folder:
        work = Path(folder)
        clips = {"zoom": zoomed(work)}
        for film in map(Path, sys.argv[1:]):
            clips[film.stem] = kept(film, work).rename(work / f"{len(clips)}.mkv")
        for name, frames in clips.items():
            for asked in _QUALITIES:
                profiles = (profile(codec, hardware=False, quality=asked) for codec in CODECS)
                results = [told(frames, chosen, work) for chosen in profiles]
                table.add_row(name, str(asked), *results)
    Console().print(table)


if __name__ == "__main__":
    main()
