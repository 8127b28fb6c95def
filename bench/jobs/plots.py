"""The picture of what was measured under load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

matplotlib.use("Agg")
_MS_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_BLUE, _RED = "#2e86ab", "#d1495b"


def draw(results: Mapping[str, Any], target: Path) -> None:
    """Of the pieces that have been measured, each beside the others."""
    ways = {"stored": _stored, "latency": _latency, "soak": _soak}
    pieces = [piece for piece in ways if piece in results]
    if not pieces:
        return
    figure, axes = pyplot.subplots(
        1, len(pieces), figsize=(4 * len(pieces), 3.4), layout="constrained", squeeze=False
    )
    for piece, ax in zip(pieces, axes[0], strict=True):
        ways[piece](ax, results[piece]["facts"])
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)
    pyplot.close(figure)


def _stored(axes: Axes, facts: Mapping[str, Any]) -> None:
    names = list(facts)
    for call, color, label in (
        ("create", _BLUE, "CreateJob"),
        ("list", _RED, "a page of ListJobs"),
    ):
        costs = [facts[name][call]["cpu_us"] / 1000 for name in names]
        axes.plot(range(len(names)), costs, "o-", color=color, label=label)
    axes.set_xticks(range(len(names)), [f"{int(name):,}" for name in names])
    axes.set_ylim(0, 1.15 * axes.dataLim.ymax)
    axes.set_xlabel("stored jobs")
    axes.set_ylabel("ms of the server's CPU for a call")
    axes.legend(frameon=False)


def _latency(axes: Axes, facts: Mapping[str, Any]) -> None:
    values = sorted(facts["ms"])
    axes.plot(values, np.arange(1, len(values) + 1) / len(values) * 100, color=_BLUE)
    axes.axvline(50, color=_RED, linestyle="--", linewidth=1, label="bar for 99 %")
    axes.set_xscale("log")
    ticks = [ms for ms in _MS_TICKS if ms <= max(50, values[-1])]
    axes.set_xticks(ticks, [f"{ms:g}" for ms in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("ms from worker to client, at 200 events/s")
    axes.set_ylabel("% of the events")
    axes.legend(frameon=False)


def _soak(axes: Axes, facts: Mapping[str, Any]) -> None:
    seconds, mib = zip(*facts["MiB"], strict=True)
    axes.plot(seconds, mib, color=_BLUE)
    axes.set_ylim(0, 1.15 * axes.dataLim.ymax)
    axes.set_xlabel(f"seconds ({facts['jobs']:,} jobs)")
    axes.set_ylabel("resident memory, MiB")
