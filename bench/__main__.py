"""`make bench`: measure every promise against its baseline in one run, on this machine.

Prints a table, writes build/bench/results.json and draws the plots beside it. Trust the ratios,
not the seconds; and only those of a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import captions, common, memory, plots, quality, sound, zoom
from bench.common import Bar, Cost
from gpu_worker.media.process import QUIET

OUTPUT = common.ROOT / "build" / "bench"
_SHORT_FRAMES, _LONG_FRAMES = 120, 1200


def time_bars(times: dict[str, Cost]) -> list[Bar]:
    def ratio(over: str, under: str) -> float:
        return times[over].wall_s / times[under].wall_s

    return [
        Bar(
            "zoom: frames alone, times as fast as the old graph",
            ratio("old graph, frames alone", "ours, frames alone"),
            4,
            at_least=True,
        ),
        Bar(
            "zoom: with encoding, times as fast as the old graph and its encoder",
            ratio("old graph and its encoder", "ours and encoding"),
            1.7,
            at_least=True,
            reach=ratio("old graph and its encoder", "encoding alone"),
        ),
        Bar(
            "zoom: with encoding, times as fast as the old graph and our encoder",
            ratio("old graph and our encoder", "ours and encoding"),
            None,
            reach=ratio("old graph and our encoder", "encoding alone"),
        ),
        Bar(
            "zoom: with encoding, times as fast as the old product's last release",
            ratio("last release and encoding", "ours and encoding"),
            1.7,
            at_least=True,
        ),
        Bar("zoom: over encoding alone", ratio("ours and encoding", "encoding alone"), 1.2),
        Bar(
            "zoom: over encoding alone, three at once",
            ratio("three at once, ours", "three at once, encoding alone"),
            1.15,
        ),
    ]


def sound_bars(times: dict[str, Cost]) -> list[Bar]:
    ours = times["ours, all of it"].wall_s
    least = times["copy and our AAC, FFmpeg alone"].wall_s
    return [
        Bar(
            "add_audio: times as fast as encoding again",
            times["encoding again"].wall_s / ours,
            25,
            at_least=True,
            reach=times["encoding again"].wall_s / least,
        ),
        Bar(
            "add_audio: over the AAC encode alone",
            ours / times["AAC alone"].wall_s,
            1.2,
            reach=least / times["AAC alone"].wall_s,
        ),
    ]


def caption_bar(times: dict[str, Cost]) -> Bar:
    ratio = times["with captions"].wall_s / times["decoding and encoding"].wall_s
    return Bar("caption: over decoding and encoding without", ratio, 1.1)


def quality_bars(
    positions: dict[str, quality.Positions], vmaf: dict[str, list[float]]
) -> list[Bar]:
    ours = positions["ours"]
    return [
        Bar("zoom: position error, px RMS", quality.rms(ours), 0.01),
        Bar("zoom: jitter, px/frame RMS", quality.rms(np.diff(ours, axis=0)), 0.01),
        Bar("zoom: VMAF, mean", float(np.mean(vmaf["ours"])), 93, at_least=True),
        Bar("zoom: VMAF, worst frame", min(vmaf["ours"]), 89, at_least=True),
    ]


def memory_bar(work: Path) -> Bar:
    short, long = (memory.peak_mib(frames, work) for frames in (_SHORT_FRAMES, _LONG_FRAMES))
    return Bar("zoom: peak memory of a clip ten times as long", long / short, 1.05)


def baseline(
    positions: dict[str, quality.Positions], vmaf: dict[str, list[float]]
) -> dict[str, float]:
    """The old graph's numbers, to compare."""
    old = positions["old graph"]
    return {
        "position error, px RMS": quality.rms(old),
        "jitter, px/frame RMS": quality.rms(np.diff(old, axis=0)),
        "VMAF, mean": float(np.mean(vmaf["old graph"])),
        "VMAF, worst frame": min(vmaf["old graph"]),
    }


def show(console: Console, times: dict[str, Cost], old: dict[str, float], bars: list[Bar]) -> None:
    costs = Table("", "wall s", "CPU s", title="Best of three")
    for name, each in times.items():
        costs.add_row(name, f"{each.wall_s:.2f}", f"{each.cpu_s:.2f}")
    console.print(costs)
    for name, value in old.items():
        console.print(f"old graph: {name}: {value:.3f}")
    console.print(common.promises(bars))


def main() -> None:
    os.environ.update(QUIET)
    console = Console()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="apigpu-bench-") as folder:
        work = Path(folder)
        console.print("Measuring times ...")
        times = zoom.times(work)
        console.print("Measuring positions ...")
        positions = quality.positions(work)
        console.print("Measuring VMAF ...")
        vmaf = quality.vmaf_of_both(work)
        bars = [*time_bars(times), *quality_bars(positions, vmaf), memory_bar(work)]
        console.print("Measuring sound and captions ...")
        video, audio = sound.samples(work)
        sounds, caption_times = sound.times(work, video, audio), captions.times(work, video)
        bars += [*sound_bars(sounds), caption_bar(caption_times)]
    old = baseline(positions, vmaf)
    everything = {**times, **sounds, **caption_times}
    show(console, everything, old, bars)
    plots.times(times, OUTPUT / "times.png")
    plots.positions(positions, OUTPUT / "positions.png")
    plots.vmaf(vmaf, OUTPUT / "vmaf.png")
    results = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": platform.machine(), "cpus": os.cpu_count()},
        "times": {name: asdict(each) for name, each in everything.items()},
        "old graph": old,
        "promises": [{**asdict(bar), "met": bar.met} for bar in bars],
    }
    (OUTPUT / "results.json").write_text(json.dumps(results, indent=2))
    console.print(f"Written to {OUTPUT.relative_to(common.ROOT)}/: results.json and the plots.")


if __name__ == "__main__":
    main()
