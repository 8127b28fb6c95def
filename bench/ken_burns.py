"""How long a zoom over a photograph takes, beside the filter graph that most people use for it.

    make bench

Baseline: FFmpeg's zoompan after an upscale to 6720x3840. Every row is measured in this run, the
best of three; trust the ratios, not the seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gpu_worker.media.clip import Clip, renderer
from gpu_worker.media.encoders import SOFTWARE_H264, bundled_ffmpeg
from gpu_worker.media.motion import Motion

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "demo" / "media" / "01-mountain-path.jpg"
RESULTS = ROOT / "build" / "bench" / "ken_burns.json"
FRAMES, RATE, SIZE, ZOOM = 120, 24, (1920, 1080), 1.324
RUNS = 3

FFMPEG: list[str | Path] = [bundled_ffmpeg(), "-v", "error", "-nostdin", "-y"]
OLD_GRAPH = (
    f"scale=6720:3840:flags=lanczos,zoompan=z='min(1+0.324*on/{FRAMES},{ZOOM})'"
    f":d={FRAMES}:s={SIZE[0]}x{SIZE[1]}:fps={RATE}"
)
RAW = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(RATE)]
ENCODE = ["-c:v", SOFTWARE_H264.name, *SOFTWARE_H264.options, "-pix_fmt", "yuv420p"]


def best_s(work: Callable[[], object]) -> float:
    times_s = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - start)
    return min(times_s)


def run(*command: str | Path, **options: object) -> None:
    subprocess.run(list(map(str, command)), check=True, timeout=300, **options)  # type: ignore[call-overload]


def render_and_encode(render: list[str | Path], target: Path) -> None:
    with subprocess.Popen(list(map(str, render)), stdout=subprocess.PIPE) as frames:
        run(*FFMPEG, *RAW, "-i", "pipe:0", *ENCODE, target, stdin=frames.stdout)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="apigpu-bench-") as folder:
        work = Path(folder)
        clip = Clip(str(PHOTO), "JPEG", *SIZE, FRAMES, Motion(ZOOM), threads=2)
        render = renderer(clip, work)
        raw, target = work / "frames.yuv", work / "out.mp4"
        with raw.open("wb") as file:
            run(*render, stdout=file)
        old = [*FFMPEG, "-i", PHOTO, "-vf", OLD_GRAPH]
        times_s = {
            "zoompan, frames only": best_s(lambda: run(*old, "-f", "null", "-")),
            "ours, frames only": best_s(lambda: run(*render, stdout=subprocess.DEVNULL)),
            "encoding alone": best_s(lambda: run(*FFMPEG, *RAW, "-i", raw, *ENCODE, target)),
            "zoompan and encoding": best_s(lambda: run(*old, *ENCODE, target)),
            "ours and encoding": best_s(lambda: render_and_encode(render, target)),
        }
    frames_ratio = times_s["zoompan, frames only"] / times_s["ours, frames only"]
    whole_ratio = times_s["zoompan and encoding"] / times_s["ours and encoding"]
    over_encode = times_s["ours and encoding"] / times_s["encoding alone"]
    print(f"{PHOTO.name}, {FRAMES} frames of {SIZE[0]}x{SIZE[1]}, best of {RUNS}:")
    for name, seconds in times_s.items():
        print(f"  {name:<24}{seconds:7.2f} s")
    print(f"frames alone: {frames_ratio:.1f} times as fast as zoompan")
    print(f"end to end:   {whole_ratio:.1f} times as fast as zoompan")
    print(f"ours and encoding takes {over_encode:.2f} of encoding alone")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(times_s, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
