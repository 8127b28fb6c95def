"""Whose turn it is, and who has what: the same on both engines."""

from __future__ import annotations

import asyncio

from orchestrator.store.store import Store
from tests.integration.store.stored import LEASE_S, add_job, add_priority


async def claimed_jobs(store: Store, count: int, max_per_owner: int = 0) -> list[str]:
    """The jobs of the next tasks, in the order in which their turn comes."""
    tasks = [await store.claim_task("h", LEASE_S, max_per_owner) for _ in range(count)]
    return [task.job_id if task else "" for task in tasks]


async def test_a_task_has_one_holder_until_its_lease_runs_out(store: Store) -> None:
    await add_job(store, tasks=20)
    claims = await asyncio.gather(*(store.claim_task(f"h-{n % 3}", LEASE_S) for n in range(30)))
    claimed = [task.id for task in claims if task is not None]
    assert len(claimed) == len(set(claimed)) == 20
    assert await store.claim_task("late", LEASE_S) is None


async def test_an_expired_lease_passes_on_and_the_old_holder_cannot_interfere(
    store: Store,
) -> None:
    await add_job(store)
    first = await store.claim_task("dead", lease_s=-1)  # expired as soon as it is given
    second = await store.claim_task("alive", LEASE_S)
    assert first is not None and second is not None
    assert second.id == first.id
    assert await store.renew_leases("dead", [first.id], LEASE_S) == set()
    await store.finish_task("dead", first.id)
    await store.requeue_task("dead", first.id, 0)
    assert await store.renew_leases("alive", [second.id], LEASE_S) == {second.id}


async def test_after_an_outage_leases_may_be_renewed_before_they_are_taken_over(
    store: Store,
) -> None:
    await add_job(store, tasks=2)
    late = await store.claim_task("late", lease_s=-1)
    assert late is not None
    other = await store.claim_task("eager", LEASE_S, take_over=False)
    assert other is not None and other.id != late.id
    assert await store.claim_task("eager", LEASE_S, take_over=False) is None
    assert await store.renew_leases("late", [late.id], LEASE_S) == {late.id}
    assert await store.claim_task("eager", LEASE_S) is None


async def test_what_an_earlier_run_of_a_process_held_is_free_at_once(store: Store) -> None:
    await add_job(store, tasks=3)
    mine = [await store.claim_task("one-run1", LEASE_S) for _ in range(2)]
    await store.claim_task("two-run1", LEASE_S)
    assert await store.free_leases("one") == 2
    again = [await store.claim_task("one-run2", LEASE_S) for _ in range(3)]
    assert again == [*mine, None]


async def test_a_pause_ends_by_itself_and_a_finished_task_is_gone(store: Store) -> None:
    await add_job(store)
    task = await store.claim_task("h", LEASE_S)
    assert task is not None
    await store.requeue_task("h", task.id, 0.05)
    assert await store.claim_task("h", LEASE_S) is None
    async with asyncio.timeout(5):
        while await store.claim_task("h", LEASE_S) is None:
            pass
    await store.finish_task("h", task.id)
    assert await store.finish_unclaimed_tasks(task.job_id) == 0


async def test_unclaimed_tasks_are_ended_and_claimed_ones_counted(store: Store) -> None:
    await add_job(store, tasks=3)
    task = await store.claim_task("h", LEASE_S)
    assert task is not None
    assert await store.finish_unclaimed_tasks(task.job_id) == 1
    assert await store.claim_task("h", LEASE_S) is None


async def test_higher_priority_goes_first_and_older_ones_within_it(store: Store) -> None:
    made = {
        name: await add_priority(store, p) for name, p in zip("abcd", (10, 90, 50, 90), strict=True)
    }
    assert await claimed_jobs(store, 5) == [made["b"], made["d"], made["c"], made["a"], ""]


async def test_owners_take_turns_however_much_one_of_them_asks_for(store: Store) -> None:
    many = await add_priority(store, 50, "ann", tasks=6)
    bob = await add_priority(store, 50, "bob", tasks=2)
    cid = await add_priority(store, 50, "cid")
    assert await claimed_jobs(store, 9) == [many, bob, cid, many, bob, many, many, many, many]


async def test_owners_take_turns_on_a_single_worker_too(store: Store) -> None:
    ann = await add_priority(store, 50, "ann", tasks=4)
    bob = await add_priority(store, 50, "bob", tasks=2)
    order = []
    while (task := await store.claim_task("h", LEASE_S)) is not None:
        order.append(task.job_id)
        await store.finish_task("h", task.id)
    assert order == [ann, bob, ann, bob, ann, ann]


async def test_an_owner_at_the_limit_waits_and_lower_priorities_pass(store: Store) -> None:
    ann = await add_priority(store, 90, "ann", tasks=3)
    bob = await add_priority(store, 10, "bob")
    assert await claimed_jobs(store, 4, max_per_owner=2) == [ann, ann, bob, ""]
