"""The Python client against the real service, over connections that break."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from apigpu.video.v1 import file_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Heartbeat, Job, JobEvent
from apigpu.video.v1.video_service_pb2 import WatchJobsResponse
from apigpu.video.v1.video_service_pb2_grpc import (
    VideoServiceServicer,
    add_VideoServiceServicer_to_server,
)
from apigpu.worker.v1 import worker_service_pb2 as worker

from apigpu_client import VideoClient
from apigpu_client.board import Board
from apigpu_client.errors import (
    InvalidRequest,
    JobFailed,
    NotFound,
    StreamLost,
    TransferFailed,
    Unavailable,
)
from apigpu_client.hearing import heard
from apigpu_client.resume import Patience, Position
from apigpu_common.errors import InvalidInput
from orchestrator.server import Orchestrator
from tests.cutting_proxy import proxy
from tests.requests import collect, pictures
from tests.scripted_worker import ScriptedWorker, Sender, do_all, serve
from tests.services import kept_files, settings

MANY = 40


async def tell_much(task: worker.Task, sender: Sender) -> None:
    sender.start()
    for step in range(MANY):
        sender.progress(task.items[0].id, step, stage=step % 7 + 1)
    sender.finish([await sender.succeed(item.id) for item in task.items])


async def test_a_stream_that_is_cut_again_and_again_has_no_gap_and_no_repetition(
    tmp_path: Path,
) -> None:
    async with (
        serve(ScriptedWorker(tell_much)) as worker_address,
        Orchestrator(settings(tmp_path, (worker_address,))) as orchestrator,
        proxy(orchestrator.address) as wire,
        VideoClient(wire.address) as client,
    ):
        events = []
        async for event in client.run(pictures("a")):
            events.append(event)
            if event.sequence % 10 == 5:
                wire.cut()
    assert wire.cuts >= 3
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].finished.state == Job.SUCCEEDED


async def test_a_job_is_followed_through_a_restart_of_the_service(tmp_path: Path) -> None:
    async def hang(task: worker.Task, sender: Sender) -> None:
        sender.start()
        sender.progress("a", 30)
        await asyncio.Event().wait()

    async with serve(ScriptedWorker(hang, tell_much)) as worker_address:
        first = Orchestrator(settings(tmp_path, (worker_address,)))
        await first.__aenter__()
        async with VideoClient(first.address) as client:
            story = aiter(client.run(pictures("a")))
            events = [await anext(story)]
            while not events[-1].HasField("item"):
                events.append(await anext(story))
            await first.__aexit__(None, None, None)
            again = settings(tmp_path, (worker_address,), listen=first.address)
            async with Orchestrator(again):
                events += [event async for event in story]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].finished.state == Job.SUCCEEDED


async def test_a_repeated_run_with_the_same_request_id_is_the_same_job(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as worker_address,
        Orchestrator(settings(tmp_path, (worker_address,))) as orchestrator,
        VideoClient(orchestrator.address) as client,
    ):
        first = await collect(client.run(pictures("a"), "order-1"))
        second = await collect(client.run(pictures("a"), "order-1"))
    assert first == second


class Scripted(VideoServiceServicer):
    """A service that does what no honest one does."""

    def __init__(self) -> None:
        self.body = b"the right bytes"
        self.watched: list[int] = []
        self.last_word = grpc.StatusCode.OK  # as a proxy ends a stream when it shuts down

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[JobEvent]:
        self.watched.append(request.after_sequence)
        start = max(1, request.after_sequence)  # repeats the last one that was seen
        for sequence in range(start, start + 3):
            event = JobEvent(job=request.name, sequence=sequence)
            if sequence == 7:
                event.finished.state = Job.SUCCEEDED
                yield event
                return
            yield event
        if self.last_word is not grpc.StatusCode.OK:
            await context.abort(self.last_word, "")

    async def DownloadFile(
        self, request: Any, context: Any
    ) -> AsyncIterator[video_service_pb2.DownloadFileResponse]:
        digest = hashlib.sha256(b"the right bytes").hexdigest()
        file = file_pb2.File(size_bytes=15, sha256=digest)
        yield video_service_pb2.DownloadFileResponse(file=file)
        yield video_service_pb2.DownloadFileResponse(chunk=self.body[request.offset :])


@pytest.fixture
async def scripted() -> AsyncIterator[tuple[Scripted, VideoClient]]:
    service = Scripted()  # type: ignore[abstract]
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_VideoServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with VideoClient(f"127.0.0.1:{port}") as client:
        yield service, client
    await server.stop(0)


async def test_a_stream_that_ends_in_silence_is_not_taken_for_success(
    scripted: tuple[Scripted, VideoClient],
) -> None:
    service, client = scripted
    events = [event async for event in client.watch("jobs/1")]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert events[-1].HasField("finished")
    assert service.watched == [0, 3, 5]


async def test_damaged_bytes_are_refused_and_leave_no_file(
    scripted: tuple[Scripted, VideoClient], tmp_path: Path
) -> None:
    service, client = scripted
    target = tmp_path / "out" / "video.mp4"
    service.body = b"the wrong bytes"
    with pytest.raises(TransferFailed):
        await client.download("files/1", target)
    assert list(target.parent.iterdir()) == []
    service.body = b"the right bytes"
    await client.download("files/1", target)
    assert target.read_bytes() == b"the right bytes"
    assert list(target.parent.iterdir()) == [target]


def test_resuming_gives_up_after_a_limit_and_says_that_the_job_goes_on() -> None:
    position = Position("jobs/1", after_sequence=4, patience=Patience(max_failures=3))
    pauses = [position.pause_s() for _ in range(3)]
    assert all(0 < pause < 2 for pause in pauses)
    with pytest.raises(StreamLost, match="goes on"):
        position.pause_s()


def test_news_renew_the_patience_and_repetitions_do_not() -> None:
    position = Position("jobs/1", after_sequence=0, patience=Patience(max_failures=3))
    for sequence in range(1, 5):
        for _ in range(3):
            position.pause_s()
        assert position.accept(JobEvent(job="jobs/1", sequence=sequence))
    with pytest.raises(StreamLost):
        for _ in range(4):
            assert not position.accept(JobEvent(job="jobs/1", sequence=4))
            position.pause_s()


def test_heartbeats_renew_the_patience_and_are_no_news() -> None:
    position = Position("jobs/1", after_sequence=4, patience=Patience(max_failures=3))
    for _ in range(5):
        for _ in range(3):
            position.pause_s()
        assert not position.accept(JobEvent(job="jobs/1", sequence=9, heartbeat=Heartbeat()))
    assert position.sequence == 4


async def test_a_service_that_says_nothing_is_taken_for_dead() -> None:
    class Silent:
        """A stream that is open, and then silent for ever: a host that lost its power."""

        cancelled = False

        async def __aiter__(self) -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

        def cancel(self) -> None:
            self.cancelled = True

    call = Silent()
    assert [message async for message in heard(call, silence_s=0.05)] == [1]
    assert call.cancelled


def test_a_board_is_what_the_service_said_last_through_any_number_of_streams() -> None:
    board = Board()

    def told(*names: str, removed: str = "", complete: bool = False) -> bool:
        jobs = [Job(name=name) for name in names]
        message = WatchJobsResponse(
            jobs=jobs, removed=[removed] if removed else [], initial_complete=complete
        )
        return board.accept(message)

    board.begin()
    assert not told("jobs/1")
    assert told("jobs/2", complete=True)
    assert not told(), "a heartbeat"
    assert told("jobs/3", removed="jobs/1")
    assert set(board.jobs) == {"jobs/2", "jobs/3"}
    board.begin()  # cut; what was deleted meanwhile is not in the new beginning
    assert not told("jobs/3")
    assert set(board.jobs) == {"jobs/2", "jobs/3"}, "nothing flickers"
    assert told("jobs/4", complete=True)
    assert set(board.jobs) == {"jobs/3", "jobs/4"}


async def test_a_stream_that_somebody_else_cancelled_is_picked_up_again(
    scripted: tuple[Scripted, VideoClient],
) -> None:
    service, client = scripted
    service.last_word = grpc.StatusCode.CANCELLED
    events = [event async for event in client.watch("jobs/1")]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]


async def test_media_are_sent_once_each_and_only_when_all_can_be_read(tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"some picture")
    async with (
        serve(ScriptedWorker()) as worker_address,
        Orchestrator(settings(tmp_path / "data", (worker_address,))) as orchestrator,
        VideoClient(orchestrator.address) as client,
    ):
        data = tmp_path / "data"
        many = [tmp_path / f"{number}.jpg" for number in range(10)]
        for each in many:
            each.write_bytes(b"some picture")
        with pytest.raises(FileNotFoundError):
            await client.sources([*many, tmp_path / "nowhere.jpg"])
        assert kept_files(data) == []
        url = "https://media.example/a.jpg?signature=%2F"
        first, second, other = await client.sources([picture, str(picture), url])
        assert first == second and first.file.startswith("files/")
        assert other.uri == url
        assert [path.read_bytes() for path in kept_files(data)] == [b"some picture"]
        assert (await client.describe_file(first.file)).filename == "picture.jpg"


async def test_result_is_the_whole_job_or_an_error_that_carries_it(tmp_path: Path) -> None:
    async def fail(task: worker.Task, sender: Sender) -> None:
        sender.start()
        bad = InvalidInput("NOT_AN_IMAGE", "This should be a picture.", field="images[0].image")
        sender.finish([sender.fail(item.id, bad) for item in task.items])

    async with (
        serve(ScriptedWorker(do_all, fail)) as worker_address,
        Orchestrator(settings(tmp_path, (worker_address,))) as orchestrator,
        VideoClient(orchestrator.address) as client,
    ):
        job = await client.result(pictures("a", "b"))
        assert [item.output.filename for item in job.items] == ["a.mp4", "b.mp4"]
        with pytest.raises(JobFailed) as failed:
            await client.result(pictures("a"))
        assert failed.value.job.items[0].error.message == "This should be a picture."
        assert failed.value.message


async def test_transfers_survive_cuts_and_arrive_whole(tmp_path: Path) -> None:
    source = tmp_path / "clip.mov"
    source.write_bytes(os.urandom(12_000_000))
    async with (
        serve(ScriptedWorker()) as worker_address,
        Orchestrator(settings(tmp_path / "data", (worker_address,))) as orchestrator,
        proxy(orchestrator.address) as wire,
        VideoClient(wire.address) as client,
    ):

        def cut_once(done: int, total: int) -> None:
            if wire.cuts == 0 and done > total // 3:
                wire.cut()

        file = await client.upload(source, cut_once)
        assert wire.cuts == 1
        wire.cuts = 0
        target = await client.download(file.name, tmp_path / "back.mov", cut_once)
        assert wire.cuts == 1
    assert target.read_bytes() == source.read_bytes()
    assert len(kept_files(tmp_path / "data")) == 1, "the cut upload left something behind"


async def test_errors_are_typed_and_carry_what_the_service_said(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as worker_address,
        Orchestrator(settings(tmp_path, (worker_address,))) as orchestrator,
        VideoClient(orchestrator.address) as client,
    ):
        with pytest.raises(NotFound) as missing:
            await client.get_job("jobs/0123")
        assert missing.value.details.reason == "JOB_NOT_FOUND"
        with pytest.raises(InvalidRequest) as invalid:
            await client.create_job(pictures("a", "a"))
        assert invalid.value.details.violations[0].field == "job.images_to_videos.images"
        with pytest.raises(NotFound):
            async for _ in client.watch("jobs/0123"):
                pass


async def test_a_service_that_is_not_there_is_unavailable() -> None:
    async with VideoClient("127.0.0.1:1") as client:
        with pytest.raises(Unavailable):
            await client.server_info()
