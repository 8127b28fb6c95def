"""Words for people about whoever does the work, and about what it took and cost."""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import Job, JobStats
from apigpu.video.v1.video_service_pb2 import BackendProblem, BackendStatus
from google.protobuf.duration_pb2 import Duration
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def status(told: BackendStatus) -> RenderableType:
    """Workers and work by state, how the endpoint is set up, and what is wrong."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("backend", " ".join(filter(None, (told.backend, told.endpoint_id))))
    table.add_row("workers", _counts(told.workers))
    table.add_row("work", _counts(told.tasks))
    if told.HasField("configuration"):
        known = told.configuration
        table.add_row("endpoint", known.display_name)
        table.add_row("limits", f"{known.min_workers} to {known.max_workers} workers")
        table.add_row("time-outs", _timeouts(told))
        table.add_row("GPUs", ", ".join(known.gpu_types))
    return Group(table, *(_problem(problem) for problem in told.problems))


def _counts(counts: object) -> Text:
    """Each state with its count; those that are empty are dim."""
    fields = type(counts).DESCRIPTOR.fields  # type: ignore[attr-defined]
    parts = []
    for field in fields:
        count = getattr(counts, field.name)
        words = f"{count} {field.name.replace('_', ' ')}"
        parts.append(Text(words, style="" if count else "dim"))
    return Text("  ").join(parts)


def _timeouts(told: BackendStatus) -> str:
    known = told.configuration
    words = f"{_s(known.idle_timeout):.0f} s idle"
    if known.HasField("execution_timeout"):
        words += f", {_s(known.execution_timeout):.0f} s for jobs that set none"
    return words


def _problem(problem: BackendProblem) -> Text:
    error = problem.severity == BackendProblem.ERROR
    mark = ("✗ ", "red") if error else ("! ", "yellow")
    return Text.assemble(mark, problem.message, (f"  {problem.reason}", "dim"))


def stats(job: Job) -> str:
    """What a job took and cost, in a line; empty where nothing is known."""
    told = job.stats
    parts = []
    if told.HasField("queue_time"):
        parts.append(f"waited {_s(told.queue_time):.1f} s")
    if told.HasField("cold_start_time"):
        parts.append(f"cold start {_s(told.cold_start_time):.1f} s")
    if told.HasField("execution_time"):
        parts.append(f"worked {_s(told.execution_time):.1f} s")
    # Parts of a job are attempts of their own: only those that broke are news.
    if broken := sum(attempt.HasField("error") for attempt in job.attempts):
        parts.append(f"{broken} of {told.attempts} attempts broke")
    if told.gpus:
        parts.append(", ".join(told.gpus))
    return "  ".join([*parts, *_cost(told)])


def _cost(told: JobStats) -> list[str]:
    if not told.HasField("cost_micros"):
        return []
    wasted = f" (${told.wasted_cost_micros / 1e6:.6f} wasted)" if told.wasted_cost_micros else ""
    return [f"${told.cost_micros / 1e6:.6f}{wasted}"]


def _s(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
