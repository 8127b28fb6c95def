"""`make bench-jobs`: the service under load, beside a bare grpc.aio server in the same run.

Prints a table, adds what was measured to build/bench/jobs.json, and draws it beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from bench import common
from bench.common import Bar
from bench.jobs import growth, observed, plots, watching

OUTPUT = common.ROOT / "build" / "bench"
Found = Coroutine[Any, Any, tuple[list[Bar], dict[str, Any]]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs")
    parser.add_argument("--soak-seconds", type=float, default=60, metavar="S")
    pieces: dict[str, Callable[[], Found]] = {
        "create": growth.create,
        "fan-out": watching.fan_out,
        "idle": watching.idle,
        "latency": watching.latency,
        "stored": growth.stored,
        "telemetry": observed.telemetry,
        "soak": lambda: growth.soak(arguments.soak_seconds),
    }
    parser.add_argument("piece", nargs="*", help=f"of {', '.join(pieces)}; default: all")
    arguments = parser.parse_args()
    if unknown := set(arguments.piece) - set(pieces):
        parser.error(f"no such piece: {', '.join(sorted(unknown))}")
    console = Console()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    file = OUTPUT / "jobs.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    bars: list[Bar] = []
    for name in arguments.piece or pieces:
        console.print(f"Measuring: {name} ...")
        began = time.monotonic()
        found, facts = asyncio.run(pieces[name]())
        results[name] = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {"cpu": platform.machine(), "cpus": os.cpu_count()},
            "promises": [{**asdict(bar), "met": bar.met} for bar in found],
            "facts": facts,
        }
        file.write_text(json.dumps(results, indent=2))
        shown = {key: value for key, value in facts.items() if not isinstance(value, list)}
        console.print(f"  {time.monotonic() - began:.0f} s", shown)
        bars += found
    console.print(common.promises(bars))
    plots.draw(results, OUTPUT / "jobs.png")
    console.print(f"Written to {OUTPUT.relative_to(common.ROOT)}/: jobs.json and jobs.png.")
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    raise SystemExit(main())
