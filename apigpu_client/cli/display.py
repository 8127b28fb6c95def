"""What a person sees while a job runs: a bar for each running item, and one for the whole."""

from __future__ import annotations

from types import TracebackType

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Item, Job, JobEvent
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from apigpu_client.cli.text import seconds, stage_words

# Without a terminal: few lines instead of many redraws, and in a large batch none for
# the steps of each item.
_LINE_EVERY_PERCENT = 25
_MANY_ITEMS = 8


class _Speed(ProgressColumn):
    """Frames per second and how much faster than real time; bytes for transfers."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("speed", "")), style="cyan")


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("left", "")), style="magenta")


class Display:
    """Live bars on a terminal; a line now and then elsewhere. Use as `with`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.quiet
        wide = console.width >= 90
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", style="bold", markup=False),
            TextColumn("{task.fields[stage]}", style="dim"),
            BarColumn(bar_width=None if wide else 12, complete_style="green"),
            TextColumn("{task.percentage:>5.1f} %"),
        ]
        if wide:
            columns.append(_Speed())
        if console.width >= 50:
            columns.append(_TimeLeft())
        # Bars may be on the terminal's standard error while a program reads our standard
        # output: never let the library take that over.
        self._progress = Progress(
            *columns,
            console=console,
            expand=wide,
            disable=not self._live,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bars: dict[str, TaskID] = {}
        self._lines: dict[str, int] = {}
        self._items = 0

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def give_way(self) -> None:
        """Something else is going to use the screen."""
        self._progress.stop()

    def transfer(self, what: str, name: str, done: int, total: int) -> None:
        """Bytes of a file that is being sent or fetched."""
        percent = 100.0 * done / total if total else 100.0
        speed = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
        self._show(f"{what}:{name}", name, what, percent, speed, "")
        if percent >= 100:
            self._remove(f"{what}:{name}")

    def event(self, event: JobEvent) -> None:
        """One event of the job's story."""
        if event.HasField("created"):
            self._created(event.created)
        elif event.HasField("finished"):
            for key in list(self._bars):
                self._remove(key)
            return
        elif event.HasField("item"):
            self._item(event.item)
        if self._items > 1:
            self._whole(event)

    def _created(self, job: Job) -> None:
        self._items = len(job.items)
        self._console.print(job.name if self._live else f"{job.name} accepted", style="dim")
        if self._items == 1:
            self._item(job.items[0])

    def _item(self, item: Item) -> None:
        if item.state == Item.RUNNING or (item.state == Item.QUEUED and self._items == 1):
            if self._live or self._items <= _MANY_ITEMS:
                progress = item.progress
                stage, percent = stage_words(progress.stage), progress.percent
                self._show(_key(item), item.id, stage, percent, _speed(progress), _left(progress))
            return
        self._remove(_key(item))
        if item.state == Item.SUCCEEDED:
            frames = f"{item.output.frame_count} frames"
            self._console.print(Text.assemble(("✓ ", "green"), item.id, "  ", (frames, "dim")))
        elif item.state == Item.FAILED:
            self._console.print(
                Text.assemble(("✗ ", "red"), item.id, "  ", (item.error.message, "red"))
            )

    def _whole(self, event: JobEvent) -> None:
        words = Job.State.Name(event.state).lower().replace("_", " ")
        self._show(
            "whole",
            "all",
            words,
            event.progress.percent,
            _speed(event.progress),
            _left(event.progress),
        )

    def _show(self, key: str, name: str, stage: str, percent: float, speed: str, left: str) -> None:
        if not self._live:
            self._line(key, name, stage, percent, left)
            return
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(name[:28], total=100, stage=stage)
        self._progress.update(
            self._bars[key], completed=percent, stage=stage, speed=speed, left=left
        )

    def _line(self, key: str, name: str, stage: str, percent: float, left: str) -> None:
        step = int(percent // _LINE_EVERY_PERCENT)
        if step > self._lines.get(key, 0):
            self._lines[key] = step
            tail = f", {left}" if left else ""
            self._console.print(Text(f"{name}: {stage} {percent:.0f} %{tail}"))

    def _remove(self, key: str) -> None:
        if key in self._bars:
            self._progress.remove_task(self._bars.pop(key))


def _key(item: Item) -> str:
    return f"item:{item.id}"


def _speed(progress: job_pb2.Progress) -> str:
    if not progress.fps:
        return ""
    frames = f"{progress.frames_done}/{progress.frames_total} frames  "
    return f"{frames if progress.frames_total else ''}{progress.fps:.0f} fps  {progress.speed:.1f}x"


def _left(progress: job_pb2.Progress) -> str:
    if not progress.HasField("time_left"):
        return ""
    return f"{seconds(progress.time_left.ToTimedelta().total_seconds())} left"
