"""Downloads from sources that are slow, elsewhere, too big for the disk, or known by their time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tests.http_server import cut, serving
from tests.integration.worker.test_fetch import BODY, fetch, refused, settings

OLD, NOW = "Tue, 24 Nov 2026 10:00:00 GMT", "Tue, 24 Nov 2026 12:00:00 GMT"


async def test_a_source_that_drips_is_given_up(tmp_path: Path) -> None:
    """Each byte comes in time for the time-out on silence, and the whole would take for ever."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(b"x")
            await asyncio.sleep(0.01)
        return response

    patience = settings(fetch_patience_s=0.3, fetch_min_bytes_per_s=10_000)
    async with serving(handler) as base:
        error = await refused(f"{base}/?signature=1", tmp_path, patience)
    assert (error.reason, error.retryable) == ("SOURCE_TOO_SLOW", True)


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ({"Last-Modified": OLD, "Date": NOW}, OLD),
        ({"ETag": 'W/"1"', "Last-Modified": OLD, "Date": NOW}, OLD),
        ({"ETag": '"1"', "Last-Modified": OLD, "Date": NOW}, '"1"'),
        # These do not tell for certain whether the file is the same.
        ({"ETag": 'W/"1"'}, None),
        ({"Last-Modified": NOW, "Date": NOW}, None),
        ({"Last-Modified": "yesterday", "Date": NOW}, None),
    ],
)
async def test_a_download_goes_on_only_with_what_is_surely_the_same_file(
    tmp_path: Path, headers: dict[str, str], asked: str | None
) -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("If-Range"), request.headers.get("Range")))
        start = len(BODY) // 2 if "Range" in request.headers else 0
        length = {"Content-Length": str(len(BODY) - start)}
        span = {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"} if start else {}
        response = web.StreamResponse(
            status=206 if start else 200, headers={**headers, **length, **span}
        )
        await response.prepare(request)
        if len(seen) == 1:
            await response.write(BODY[: len(BODY) // 2])
            await asyncio.sleep(0.1)  # let it arrive: what is in flight may be lost
            cut(request)
        else:
            await response.write(BODY[start:])
        return response

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path, settings())).read_bytes() == BODY
    assert len(seen) == 2
    assert seen[1] == (asked, f"bytes={len(BODY) // 2}-" if asked else None)


@pytest.mark.parametrize(
    ("hosts", "reached"),
    [
        ("localhost", True),
        ("*.localhost", False),
        ("media.example,localhost", True),
        ("a.b", False),
    ],
)
async def test_inputs_come_only_from_the_hosts_that_are_named(
    tmp_path: Path, hosts: str, reached: bool
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BODY)

    async with serving(handler) as base:
        url = base.replace("127.0.0.1", "localhost")
        values = settings("127.0.0.0/8,::1/128", fetch_hosts=hosts)
        if reached:
            await fetch(url, tmp_path, values)
        else:
            assert (await refused(url, tmp_path, values)).reason == "SOURCE_HOST_REFUSED"


async def test_a_redirect_does_not_lead_past_the_list_of_hosts(tmp_path: Path) -> None:
    calls: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(request.path)
        elsewhere = f"http://127.0.0.1:{request.url.port}/stolen"
        return web.Response(status=302, headers={"Location": elsewhere})

    async with serving(handler) as base:
        url = base.replace("127.0.0.1", "localhost")
        values = settings("127.0.0.0/8,::1/128", fetch_hosts="localhost")
        assert (await refused(url, tmp_path, values)).reason == "SOURCE_HOST_REFUSED"
    assert calls == ["/"]


async def test_an_input_that_the_disk_cannot_hold_is_told_before_it_comes(tmp_path: Path) -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Length": str(2**60)})
        await response.prepare(request)
        try:
            for _ in range(200):
                await response.write(bytes(1_000_000))
                sent += 1
        except ConnectionError:
            pass
        return response

    async with serving(handler) as base:
        error = await refused(base, tmp_path, settings(max_input_bytes=2**61))
    assert (error.reason, error.retryable) == ("WORKER_DISK_FULL", True)
    assert sent < 200
