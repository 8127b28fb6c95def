"""The pictures of a benchmark run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.common import Cost
from bench.quality import Positions

matplotlib.use("Agg")
_COLORS = {"old graph": "#d1495b", "ours": "#2e86ab"}


def times(costs: Mapping[str, Cost], target: Path) -> None:
    """Wall-clock and CPU seconds, by way of making the clip."""
    names = list(costs)[::-1]
    figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    rows = np.arange(len(names))
    axes.barh(rows + 0.2, [costs[n].wall_s for n in names], 0.38, color="#2e86ab", label="wall")
    axes.barh(rows - 0.2, [costs[n].cpu_s for n in names], 0.38, color="#a9d6e5", label="CPU")
    axes.set_yticks(rows, names)
    axes.set_xlabel("seconds for a clip of 120 frames, 1920x1080 (less is better)")
    _finish(figure, axes, target)


def positions(found: Mapping[str, Positions], target: Path) -> None:
    """Where the picture is in each frame, beside where it should be."""
    figure, axes = pyplot.subplots(figsize=(9, 3.2), layout="constrained")
    for name, values in found.items():
        axes.plot(values[:, 0], color=_COLORS[name], label=f"{name}, x", linewidth=1.6)
        axes.plot(values[:, 1], color=_COLORS[name], label=f"{name}, y", alpha=0.45)
    axes.set_xlabel("frame")
    axes.set_ylabel("position error, pixels")
    _finish(figure, axes, target)


def vmaf(found: Mapping[str, Sequence[float]], target: Path) -> None:
    """VMAF of each frame after encoding."""
    figure, axes = pyplot.subplots(figsize=(9, 3.2), layout="constrained")
    for name, values in found.items():
        axes.plot(values, color=_COLORS[name], label=name, linewidth=1.6)
    axes.set_xlabel("frame")
    axes.set_ylabel("VMAF (more is better)")
    _finish(figure, axes, target)


def _finish(figure: Figure, axes: Axes, target: Path) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(target, dpi=110)
    pyplot.close(figure)
