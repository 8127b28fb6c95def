"""Downloads from servers that lie, break off, redirect and hide."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import ServiceError
from gpu_worker.deliver import deliver
from gpu_worker.fetch import Fetcher
from gpu_worker.guard import is_allowed
from gpu_worker.settings import WorkerSettings

BODY = bytes(range(256)) * 4000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A real HTTP server on loopback; yields its base URL."""
    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def fetch(
    url: str,
    folder: Path,
    allow: str = "127.0.0.0/8",
    field: str = "add_audio.video",
    **settings: object,
) -> Path:
    values = {"fetch_allow": allow, **settings}
    async with Fetcher(WorkerSettings.model_validate(values)) as fetcher:
        return await fetcher.fetch(MediaSource(uri=url), field, {}, folder, lambda part: None)


async def refused(
    url: str, folder: Path, allow: str = "127.0.0.0/8", **more: object
) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        await fetch(url, folder, allow, **more)
    assert "signature" not in error.value.message, "a signed link is a secret"
    return error.value


async def give(request: web.Request) -> web.StreamResponse:
    return web.Response(body=BODY)


async def test_a_link_is_requested_byte_for_byte(tmp_path: Path) -> None:
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.Response(body=BODY)

    path = "/bucket/a%2Fb%20c/%C3%A9.mp4?X-Sig=ab%2Bcd+ef%3D&plus=1+1"
    async with serving(handler) as base:
        assert (await fetch(base + path, tmp_path)).read_bytes() == BODY
    assert seen == [path]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
async def test_our_own_network_is_not_for_strangers(tmp_path: Path, host: str) -> None:
    async with serving(give) as base:
        url = base.replace("127.0.0.1", host) + "/?signature=1"
        error = await refused(url, tmp_path, allow="")
    assert error.reason in ("SOURCE_ADDRESS_REFUSED", "SOURCE_REFUSED", "SOURCE_UNREACHABLE")
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


async def test_a_redirect_to_our_own_network_is_refused(tmp_path: Path) -> None:
    async def inner(request: web.Request) -> web.StreamResponse:
        raise AssertionError("reached")

    async with serving(inner) as private:
        private = private.replace("127.0.0.1", "127.0.0.2")

        async def handler(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(private)

        async with serving(handler) as base:
            error = await refused(base, tmp_path, allow="127.0.0.1/32")
    assert error.reason == "SOURCE_ADDRESS_REFUSED"


def test_addresses_that_carry_or_hide_a_private_one_are_refused() -> None:
    bad = (
        "10.0.0.1 172.16.0.1 192.168.1.1 127.0.0.1 169.254.169.254 0.0.0.0 100.64.0.1 192.0.0.8"
        " 224.0.0.1 255.255.255.255 ::1 :: fe80::1 fc00::1 ff02::1 ::ffff:10.0.0.1"
        " 64:ff9b::a00:1 2002:a00:1:: 2001:0:a00:1::"
    )
    for text in bad.split():
        assert not is_allowed(ipaddress.ip_address(text), ()), text
    for text in ("93.184.216.34", "2606:2800:220:1::1"):
        assert is_allowed(ipaddress.ip_address(text), ()), text


async def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    ranges = []

    async def handler(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        ranges.append(start)
        end = min(len(BODY), start + 400_000)
        headers = {"ETag": '"1"', "Content-Length": str(len(BODY) - start)}
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        await response.write(BODY[start:end])
        if end < len(BODY):
            assert request.transport is not None
            request.transport.close()
        return response

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path)).read_bytes() == BODY
    assert ranges == sorted(ranges) and len(ranges) >= 3 and ranges[0] == 0


async def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(request.headers.get("If-Range"))
        body = BODY if len(calls) > 1 else b"old" * 100_000
        response = web.StreamResponse(
            headers={"ETag": f'"{len(calls)}"', "Content-Length": str(len(body))}
        )
        await response.prepare(request)
        if len(calls) == 1:
            await response.write(body[:200_000])
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(body)  # 200: the whole new file, not the range
        return response

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path)).read_bytes() == BODY
    assert calls == [None, '"1"']


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "SOURCE_NOT_FOUND"), (403, "SOURCE_REFUSED"), (418, "SOURCE_REFUSED")],
)
async def test_a_server_that_says_no_is_asked_once(
    tmp_path: Path, status: int, reason: str
) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        return web.Response(status=status)

    async with serving(handler) as base:
        error = await refused(f"{base}/?signature=1", tmp_path)
    assert (error.reason, error.retryable, len(calls)) == (reason, False, 1)


async def test_a_server_in_trouble_is_asked_again_and_not_for_ever(tmp_path: Path) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        if len(calls) < 3 or request.path == "/always":
            return web.Response(status=503)
        return web.Response(body=BODY)

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path)).read_bytes() == BODY
        calls.clear()
        error = await refused(f"{base}/always", tmp_path)
    assert (error.reason, error.retryable) == ("SOURCE_UNREACHABLE", True)
    assert 2 <= len(calls) <= 6


@pytest.mark.parametrize("declared", [True, False])
async def test_an_input_beyond_the_limit_is_refused(tmp_path: Path, declared: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if declared:
            return web.Response(body=BODY)
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:  # no end, and no length
            await response.write(BODY)

    async with serving(handler) as base:
        error = await refused(base, tmp_path, max_input_bytes=500_000)
    assert error.reason == "SOURCE_TOO_LARGE"


async def test_a_slow_server_meets_a_deadline(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        while not request.transport.is_closing():
            await request.content.read(1)
        return response

    async with serving(handler) as base:
        error = await refused(base, tmp_path, fetch_timeout_s=0.5)
    assert error.reason == "SOURCE_UNREACHABLE"


async def test_a_result_is_put_again_when_the_store_stumbles(tmp_path: Path) -> None:
    received = []

    async def handler(request: web.Request) -> web.StreamResponse:
        received.append((request.raw_path, await request.read()))
        return web.Response(status=500 if len(received) < 3 else 201)

    path = tmp_path / "result.mp4"
    path.write_bytes(BODY)
    async with serving(handler) as base:
        await deliver(path, FileLocation(url=f"{base}/x?signature=a%2Bb"))
    assert received == [("/x?signature=a%2Bb", BODY)] * 3


async def test_a_result_on_disk_appears_whole_and_replaces_nothing_else(tmp_path: Path) -> None:
    path, target = tmp_path / "result.mp4", tmp_path / "files" / "1"
    path.write_bytes(BODY)
    target.parent.mkdir()
    await deliver(path, FileLocation(path=str(target)))
    assert target.read_bytes() == BODY
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(ServiceError) as error:
        await deliver(target, FileLocation(path=str(tmp_path / "nowhere" / "1")))
    assert (error.value.reason, error.value.retryable) == ("DELIVERY_FAILED", True)
