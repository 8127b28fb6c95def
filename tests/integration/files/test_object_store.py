"""Files in a real object store: what workers, clients and the service do with it, over the wire."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
import grpc
import pytest
import yarl
from apigpu.video.v1 import job_pb2, video_service_pb2
from apigpu.video.v1.job_pb2 import Job
from apigpu.worker.v1 import worker_service_pb2 as worker
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import ServiceError
from gpu_worker.deliver import deliver
from orchestrator.files import links as links_module
from orchestrator.files import storage as storage_module
from orchestrator.files.links import Links
from orchestrator.files.storage import FileExists, FileStorage, Written
from tests import requests
from tests.object_store import ObjectStore
from tests.requests import pictures
from tests.scripted_worker import ScriptedWorker, Sender, do_all, put, serve
from tests.services import free_port, in_process, kept_files

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub


@pytest.fixture
def url(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own in the store."""
    environment = store.environment(uuid4().hex)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment["APIGPU_STORAGE_URL"]


@asynccontextmanager
async def service(
    data_dir: Path, url: str, scripted: ScriptedWorker, **more: object
) -> AsyncIterator[VideoServiceAsyncStub]:
    async with (
        serve(scripted) as address,
        in_process(data_dir, (address,), storage_url=url, **more) as stub,
    ):
        yield stub


async def fetched(link: str, **headers: str) -> tuple[int, bytes]:
    exact = yarl.URL(link, encoded=True)
    async with aiohttp.ClientSession() as http, http.get(exact, headers=headers) as answer:
        return answer.status, await answer.read()


def longer(found: re.Match[str]) -> str:
    """Of a link's end, a later one."""
    return found[0].replace("3600", "9999").replace("=20", "=21")


async def link_to(stub: VideoServiceAsyncStub, file: str) -> str:
    request = video_service_pb2.CreateFileLinkRequest(name=file)
    return (await stub.CreateFileLink(request)).uri


async def downloaded(stub: VideoServiceAsyncStub, file: str, offset: int = 0) -> bytes:
    request = video_service_pb2.DownloadFileRequest(name=file, offset=offset)
    return b"".join([part.chunk async for part in stub.DownloadFile(request)])


async def test_a_job_goes_from_store_to_store_without_passing_the_service(
    tmp_path: Path, store: ObjectStore, url: str
) -> None:
    body = os.urandom(12_000_000)  # of several parts
    seen: list[str] = []
    came: list[bytes] = []

    async def script(task: worker.Task, sender: Sender) -> None:
        (source,) = task.files.values()
        seen.extend([source.url, *(item.target.url for item in task.items)])
        came.append((await fetched(source.url))[1])
        await do_all(task, sender)

    async with service(tmp_path, url, ScriptedWorker(script)) as stub:
        file = await stub.UploadFile(requests.chunks("picture.jpg", body))
        assert file.sha256 == hashlib.sha256(body).hexdigest()
        spec = pictures("a")
        spec.images_to_videos.images[0].image.file = file.name
        job = await requests.finished(stub.RunJob(requests.run(spec)))
        assert job.state == Job.SUCCEEDED, job.error
        output = job.items[0].output
        assert await downloaded(stub, output.file) == b"a video"
        assert await downloaded(stub, file.name, 11_999_990) == body[-10:]
        link = await link_to(stub, output.file)
        assert await fetched(link) == (200, b"a video")
        assert await fetched(link, Range="bytes=2-") == (206, b"video")
        assert (await fetched(link.partition("?")[0]))[0] == 403, "files must be private"
        forged, changed = re.subn(r"X-Amz-Expires=3600|se=20\d\d", longer, link)
        assert changed == 1 and (await fetched(forged))[0] == 403
        await stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=job.name))
        assert (await fetched(link))[0] == 404
    assert came == [body]
    assert all(each.startswith(store.endpoint) for each in [*seen, link])
    assert not any(store.variables[store.secret] in each for each in seen)
    assert not kept_files(tmp_path), "nothing stays on the service's disk"


async def test_an_old_link_cannot_touch_an_accepted_result(tmp_path: Path, url: str) -> None:
    targets = []

    async def script(task: worker.Task, sender: Sender) -> None:
        targets.append(task.items[0].target)
        await do_all(task, sender)

    async with service(tmp_path, url, ScriptedWorker(script)) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
        await put(targets[0], b"forged")
        assert await downloaded(stub, job.items[0].output.file) == b"a video"


async def test_a_result_in_the_store_is_accepted_only_as_it_was_measured(
    tmp_path: Path, url: str
) -> None:
    async def lies(task: worker.Task, sender: Sender) -> None:
        sender.start()
        await put(task.items[0].target, b"a video")
        other = job_pb2.Output(size_bytes=7, sha256=hashlib.sha256(b"A video").hexdigest())
        sender.finish([worker.ItemResult(item_id="a", output=other)])

    async with service(tmp_path, url, ScriptedWorker(lies), max_attempts=1) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
    assert requests.reason_of(job.items[0].error) == "RESULT_MISSING"


async def test_a_worker_delivers_to_the_store_once(tmp_path: Path, url: str) -> None:
    """Longer than what is sent without asking first: a taken place refuses before the body."""
    storage = FileStorage(url)
    links = Links(storage, b"", own_url="", direct=True, public_url="")
    target = await links.target("incoming/1", 60)
    first = os.urandom(3_000_000)
    for body in (first, os.urandom(3_000_000)):
        (tmp_path / "result.mp4").write_bytes(body)
        await deliver(tmp_path / "result.mp4", target)
        stored = await storage.measure("incoming/1")
        assert stored == Written(len(first), hashlib.sha256(first).hexdigest())


async def test_a_result_too_long_for_one_put_passes_the_service(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits that a test can reach: one PUT of 1 MB, copies of 6 MB."""
    monkeypatch.setattr(links_module, "MAX_PUT_BYTES", 1_000_000)
    monkeypatch.setattr(storage_module, "_MAX_COPY_BYTES", 6_000_000)
    bodies = {"a": os.urandom(1_000_000), "b": os.urandom(1_000_001), "c": os.urandom(13_000_000)}
    hosts = {}

    async def script(task: worker.Task, sender: Sender) -> None:
        sender.start()
        results = []
        for item in task.items:
            body, result = bodies[item.id], tmp_path / item.id
            result.write_bytes(body)
            direct, long = item.target.url, item.long_target.url
            hosts[item.id] = (direct.split("/")[2], long.split("/")[2])
            await deliver(result, item.target, item.long_target)
            output = job_pb2.Output(size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
            results.append(worker.ItemResult(item_id=item.id, output=output))
        sender.finish(results)

    public = f"127.0.0.1:{free_port()}"
    more = {"public_url": f"http://{public}", "http_listen": public}
    async with service(tmp_path / "data", url, ScriptedWorker(script), **more) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures(*bodies))))
        assert job.state == Job.SUCCEEDED, job.error
        for item in job.items:
            assert await downloaded(stub, item.output.file) == bodies[item.id]
    assert all(direct != public and long == public for direct, long in hosts.values())
    assert not [key async for key, _ in FileStorage(url).arrivals()], "nothing is left behind"


async def test_a_result_too_long_is_refused_where_the_service_cannot_be_reached(
    tmp_path: Path,
) -> None:
    (tmp_path / "result").write_bytes(b"four")
    with pytest.raises(ServiceError) as refused:
        await deliver(tmp_path / "result", FileLocation(url="http://127.0.0.1:1/", max_bytes=3))
    assert (refused.value.reason, refused.value.retryable) == ("RESULT_TOO_LONG", False)


async def test_files_can_pass_the_service_instead(
    tmp_path: Path, store: ObjectStore, url: str
) -> None:
    seen: list[str] = []

    async def script(task: worker.Task, sender: Sender) -> None:
        seen.extend(item.target.url for item in task.items)
        await do_all(task, sender)

    async with service(tmp_path, url, ScriptedWorker(script), storage_direct=False) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
        assert job.state == Job.SUCCEEDED, job.error
        seen.append(await link_to(stub, job.items[0].output.file))
        assert await fetched(seen[-1]) == (200, b"a video")
    assert not any(each.startswith(store.endpoint) for each in seen)


async def test_files_that_the_operator_made_public_have_plain_links(
    tmp_path: Path, url: str
) -> None:
    public = "https://cdn.example/videos/"
    async with service(tmp_path, url, ScriptedWorker(), storage_public_url=public) as stub:
        file = await stub.UploadFile(requests.chunks("picture.jpg", b"123"))
        link = await stub.CreateFileLink(video_service_pb2.CreateFileLinkRequest(name=file.name))
    assert link.uri.startswith(public) and "?" not in link.uri
    assert not link.HasField("expire_time")


async def test_a_store_that_refuses_is_told_at_the_start(
    tmp_path: Path, store: ObjectStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.secret, store.wrong)
    with pytest.raises(ServiceError) as refused:
        async with service(tmp_path, url, ScriptedWorker()):
            pass
    assert refused.value.reason == "STORAGE_REFUSES"
    assert store.wrong not in refused.value.message


@pytest.mark.parametrize("kind", ["folder", "store"])
async def test_every_kind_of_store_keeps_the_same_promises(
    kind: str, tmp_path: Path, url: str
) -> None:
    storage = FileStorage(url if kind == "store" else f"file://{tmp_path / 'files'}")
    await storage.check()

    def source(body: bytes) -> Path:
        path = tmp_path / "source"
        path.write_bytes(body)
        return path

    await storage.adopt(source(b"first"), "incoming/1", "video/mp4")
    with pytest.raises(FileExists):
        await storage.adopt(source(b"second"), "incoming/1", "video/mp4")
    await storage.move("incoming/1", "one/two.mp4")
    await storage.adopt(source(b"third"), "incoming/1", "video/mp4")
    with pytest.raises(FileExists):
        await storage.move("incoming/1", "one/two.mp4")
    assert await storage.measure("one/two.mp4") == Written(5, hashlib.sha256(b"first").hexdigest())
    assert b"".join([part async for part in storage.read("one/two.mp4", 1, 3)]) == b"irs"
    assert [key async for key, _ in storage.arrivals()] == ["incoming/1"]
    await storage.delete("incoming/1")
    assert await storage.size_bytes("incoming/1") is None
    await storage.delete("one/two.mp4")
    await storage.delete("one/two.mp4")
    assert await storage.measure("one/two.mp4") is None


@pytest.mark.parametrize("kind", ["folder", "store"])
async def test_results_lie_where_the_operator_wants_them_and_never_over_another(
    kind: str, tmp_path: Path, url: str
) -> None:
    where = url if kind == "store" else f"file://{tmp_path / 'files'}"
    storage = FileStorage(where)
    taken: list[str] = []

    async def script(task: worker.Task, sender: Sender) -> None:
        job_id = task.job.removeprefix("jobs/")
        if not taken:
            (tmp_path / "other").write_bytes(b"of somebody else")
            taken.append(f"default/{job_id}/b_1.mp4")
            await storage.adopt(tmp_path / "other", taken[0], "video/mp4")
        await do_all(task, sender)

    template = "{owner}/{job}/{item}.mp4"
    scripted = ScriptedWorker(script)
    async with service(tmp_path, where, scripted, output_path=template) as stub:
        job = await requests.finished(stub.RunJob(requests.run(pictures("a", "b 1", "..c"))))
        assert job.state == Job.SUCCEEDED, job.error
        job_id = job.name.removeprefix("jobs/")
        for item in job.items:
            assert await downloaded(stub, item.output.file) == b"a video"
            assert await fetched(await link_to(stub, item.output.file)) == (200, b"a video")
        assert await storage.size_bytes(f"default/{job_id}/a.mp4") == 7
        assert await storage.size_bytes(f"default/{job_id}/c.mp4") == 7
        assert await storage.size_bytes(taken[0]) == len(b"of somebody else")
        # A result is an input, too, wherever it lies.
        spec = pictures("x")
        spec.images_to_videos.images[0].image.file = job.items[1].output.file
        again = await requests.finished(stub.RunJob(requests.run(spec)))
        assert again.state == Job.SUCCEEDED, again.error
        await stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=again.name))
        await stub.DeleteJob(video_service_pb2.DeleteJobRequest(name=job.name))
        assert await storage.size_bytes(f"default/{job_id}/a.mp4") is None


async def test_files_are_listed_page_by_page_and_uploads_can_be_removed(
    tmp_path: Path, url: str
) -> None:
    async with service(tmp_path, url, ScriptedWorker()) as stub:
        names = [(await stub.UploadFile(requests.chunks(f"{n}.jpg", b"x"))).name for n in range(3)]
        job = await requests.finished(stub.RunJob(requests.run(pictures("a"))))
        names.append(job.items[0].output.file)
        listed: list[str] = []
        request = video_service_pb2.ListFilesRequest(page_size=2)
        while True:
            page = await stub.ListFiles(request)
            listed += [file.name for file in page.files]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert listed == names[::-1]
        link = await link_to(stub, names[0])
        await stub.DeleteFile(video_service_pb2.DeleteFileRequest(name=names[0]))
        assert (await fetched(link))[0] == 404
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.DeleteFile(video_service_pb2.DeleteFileRequest(name=names[-1]))
        assert requests.Refusal(refused.value).reason == "FILE_OF_JOB"
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await stub.GetFile(video_service_pb2.GetFileRequest(name=names[0]))
        assert requests.Refusal(missing.value).reason == "FILE_NOT_FOUND"
