"""The command `apigpu` as people and programs use it: real processes, signals, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from apigpu.video.v1.job_pb2 import Job, JobEvent
from apigpu.video.v1.operations_pb2 import ImagesToVideos
from apigpu.video.v1.video_service_pb2_grpc import (
    VideoServiceServicer,
    add_VideoServiceServicer_to_server,
)
from apigpu.worker.v1 import worker_service_pb2 as worker
from google.protobuf import json_format

from apigpu_client import VideoClient
from apigpu_common.errors import InvalidInput
from orchestrator.server import Orchestrator
from tests.scripted_worker import ScriptedWorker, Sender, do_all, serve
from tests.services import settings

TIMEOUT_S = 40


async def start(server: str, *arguments: str | Path, cwd: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "apigpu_client.cli",
        *map(str, arguments),
        cwd=cwd,
        env={**os.environ, "APIGPU_SERVER": server},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def apigpu(server: str, *arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Run the command; returns exit code, standard output, standard error."""
    process = await start(server, *arguments, cwd=cwd)
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert "Traceback" not in err.decode()
    return process.returncode or 0, out.decode(), err.decode()


async def hang(task: worker.Task, sender: Sender) -> None:
    sender.start()
    sender.progress(task.items[0].id, 40)
    await asyncio.Event().wait()


async def fail_some(task: worker.Task, sender: Sender) -> None:
    sender.start()
    bad = InvalidInput("NOT_AN_IMAGE", "This should be a picture.", field="images[0].image")
    sender.finish(
        [
            sender.fail(item.id, bad) if "bad" in item.id else await sender.succeed(item.id)
            for item in task.items
        ]
    )


@pytest.fixture
async def scripted() -> AsyncIterator[tuple[ScriptedWorker, str]]:
    servicer = ScriptedWorker()
    async with serve(servicer) as address:
        yield servicer, address


@pytest.fixture
async def server(scripted: tuple[ScriptedWorker, str], tmp_path: Path) -> AsyncIterator[str]:
    async with Orchestrator(settings(tmp_path / "data", (scripted[1],))) as orchestrator:
        yield orchestrator.address


async def test_results_come_home_under_the_names_of_their_sources(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    code, out, _ = await apigpu(server, "animate", *pictures, "-o", "clips/", cwd=tmp_path)
    assert code == 0
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {"good.mp4", "bad.mp4"}
    assert "succeeded" in out


async def test_every_option_of_animate_reaches_the_job(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    asked = (
        "--duration 2 --zoom 1.5 --zoom-direction out --pan up-left --easing smooth --fit color"
        " --focal-point 0.25,0 --bar-color #ff0080 --size 640x360 --fps 30"
        " --codec hevc --quality 20 --encoder software"
    )
    code, out, _ = await apigpu(
        server, "--json", "animate", pictures[0], *asked.split(), "--detach", cwd=tmp_path
    )
    assert code == 0
    batch = json_format.Parse(out, Job()).images_to_videos
    assert batch.images[0].duration.seconds == 2
    del batch.images[:]
    expected = {
        "width": 640,
        "height": 360,
        "frameRate": 30,
        "fit": "FIT_CONTAIN_COLOR",
        "barColor": "#ff0080",
        "motion": {
            "zoom": 1.5,
            "zoomDirection": "ZOOM_DIRECTION_OUT",
            "pan": "PAN_DIRECTION_UP_LEFT",
            "easing": "EASING_SMOOTH",
            "focalPoint": {"x": 0.25, "y": 0},
        },
        "encoding": {
            "codec": "VIDEO_CODEC_HEVC",
            "quality": 20,
            "encoder": "ENCODER_KIND_SOFTWARE",
        },
    }
    assert batch == json_format.ParseDict(expected, ImagesToVideos())


async def test_json_gives_one_event_a_line_and_nothing_else(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    code, out, _ = await apigpu(server, "--json", "animate", *pictures, "-o", "x/", cwd=tmp_path)
    events = [json_format.Parse(line, JobEvent()) for line in out.splitlines()]
    assert code == 0
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].finished.state == Job.SUCCEEDED


async def test_a_pipe_gets_its_lines_also_while_bars_are_on_the_terminal(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    """As in `apigpu --json animate ... | jq`, typed in a terminal."""
    terminal, error = pty.openpty()
    command = [sys.executable, "-m", "apigpu_client.cli", "--server", server]
    for arguments, expected in (
        (["--json", "animate", pictures[0]], '"sequence": "1"'),
        (["animate", pictures[0], "--detach"], "jobs/"),
        (["list", "--json"], '"name"'),
    ):
        process = await asyncio.create_subprocess_exec(
            *command, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=error
        )
        out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert expected in out.decode()
    os.close(error)
    os.close(terminal)


async def test_a_failed_item_is_told_with_its_reason_and_in_the_exit_code(
    server: str, scripted: tuple[ScriptedWorker, str], pictures: list[Path], tmp_path: Path
) -> None:
    scripted[0].scripts = [fail_some]
    code, out, _ = await apigpu(server, "animate", *pictures, "-o", "clips/", cwd=tmp_path)
    assert code == 3
    assert "NOT_AN_IMAGE" in out
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["good.mp4"]
    code, out, _ = await apigpu(server, "animate", pictures[1], cwd=tmp_path)
    assert code == 1
    assert "This should be a picture." in out


async def test_a_bad_request_names_each_field(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    bad = "--zoom", "9", "--duration", "0"
    code, _, err = await apigpu(server, "animate", *pictures[:2], *bad, cwd=tmp_path)
    assert code == 2
    assert err.count("job.images_to_videos.motion.zoom: ") == 1
    assert err.count("job.images_to_videos.images[0].duration: ") == 1
    assert err.count("job.images_to_videos.images[1].duration: ") == 1


async def test_what_cannot_be_done_is_refused_before_anything_is_sent(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for wrong, told in (
        (("-o", "file"), "file is a file"),
        (("--label", "news"), "must look like show=news"),
        (("--size", "big"), "must look like 1920x1080"),
        (("--duration", "inf"), "inf seconds"),
        (("--duration", "1e300"), "1e+300 seconds"),
    ):
        code, _, err = await apigpu(server, "animate", *pictures, *wrong, cwd=tmp_path)
        assert code == 2
        assert told in err
    code, out, _ = await apigpu(server, "list", "--json", cwd=tmp_path)
    assert (code, out) == (0, "")


async def test_names_are_shown_as_they_are(
    server: str, scripted: tuple[ScriptedWorker, str], tmp_path: Path
) -> None:
    """To the library that colours our output, "[red]" is not a part of a name."""
    names = ["bad[red].jpg", "good[.jpg", "good[bold].jpg"]
    for name in names:
        (tmp_path / name).write_bytes(b"some picture")
    scripted[0].scripts = [fail_some]
    code, out, _ = await apigpu(server, "animate", *names, "-o", "[x]", cwd=tmp_path)
    assert code == 3
    assert "bad[red]: This should be a picture." in out
    assert "[x]/good[bold].mp4" in out
    assert "[x]/good[.mp4" in out


async def test_options_count_before_and_after_the_command_and_above_the_environment(
    server: str, tmp_path: Path
) -> None:
    wrong = "127.0.0.1:1"
    said = ("--server", server, "--json")
    for arguments in ((*said, "info"), ("info", *said)):
        code, out, _ = await apigpu(wrong, *arguments, cwd=tmp_path)
        assert code == 0
        assert json.loads(out)["max_upload_bytes"]


async def test_a_missing_file_and_a_missing_server_are_told_apart(tmp_path: Path) -> None:
    code, _, err = await apigpu("127.0.0.1:1", "list", cwd=tmp_path)
    assert code == 4
    assert "apigpu serve" in err
    code, _, err = await apigpu("127.0.0.1:1", "animate", "nowhere.jpg", cwd=tmp_path)
    assert code == 2
    assert "nowhere.jpg" in err


async def test_a_job_from_json_may_name_local_files(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    images = [
        {"id": "one", "image": {"uri": pictures[0].name}, "duration": "2s"},
        {"id": "two", "image": {"uri": pictures[0].name}, "duration": "2s"},
    ]
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps({"images_to_videos": {"images": images}}))
    code, _, _ = await apigpu(server, "run", spec, "-o", "clips/", cwd=tmp_path)
    assert code == 0
    assert len(list((tmp_path / "clips").iterdir())) == 2
    (tmp_path / "broken.json").write_text('{"images_to_videos": {"pictures": []}}')
    code, _, err = await apigpu(server, "run", "broken.json", cwd=tmp_path)
    assert code == 2
    assert "pictures" in err


async def test_a_detached_job_can_be_picked_up_listed_shown_and_downloaded(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    make = ("animate", pictures[0], "--detach", "--label", "show=news")
    code, out, _ = await apigpu(server, *make, cwd=tmp_path)
    name = out.strip()
    assert code == 0 and name.startswith("jobs/")
    code, _, _ = await apigpu(server, "watch", name.removeprefix("jobs/"), cwd=tmp_path)
    assert code == 0
    code, out, _ = await apigpu(server, "list", "--filter", "labels.show = news", cwd=tmp_path)
    assert name.removeprefix("jobs/") in out
    code, out, _ = await apigpu(server, "get", name, cwd=tmp_path)
    assert code == 0 and "succeeded" in out
    code, out, _ = await apigpu(server, "download", name, "-o", "saved/", cwd=tmp_path)
    assert out == "saved/good.mp4\n"
    assert (tmp_path / "saved" / "good.mp4").read_bytes() == b"a video"


async def test_one_file_is_downloaded_under_its_own_name(
    server: str, pictures: list[Path], tmp_path: Path
) -> None:
    async with VideoClient(server) as client:
        name = (await client.upload(pictures[0])).name
    (tmp_path / "saved").mkdir()
    code, out, _ = await apigpu(server, "download", name, "-o", "saved", cwd=tmp_path)
    assert (code, out) == (0, "saved/good.jpg\n")
    assert (tmp_path / "saved" / "good.jpg").read_bytes() == b"some picture"


async def test_a_job_without_results_has_nothing_to_download(
    server: str, scripted: tuple[ScriptedWorker, str], pictures: list[Path], tmp_path: Path
) -> None:
    scripted[0].scripts = [hang]
    make = ("animate", pictures[0], "--detach")
    _, name, _ = await apigpu(server, *make, cwd=tmp_path)
    code, out, err = await apigpu(server, "download", name.strip(), cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "no results" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_cancels_the_job(
    server: str,
    scripted: tuple[ScriptedWorker, str],
    pictures: list[Path],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    scripted[0].scripts = [hang]
    process = await start(server, "--json", "animate", pictures[0], cwd=tmp_path)
    assert process.stdout is not None
    async for line in process.stdout:
        event = json_format.Parse(line, JobEvent())
        if event.HasField("item"):
            break
    process.send_signal(number)
    await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 130
    await asyncio.wait_for(scripted[0].cancelled.wait(), TIMEOUT_S)
    async with VideoClient(server) as client:
        assert (await client.get_job(event.job)).state == Job.CANCELLED


class Deaf(VideoServiceServicer):
    """A service that does not hear when a job is cancelled."""

    async def CreateJob(self, request: Any, context: Any) -> Job:
        return Job(name="jobs/1")

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[JobEvent]:
        yield JobEvent(job="jobs/1", sequence=1, created=Job(name="jobs/1"))
        await asyncio.Event().wait()

    async def CancelJob(self, request: Any, context: Any) -> Job:
        await asyncio.Event().wait()
        raise AssertionError


async def test_the_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    deaf = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_VideoServiceServicer_to_server(Deaf(), deaf)  # type: ignore[abstract]
    address = f"127.0.0.1:{deaf.add_insecure_port('127.0.0.1:0')}"
    await deaf.start()
    urls = "https://media.example/a.mp4", "https://media.example/a.srt"
    process = await start(address, "caption", *urls, cwd=tmp_path)
    assert process.stdout is not None
    await process.stdout.readline()  # the job is accepted
    process.send_signal(signal.SIGINT)
    assert b"cancelling" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 130
    assert b"in time" not in out, "it waited for the service"
    assert b"Traceback" not in err
    await deaf.stop(0)


async def test_cancel_from_elsewhere_ends_the_one_who_watches(
    server: str, scripted: tuple[ScriptedWorker, str], pictures: list[Path], tmp_path: Path
) -> None:
    scripted[0].scripts = [hang, do_all]
    watching = await start(server, "--json", "animate", pictures[0], cwd=tmp_path)
    assert watching.stdout is not None
    first = json_format.Parse(await watching.stdout.readline(), JobEvent())
    code, out, _ = await apigpu(server, "cancel", first.job, cwd=tmp_path)
    assert code == 0 and "cancel" in out
    await asyncio.wait_for(watching.communicate(), TIMEOUT_S)
    assert watching.returncode == 5
