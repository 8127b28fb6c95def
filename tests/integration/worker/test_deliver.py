"""Results on their way to disks and stores."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aiohttp import web
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import ServiceError
from gpu_worker import deliver as deliver_module
from gpu_worker.deliver import deliver
from tests.http_server import cut, serving

BODY = bytes(range(256)) * 4000
OTHER_DISK = Path("/dev/shm")


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "result.mp4"
    path.write_bytes(BODY)
    return path


async def refused(path: Path, target: FileLocation) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        await deliver(path, target)
    assert "signature" not in error.value.message, "a signed link is a secret"
    return error.value


@pytest.mark.parametrize("stumble", [500, 429, 409, "cut"])
async def test_a_result_is_put_again_when_the_store_stumbles(
    result: Path, stumble: int | str
) -> None:
    received = []

    async def handler(request: web.Request) -> web.StreamResponse:
        received.append((request.raw_path, request.content_length, await request.read()))
        if len(received) == 3:
            return web.Response(status=201)
        if stumble == "cut":
            cut(request)
        return web.Response(status=500 if stumble == "cut" else int(stumble))

    async with serving(handler) as base:
        await deliver(result, FileLocation(url=f"{base}/x?signature=a%2Bb"))
    # With its length, as stores want it: none takes a chunked body on a signed link.
    assert received == [("/x?signature=a%2Bb", len(BODY), BODY)] * 3


@pytest.mark.parametrize("status", [302, 307, 403, 413])
async def test_what_is_not_stored_is_not_called_delivered(result: Path, status: int) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        calls.append(request.path)
        if request.path == "/welcome":
            return web.Response(status=200)
        return web.Response(status=status, headers={"Location": "/welcome"})

    async with serving(handler) as base:
        error = await refused(result, FileLocation(url=f"{base}/x?signature=1"))
    assert (error.reason, error.retryable) == ("DELIVERY_FAILED", True)
    assert calls == ["/x"]


async def test_a_store_that_stays_down_is_not_asked_for_ever(
    result: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        await request.read()
        return web.Response(status=503)

    async with serving(handler) as base:
        error = await refused(result, FileLocation(url=f"{base}/x?signature=1"))
    assert (error.reason, error.retryable) == ("DELIVERY_FAILED", True)
    assert 2 <= len(calls) <= 6
    assert "503" in caplog.text, "the operator can find out why"
    assert "signature" not in caplog.text


async def test_a_store_that_never_answers_meets_a_deadline(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver_module, "_LEAST_S", 0.2)
    monkeypatch.setattr(deliver_module, "_SLOWEST_BYTES_PER_S", 100_000_000)
    done = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        await done.wait()
        return web.Response()

    async with serving(handler) as base:
        error = await refused(result, FileLocation(url=f"{base}/x?signature=1"))
        done.set()
    assert (error.reason, error.retryable) == ("DELIVERY_FAILED", True)


async def test_a_result_on_disk_appears_whole_and_alone(result: Path) -> None:
    target = result.parent / "files" / "1"
    target.parent.mkdir()
    await deliver(result, FileLocation(path=str(target)))
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="there is one file system here")
async def test_a_result_reaches_another_file_system(result: Path) -> None:
    with TemporaryDirectory(dir=OTHER_DISK) as folder:
        target = Path(folder) / "1"
        assert target.parent.stat().st_dev != result.stat().st_dev
        await deliver(result, FileLocation(path=str(target)))
        assert target.read_bytes() == BODY
        assert list(target.parent.iterdir()) == [target]


async def test_a_result_that_is_there_is_never_overwritten(result: Path) -> None:
    target = result.parent / "files" / "1"
    target.parent.mkdir()
    target.write_bytes(b"of the worker that was faster")
    await deliver(result, FileLocation(path=str(target)))
    assert target.read_bytes() == b"of the worker that was faster"
    assert list(target.parent.iterdir()) == [target]


async def test_a_store_is_asked_to_keep_what_it_has(result: Path) -> None:
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("If-None-Match"))
        return web.Response(status=412)

    async with serving(handler) as base:
        await deliver(result, FileLocation(url=f"{base}/x?signature=1"))
    assert asked == ["*"]


async def test_a_place_that_is_not_there_is_told(result: Path) -> None:
    error = await refused(result, FileLocation(path=str(result.parent / "nowhere" / "1")))
    assert (error.reason, error.retryable) == ("DELIVERY_FAILED", True)
