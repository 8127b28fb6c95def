"""`make demo`: the real service makes real videos, and leaves a contact sheet to look at."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import av
import contact_sheet

DEMO = Path(__file__).resolve().parent
MEDIA = DEMO / "media"
OUTPUT = DEMO / "output"
BUILD = DEMO.parent / "build" / "demo"
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 30

PICTURES = sorted(MEDIA.glob("0*.jpg"))
NARRATION = MEDIA / "narration.mp3"
CAPTIONS = MEDIA / "captions.srt"
# Where the story turns to the next picture.
CHANGES_S = (5.53, 10.30, 15.42)


@contextmanager
def service() -> Iterator[str]:
    """The service as its own process; yields its address."""
    log_path = BUILD / "service.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={
                **os.environ,
                "APIGPU_LISTEN": "127.0.0.1:0",
                "APIGPU_HTTP_LISTEN": "127.0.0.1:0",
                "APIGPU_DATA_DIR": str(BUILD / "data"),
            },
        )
    try:
        yield address_of(process, log_path)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def address_of(process: subprocess.Popen[str], log_path: Path) -> str:
    """Wait until the service says `ready <address>`."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(START_TIMEOUT_S) else ""
    if not line.startswith("ready "):
        sys.exit(f"the service did not start:\n{log_path.read_text()}")
    return line.split()[1]


def apigpu(server: str, *arguments: str | Path) -> None:
    """Run the command as a user would, in this terminal."""
    shown = " ".join(str(part).replace(f"{DEMO.parent}/", "") for part in arguments)
    print(f"\n\033[1m$ apigpu {shown}\033[0m" if sys.stdout.isatty() else f"\n$ apigpu {shown}")
    sys.stdout.flush()
    command = [sys.executable, "-m", "apigpu_client.cli", "--server", server, *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        sys.exit(f"that failed with exit code {code}; the service's log: {BUILD / 'service.log'}")


def length_s(media: Path) -> float:
    with av.open(str(media)) as container:
        return float(container.duration or 0) / av.time_base


def clips_job(narration_s: float) -> Path:
    """A batch in the contract's own JSON, to show what a job can say."""
    times_s = [0, *CHANGES_S, narration_s]
    durations_s = [end_s - start_s for start_s, end_s in pairwise(times_s)]
    views: list[dict[str, object]] = [
        {},
        {"motion": {"pan": "PAN_DIRECTION_RIGHT", "zoom": 1.2, "easing": "EASING_SMOOTH"}},
        {"motion": {"zoom_direction": "ZOOM_DIRECTION_OUT"}, "fit": "FIT_CONTAIN_BLUR"},
        {"motion": {"focal_point": {"x": 0.5, "y": 0.6}, "easing": "EASING_OUT"}},
    ]
    images = [
        {"id": path.stem, "image": {"uri": str(path)}, "duration": f"{duration_s:.3f}s", **view}
        for path, duration_s, view in zip(PICTURES, durations_s, views, strict=True)
    ]
    job = BUILD / "clips.json"
    job.write_text(json.dumps({"images_to_videos": {"images": images}}, indent=2))
    return job


def main() -> None:
    started = time.monotonic()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    shutil.rmtree(BUILD, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    BUILD.mkdir(parents=True)
    silent, sounding = BUILD / "silent.mp4", OUTPUT / "with-sound.mp4"
    captioned = OUTPUT / "captioned.mp4"
    narration_s = length_s(NARRATION)
    print("Starting the service: orchestrator, worker, FFmpeg ...")
    with service() as server:
        apigpu(server, "info")
        apigpu(server, "run", clips_job(narration_s), "-o", f"{OUTPUT / 'clips'}/")
        apigpu(server, "animate", PICTURES[0], "--duration", f"{narration_s:.3f}", "-o", silent)
        apigpu(server, "add-audio", silent, NARRATION, "--loudness", "-16", "-o", sounding)
        box = ("--box-color", "#000000A0")
        apigpu(server, "caption", sounding, CAPTIONS, *box, "-o", captioned)
        apigpu(server, "list")
    clips = sorted((OUTPUT / "clips").glob("*.mp4"))
    sheet = contact_sheet.draw([*clips, captioned], OUTPUT / "contact-sheet.png")
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at them:")
    for path in [*clips, sounding, captioned, sheet]:
        print(f"  {path.relative_to(DEMO.parent)}")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a demo. SIGTERM ends it as Ctrl-C does: nothing that it has started is left."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run(main)
