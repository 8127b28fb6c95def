"""What nobody waits for any more is removed, and nothing else."""

from __future__ import annotations

from pathlib import Path

from orchestrator.files import arrivals
from orchestrator.files.rooms import open_files
from orchestrator.files.sweeper import Sweeper
from tests.services import settings
from tests.waiting import until


async def test_results_that_nobody_waits_for_are_removed(tmp_path: Path) -> None:
    asked = settings(tmp_path, sweep_interval_s=0.05)
    files = await open_files(asked, link_key=b"k" * 32, own_url="http://x", shares_disk=True)

    async def wanted(job_id: str, attempt_id: str) -> bool:
        return (job_id, attempt_id) == ("job", "task-2")

    def arrived(key: str) -> Path:
        path = files.storage.path(key)
        assert path is not None
        path.write_bytes(b"bytes")
        return path

    name = arrivals.of_result("job", "task-1", "file")
    lost = arrived(name), arrived(f"{arrivals.ARRIVALS}/.{name.partition('/')[2]}.5a5a")
    kept = arrived(arrivals.of_result("job", "task-2", "file")), arrived(arrivals.of_upload("file"))
    async with Sweeper(files, wanted, asked):
        await until(lambda: not any(path.exists() for path in lost))
    assert all(path.exists() for path in kept)
