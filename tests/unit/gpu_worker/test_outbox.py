"""What a reader of a task's events gets, however slow it reads."""

from __future__ import annotations

from apigpu.video.v1.job_pb2 import Progress
from apigpu.worker.v1.worker_service_pb2 import ItemResult, TaskEvent, TaskStarted

from gpu_worker.outbox import Outbox


def percents(events: list[TaskEvent], item_id: str) -> list[float]:
    return [e.progress.progress.percent for e in events if e.progress.item_id == item_id]


async def test_a_slow_reader_gets_the_newest_progress_and_every_result() -> None:
    outbox = Outbox("t-1", TaskStarted(worker_id="worker"))
    events = outbox.events()
    told = [await anext(events)]
    for number in range(1000):  # while the reader is away
        for item_id in ("a", "b"):
            outbox.progress(item_id, Progress(percent=number / 10))
    outbox.result(ItemResult(item_id="c"))
    outbox.result(ItemResult(item_id="b"))
    told += [await anext(events) for _ in range(3)]
    assert [event.WhichOneof("event") for event in told] == [
        "started",
        "result",
        "result",
        "progress",
    ]
    assert (percents(told, "a"), percents(told, "b")) == ([99.9], [])
    outbox.finish([])
    told += [event async for event in events]
    assert told[-1].HasField("finished")
    assert [event.sequence for event in told] == [1, 2, 3, 4, 5]


async def test_of_an_item_that_has_ended_nothing_more_is_told() -> None:
    outbox = Outbox("t-1", TaskStarted(worker_id="worker"))
    events = outbox.events()
    outbox.result(ItemResult(item_id="a"))
    kinds = [(await anext(events)).WhichOneof("event") for _ in range(2)]
    assert kinds == ["started", "result"]
    outbox.progress("a", Progress(percent=3))  # an input that another item wants, too
    outbox.progress("b", Progress(percent=3))
    assert (await anext(events)).progress.item_id == "b"
