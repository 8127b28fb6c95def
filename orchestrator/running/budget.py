"""Holds a job to what it may cost: tells whoever works on it when that is spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from apigpu.video.v1.job_pb2 import Job
from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from orchestrator.jobs import stats
from orchestrator.running.ledger import Ledger

# Other tasks of the job spend as well: look at the whole of it so often.
_LOOK_S = 1.0


class BudgetExceeded(ServiceError):
    """The job has cost what it may."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            code_pb2.RESOURCE_EXHAUSTED,
            "BUDGET_EXCEEDED",
            f"The job has reached its limit of {job.max_cost_micros / 1e6:.6f} US dollars"
            " (max_cost_micros).",
            metadata={"max_cost_micros": str(job.max_cost_micros)},
        )


def check(job: Job) -> None:
    """Raise BudgetExceeded where there is nothing left for another attempt."""
    if stats.budget_left_s(job, datetime.now(UTC)) == 0:
        raise BudgetExceeded(job)


@asynccontextmanager
async def kept(ledger: Ledger, job: Job) -> AsyncIterator[None]:
    """What is done inside is broken off with BudgetExceeded once the job has spent its budget."""
    if not job.HasField("max_cost_micros"):
        yield
        return
    job_id = job.name.removeprefix("jobs/")
    try:
        async with asyncio.timeout(None) as limit:
            guard = asyncio.create_task(_spend(ledger, job_id, limit))
            try:
                yield
            finally:
                guard.cancel()
    except TimeoutError:
        if limit.expired():
            raise BudgetExceeded(job) from None
        raise


async def _spend(ledger: Ledger, job_id: str, limit: asyncio.Timeout) -> None:
    """Let `limit` pass when the budget is spent."""
    while True:
        left_s = stats.budget_left_s(await ledger.get(job_id), datetime.now(UTC))
        if left_s == 0:
            limit.reschedule(asyncio.get_running_loop().time())
            return
        await asyncio.sleep(_LOOK_S if left_s is None else min(left_s + 0.01, _LOOK_S))
