"""What a demo leaves behind when it is ended in the middle: nothing."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import descendants, ended, named

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.one_backend("the demo has its own; the one on RunPod is `make demo-runpod`")
async def test_a_demo_that_is_told_to_end_takes_its_service_along() -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, ROOT / "demo" / "restart.py"), stdout=asyncio.subprocess.PIPE
    )
    assert demo.stdout is not None
    try:
        async with asyncio.timeout(60):
            for _ in ("it starts the service", "the job is on its way"):
                assert await demo.stdout.readline()
        assert named(demo.pid, b"gpu_worker\0--listen")
        below = descendants(demo.pid)
        demo.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(demo.wait(), 40) == 130
        await ended(below, 5)
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.wait()
