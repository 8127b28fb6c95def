"""Child processes never outlive their owner, and may not take more than they are given."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from apigpu.video.v1 import job_pb2, operations_pb2
from PIL import Image

from gpu_worker.media import process
from gpu_worker.media.process import ChildFailed, Limits, child
from tests.requests import seconds
from tests.studio import Studio, source

END_TIMEOUT_S = 5.0
FREE = Limits()


def python(code: str) -> list[str | Path]:
    return [sys.executable, "-c", code]


def with_argument(text: str) -> list[int]:
    """Living processes that have `text` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if text.encode() in command and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


async def none_left(text: str) -> None:
    async with asyncio.timeout(END_TIMEOUT_S):
        while with_argument(text):
            await asyncio.to_thread(os.sched_yield)


async def test_a_child_and_all_it_started_end_with_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_caged", False)  # in the cage, it cannot start any
    mark = str(tmp_path)
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}])\n"
        "print('started', flush=True)\n"
        "time.sleep(600)"
    )
    async with child(python(code), cwd=tmp_path, limits=FREE) as running:
        assert await anext(running.lines()) == "started"
        assert with_argument(mark)
    await none_left(mark)


async def test_a_worker_that_is_killed_takes_its_children_along(tmp_path: Path) -> None:
    mark = str(tmp_path)
    parent = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from gpu_worker.media.process import Limits, child\n"
        "async def main():\n"
        f"    command = [sys.executable, '-c', 'import time; print(1, flush=True);"
        f" time.sleep(600)', {mark!r}]\n"
        "    async with child(command, cwd=Path('/'), limits=Limits()) as running:\n"
        "        await anext(running.lines())\n"
        "        print('started', flush=True)\n"
        "        await running.wait()\n"
        "asyncio.run(main())\n"
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    assert await asyncio.wait_for(worker.stdout.readline(), END_TIMEOUT_S * 4) == b"started\n"
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    await none_left(mark)


async def test_a_cancel_at_any_moment_of_its_start_ends_a_child(tmp_path: Path) -> None:
    mark = str(tmp_path)

    async def live() -> None:
        code = python(f"import time; time.sleep(600) # {mark}")
        async with child(code, cwd=tmp_path, limits=FREE) as running:
            await running.wait()

    for turns in range(25):
        task = asyncio.create_task(live())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=END_TIMEOUT_S)
        assert done, f"it hangs when it is cancelled after {turns} turns of the loop"
    await none_left(mark)


async def test_a_chatty_child_is_not_kept_in_memory_and_its_last_words_are(
    tmp_path: Path,
) -> None:
    code = (
        "import sys\n"
        "for n in range(50_000): print('line', n, file=sys.stderr)\n"
        "sys.stderr.write('x' * 500_000 + '\\n')\n"
        "print('the end', file=sys.stderr)\n"
        "sys.exit(3)"
    )
    with pytest.raises(ChildFailed) as error:
        async with child(python(code), cwd=tmp_path, limits=FREE) as running:
            await running.wait()
    assert error.value.code == 3
    assert error.value.stderr.endswith("the end")
    assert len(error.value.stderr) < 100_000


@pytest.mark.parametrize(
    ("code", "limits"),
    [
        ("while True: pass", Limits(cpu_s=1)),
        ("x = bytearray(2 * 2**30)", Limits(memory_bytes=2**30)),
        ("open('big', 'wb').write(bytes(3_000_000))", Limits(file_bytes=1_000_000)),
    ],
)
async def test_a_child_that_takes_too_much_is_stopped(
    tmp_path: Path, code: str, limits: Limits
) -> None:
    with pytest.raises(ChildFailed):
        async with child(python(code), cwd=tmp_path, limits=limits) as running:
            await running.wait()


async def test_a_child_sees_no_secrets_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APIGPU_API_KEY", "hunter2")
    code = "import os; print(dict(os.environ))"
    async with child(python(code), cwd=tmp_path, limits=FREE) as running:
        told = "".join([line async for line in running.lines()])
        await running.wait()
    assert "PATH" in told
    assert "hunter2" not in told


async def test_a_cancelled_item_leaves_no_process(studio: Studio) -> None:
    path = studio.folder / "noise.png"
    Image.effect_noise((1920, 1080), 90).save(path)
    image = operations_pb2.Image(id="it", image=source(path), duration=seconds(600))
    batch = operations_pb2.ImagesToVideos()
    work = asyncio.create_task(studio.animate(image, item_id="it", batch=batch))
    async with asyncio.timeout(60):
        while not any(p.frames_done for p in studio.progress):
            await asyncio.to_thread(os.sched_yield)
    # The encoder and the renderer: both have the workspace in their arguments.
    assert len(with_argument(str(studio.workspace))) >= 2
    work.cancel()
    done, _ = await asyncio.wait([work], timeout=1.0)
    assert done, "a cancelled item still burns its GPU after a second"
    assert work.cancelled()
    assert not with_argument(str(studio.workspace))
    assert job_pb2.STAGE_VERIFYING not in {p.stage for p in studio.progress}
