"""The commands around jobs: retry, priorities and limits, lists, and all jobs at a glance."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest
from apigpu.video.v1.job_pb2 import Job
from google.protobuf import json_format
from rich.console import Console

from apigpu_client.cli.board import board
from apigpu_client.cli.words import Seconds
from orchestrator.server import Orchestrator
from tests.integration.client.test_cli import apigpu, fail_some, start
from tests.scripted_worker import ScriptedWorker, do_all, serve
from tests.services import settings

TIMEOUT_S = 40


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    async with (
        serve(ScriptedWorker(fail_some, do_all)) as address,
        Orchestrator(settings(tmp_path / "data", (address,))) as orchestrator,
    ):
        yield orchestrator.address


async def test_what_failed_is_tried_again_and_all_results_come_home(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    asked = ["--priority", "0", "--queue-limit", "10m", "--run-limit", "1.5h"]
    asked += ["--label", "show=news", "--json"]
    code, out, _ = await apigpu(server, "animate", *pictures, *asked, cwd=tmp_path)
    assert code == 3
    first = json_format.ParseDict(json.loads(out.splitlines()[-1])["finished"], Job())
    assert (first.HasField("priority"), first.priority) == (True, 0)
    assert first.queue_time_limit.seconds == 600
    assert first.run_time_limit.seconds == 5400
    name = first.name.removeprefix("jobs/")
    code, out, _ = await apigpu(server, "retry", name, "-o", "clips/", cwd=tmp_path)
    assert code == 0, out
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {"good.mp4", "bad.mp4"}
    # which is told in the list, by filter and order
    retried = f'retry_of = "{first.name}"'
    code, out, _ = await apigpu(
        server, "list", "--filter", f"labels:show AND NOT {retried}", cwd=tmp_path
    )
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "partially" in out
    code, out, _ = await apigpu(server, "--json", "list", "--order", "create_time", cwd=tmp_path)
    assert [json.loads(line)["state"] for line in out.splitlines()] == [
        "PARTIALLY_SUCCEEDED",
        "SUCCEEDED",
    ]
    code, _, err = await apigpu(server, "list", "--filter", "colour = red", cwd=tmp_path)
    assert code == 2
    assert "fields are state" in err


async def test_all_jobs_are_followed_line_by_line_where_there_is_no_terminal(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    watching = await start(server, "--json", "watch", "--all", cwd=tmp_path)
    told = asyncio.create_task(_until_it_ended(watching))
    code, _, _ = await apigpu(server, "animate", *pictures, cwd=tmp_path)
    assert code == 3
    job = await asyncio.wait_for(told, TIMEOUT_S)
    assert job["item_counts"] == {"total": 2, "succeeded": 1, "failed": 1}
    watching.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(watching.wait(), TIMEOUT_S) == 0


async def _until_it_ended(watching: asyncio.subprocess.Process) -> dict[str, Any]:
    assert watching.stdout is not None
    async for line in watching.stdout:
        job: dict[str, Any] = json.loads(line)
        if job["state"] == "PARTIALLY_SUCCEEDED":
            return job
    raise AssertionError("it stopped watching")


async def test_watch_wants_one_job_or_all(tmp_path: Path) -> None:
    for arguments in (["watch"], ["watch", "x", "--all"], ["watch", "x", "--filter", "a"]):
        code, _, err = await apigpu("127.0.0.1:1", *arguments, cwd=tmp_path)
        assert code == 2
        assert "--all" in err


@pytest.mark.parametrize("width", [60, 120])
def test_the_board_shows_what_is_open_first_and_fits_the_screen(width: int) -> None:
    jobs = [job(number, state) for number, state in enumerate([Job.SUCCEEDED, Job.RUNNING] * 20)]
    console = Console(width=width, height=12, record=True, file=StringIO())
    console.print(board(jobs, width, 12))
    lines = console.export_text().splitlines()
    assert len(lines) <= 12
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("40 jobs  20 running, 20 succeeded")
    assert "...00000039" in lines[3]
    assert all("running" in line for line in lines[3:11])
    assert "42" in lines[3]
    assert "1:05" in lines[3]
    assert "and 32 more" in lines[-1]


def job(number: int, state: Job.State.ValueType) -> Job:
    made = Job(name=f"jobs/{number:032}", state=state, labels={"show": "news"})
    made.images_to_videos.SetInParent()
    made.create_time.seconds = 1000 + number
    made.progress.percent = 42
    made.progress.time_left.seconds = 65
    made.item_counts.total = 3
    return made


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("10m", 600), ("2h", 7200), ("1d", 86400)]
)
def test_lengths_of_time_are_understood(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "5 m", "1e9", "٣"])
def test_other_words_are_no_length_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Seconds().convert(text, None, None)
