"""Lists answer in SQL what the filter and the order mean, on both engines, page by page."""

from __future__ import annotations

from itertools import count

import pytest
from apigpu.video.v1.job_pb2 import Job
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import ids
from orchestrator.jobs import orders
from orchestrator.jobs.filters import EVERYTHING, Filter, matches
from orchestrator.jobs.orders import Order, place
from orchestrator.store.records import NewJob
from orchestrator.store.store import Store
from tests.integration.store.stored import next_id
from tests.random_jobs import FILTERS, JOBS

ORDERS = ["", "create_time", "priority desc", "end_time desc, priority", "state, create_time desc"]
_owners = (f"owner-{number}" for number in count())


async def add(store: Store, jobs: list[Job], owner: str) -> None:
    for job in jobs:
        job_id = next_id()
        job.name = ids.job_name(job_id)
        await store.create_job(NewJob(job_id, job, [], [], "", b"", owner))


async def listed(store: Store, filter: Filter, order: Order, owner: str, size: int) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = await store.list_jobs(filter, order, after, size, owner)
        assert len(page.jobs) == size or page.complete
        found += [job.name for job in page.jobs]
        if page.complete:
            return found
        after = place(order, ids.id_of(found[-1]), page.jobs[-1])


def in_order(jobs: list[Job], order: Order) -> list[Job]:
    for position, key in reversed(list(enumerate(order))):
        jobs = sorted(
            jobs,
            key=lambda job: place(order, ids.id_of(job.name), job)[position],
            reverse=key.descending,
        )
    return jobs


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(JOBS, min_size=1, max_size=6), st.lists(FILTERS, min_size=5, max_size=15))
async def test_sql_gives_the_jobs_that_the_filter_means(
    store: Store, jobs: list[Job], filters: list[Filter]
) -> None:
    owner = next(_owners)
    await add(store, jobs, owner)
    for filter in filters:
        expected = [job.name for job in reversed(jobs) if matches(filter, job)]
        assert await listed(store, filter, orders.NEWEST_FIRST, owner, 100) == expected


@pytest.mark.parametrize("text", ORDERS)
async def test_pages_give_every_job_once_in_the_order_that_was_asked_for(
    store: Store, text: str
) -> None:
    jobs = []
    for number in range(23):  # many equals, so that a page ends among them
        job = Job(state=Job.FAILED if number % 3 else Job.RUNNING, priority=number % 4)
        job.caption.SetInParent()
        job.create_time.seconds = 1000
        if number % 5:
            job.end_time.seconds = 2000 + number % 2
        jobs.append(job)
    await add(store, jobs, "ann")
    order = orders.parse(text)
    expected = [job.name for job in in_order(jobs, order)]
    for size in (1, 4, 23):
        assert await listed(store, EVERYTHING, order, "ann", size) == expected
