"""Words for people: stages, durations, sizes, and tables of jobs and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from apigpu.video.v1 import job_pb2
from apigpu.video.v1.job_pb2 import Item, Job, Output
from apigpu.video.v1.video_service_pb2 import ServerInfo
from rich.table import Table
from rich.text import Text

from apigpu_client.errors import details_of

_WIDE = 100
STATE_STYLE = {
    Job.SUCCEEDED: "green",
    Job.PARTIALLY_SUCCEEDED: "yellow",
    Job.FAILED: "red",
    Job.CANCELLED: "yellow",
}


def stage_words(stage: job_pb2.Stage.ValueType) -> str:
    return job_pb2.Stage.Name(stage).removeprefix("STAGE_").lower()


def state_words(state: Job.State.ValueType) -> str:
    words = Job.State.Name(state).lower().replace("_", " ")
    style = STATE_STYLE.get(state, "cyan")
    return f"[{style}]{words}[/{style}]"


def seconds(value: float) -> str:
    whole = round(value)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"


def size(value: int) -> str:
    return f"{value / 1e6:.1f} MB" if value >= 100_000 else f"{value / 1e3:.1f} kB"


def results(job: Job, saved: Mapping[str, Path], width: int) -> Table:
    """The items of a job that has ended. saved: where outputs were put, by item id."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold", ratio=1)
    columns = 5 if width >= _WIDE else 3
    for _ in range(columns):
        table.add_column(no_wrap=True, style="dim", justify="right")
    for item in job.items:
        if item.state == Item.SUCCEEDED:
            table.add_row(*_result(item.output, saved.get(item.id))[: columns + 1])
        else:
            table.add_row(_no_result(item))
    return table


def _result(output: Output, path: Path | None) -> Sequence[str | Text]:
    """The most telling columns come first: a narrow terminal shows only those."""
    length_s = output.duration.ToTimedelta().total_seconds()
    return (
        Text(shown(path) if path is not None else output.file),
        f"{length_s:.2f} s",
        f"{output.width}x{output.height}",
        size(output.size_bytes),
        f"{output.frame_count} frames at {output.frame_rate:.4g}",
        output.encoder.used,
    )


def _no_result(item: Item) -> Text:
    if item.state != Item.FAILED:
        return Text(f"{item.id}: {Item.State.Name(item.state).lower()}", "yellow")
    details = details_of(item.error)
    told = Text.assemble(
        (f"{item.id}: {item.error.message}", "red"), (f"  {details.reason}", "dim")
    )
    for violation in details.violations:
        told.append(f"\n  {violation.field}", "dim")
    return told


def shown(path: Path) -> str:
    """A path as short as it can be told from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def encoder_notes(job: Job) -> list[str]:
    """Why an encoder other than the requested one ran, each reason once."""
    notes = [
        f"{item.output.encoder.used} was used: {item.output.encoder.reason}"
        for item in job.items
        if item.output.encoder.reason
    ]
    return list(dict.fromkeys(notes))


def warnings(job: Job) -> list[str]:
    """What the caller should know although all went well."""
    return [
        f"{item.id}: {warning.message}" for item in job.items for warning in item.output.warnings
    ]


def loudness_notes(job: Job) -> list[str]:
    """How loud the results are."""
    return [
        f"loudness {item.output.loudness.integrated:.1f} LUFS,"
        f" true peak {item.output.loudness.true_peak:.1f} dBTP"
        for item in job.items
        if item.output.loudness.HasField("integrated")
    ]


def job_list(jobs: Sequence[Job], width: int) -> Table:
    """One job a line; when it was made and how it is marked only where there is room."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = ["job", "state", "operation", "done"]
    if width >= _WIDE:
        columns += ["created (UTC)", "labels"]
    for column in columns:
        table.add_column(column, no_wrap=column != "labels")
    for job in jobs:
        table.add_row(*_job_row(job)[: len(columns)])
    return table


def _job_row(job: Job) -> Sequence[str | Text]:
    return (
        job.name.removeprefix("jobs/"),
        state_words(job.state),
        job.WhichOneof("operation") or "",
        f"{job.item_counts.succeeded}/{job.item_counts.total}",
        job.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
        Text(" ".join(f"{key}={value}" for key, value in sorted(job.labels.items()))),
    )


def server_info(info: ServerInfo) -> str:
    lines = [f"API GPU {info.version}, backend {info.backend}"]
    for worker in info.workers:
        lines.append(
            f"worker {worker.address}: FFmpeg {worker.ffmpeg_version},"
            f" {worker.max_parallel_items} items at a time"
        )
        lines += [
            f"  {encoder.name}: {'works' if encoder.works else encoder.reason}"
            for encoder in worker.encoders
        ]
        lines.append(f"  media processes are kept from: {', '.join(worker.cage) or 'nothing'}")
    if not info.workers:
        lines.append("no worker answers")
    return "\n".join(lines)
