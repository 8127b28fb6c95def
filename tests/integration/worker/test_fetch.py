"""Downloads from servers that lie, break off, redirect and hide."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import ServiceError
from apigpu_common.guard import is_allowed
from gpu_worker.fetch import Fetcher
from gpu_worker.settings import WorkerSettings
from tests.http_server import cut, serving

BODY = bytes(range(256)) * 4000
LOOPBACK = "127.0.0.0/8"


def settings(allow: str = LOOPBACK, **more: object) -> WorkerSettings:
    return WorkerSettings.model_validate({"fetch_allow": allow, **more})


async def fetch(
    url: str, folder: Path, values: WorkerSettings, field: str = "caption.video"
) -> Path:
    async with Fetcher(values) as fetcher:
        return await fetcher.fetch(MediaSource(uri=url), field, {}, folder, lambda part: None)


async def refused(
    url: str, folder: Path, values: WorkerSettings, field: str = "caption.video"
) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        await fetch(url, folder, values, field)
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
        assert (await fetch(base + path, tmp_path, settings())).read_bytes() == BODY
    assert seen == [path]


async def test_a_link_behind_a_redirect_keeps_its_signature(tmp_path: Path) -> None:
    seen = []
    signed = "/b/a%2Fb?X-Sig=ab%2Bcd%2F+ef%3D&t=%7E"

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        if request.path == "/":
            return web.Response(status=302, headers={"Location": signed})
        return web.Response(body=BODY)

    async with serving(handler) as base:
        await fetch(base + "/", tmp_path, settings())
    assert seen == ["/", signed]


async def test_a_cookie_of_one_download_is_not_told_in_another(tmp_path: Path) -> None:
    cookies = []

    async def handler(request: web.Request) -> web.StreamResponse:
        cookies.append(dict(request.cookies))
        response = web.Response(body=BODY)
        response.set_cookie("customer", "1")
        return response

    async with serving(handler) as base, Fetcher(settings("127.0.0.0/8,::1/128")) as fetcher:
        # Cookies are for names alone, not for addresses.
        source = MediaSource(uri=base.replace("127.0.0.1", "localhost"))
        for _ in range(2):
            await fetcher.fetch(source, "caption.video", {}, tmp_path, lambda part: None)
    assert cookies == [{}, {}]


async def test_the_orchestrators_own_links_may_be_private(tmp_path: Path) -> None:
    parts: list[float | None] = []
    async with serving(give) as base, Fetcher(settings(allow="")) as fetcher:
        files = {"files/1": FileLocation(url=f"{base}/transfers/1")}
        source = MediaSource(file="files/1")
        path = await fetcher.fetch(source, "caption.video", files, tmp_path, parts.append)
    assert path.read_bytes() == BODY
    assert parts == sorted(parts, key=lambda part: part or 0) and parts[-1] == 1.0


async def test_a_file_on_our_disk_is_used_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    files = {"files/1": FileLocation(path=str(path))}
    source = MediaSource(file="files/1")
    async with Fetcher(settings()) as fetcher:
        with pytest.raises(ServiceError) as error:
            await fetcher.fetch(source, "caption.video", files, tmp_path, lambda part: None)
        assert error.value.reason == "FILE_NOT_FOUND"
        path.write_bytes(BODY)
        found = await fetcher.fetch(source, "caption.video", files, tmp_path, lambda part: None)
    assert found == path
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
async def test_our_own_network_is_not_for_strangers(tmp_path: Path, host: str) -> None:
    async with serving(give) as base:
        url = base.replace("127.0.0.1", host) + "/?signature=1"
        error = await refused(url, tmp_path, settings(allow=""))
    assert (error.reason, error.retryable) == ("SOURCE_ADDRESS_REFUSED", False)
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


async def test_a_name_whose_addresses_are_all_private_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def two_addresses(host: str, *rest: Any, **more: Any) -> list[Any]:
        hosts = ["127.0.0.1", "127.0.0.2"] if host == "media.example" else [host]
        return [found for each in hosts for found in look_up(each, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    error = await refused("http://media.example/?signature=1", tmp_path, settings(allow=""))
    assert (error.reason, error.retryable) == ("SOURCE_ADDRESS_REFUSED", False)


async def test_a_redirect_to_our_own_network_is_refused(tmp_path: Path) -> None:
    async def inner(request: web.Request) -> web.StreamResponse:
        raise AssertionError("reached")

    async with serving(inner) as private:
        private = private.replace("127.0.0.1", "127.0.0.2")

        async def handler(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(private)

        async with serving(handler) as base:
            error = await refused(base, tmp_path, settings("127.0.0.1/32"))
    assert error.reason == "SOURCE_ADDRESS_REFUSED"


@pytest.mark.parametrize(
    "location", ["/", "ftp://media.example/1", "http://[::1", "http://a:99999/"]
)
async def test_a_redirect_to_nowhere_good_is_refused_at_once(tmp_path: Path, location: str) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        return web.Response(status=302, headers={"Location": location})

    async with serving(handler) as base:
        error = await refused(f"{base}/?signature=1", tmp_path, settings())
    assert (error.reason, error.retryable) == ("SOURCE_REFUSED", False)
    assert len(calls) <= 6


@pytest.mark.parametrize("url", ["http://[::1/?signature=1", "http://a:99999/?signature=1"])
async def test_a_url_that_is_none_is_refused_as_one(tmp_path: Path, url: str) -> None:
    error = await refused(url, tmp_path, settings())
    assert (error.reason, error.retryable) == ("SOURCE_URL_INVALID", False)


def test_addresses_that_carry_or_hide_a_private_one_are_refused() -> None:
    bad = (
        "10.0.0.1 172.16.0.1 192.168.1.1 127.0.0.1 169.254.169.254 0.0.0.0 100.64.0.1 192.0.0.8"
        " 224.0.0.1 255.255.255.255 ::1 :: fe80::1 fc00::1 ff02::1 ::ffff:10.0.0.1"
        " 64:ff9b::a00:1 2002:a00:1:: 2001:0:a00:1:: ::10.0.0.1 fec0::1 3fff::1 2001:db8::1"
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
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        await response.write(BODY[start:end])
        if end < len(BODY):
            cut(request)
        return response

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path, settings())).read_bytes() == BODY
    assert ranges == sorted(ranges) and len(ranges) >= 3 and ranges[0] == 0


async def test_a_server_that_gives_a_piece_at_a_time_is_asked_for_the_next(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        end = min(len(BODY), start + 400_000)
        headers = {"ETag": '"1"', "Content-Range": f"bytes {start}-{end - 1}/{len(BODY)}"}
        return web.Response(status=206, headers=headers, body=BODY[start:end])

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path, settings())).read_bytes() == BODY


@pytest.mark.parametrize("answer", ["another range", "no range", "no such range"])
async def test_a_server_that_answers_another_range_does_no_harm(
    tmp_path: Path, answer: str
) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append("Range" in request.headers)
        if calls[-1] and answer == "no such range":
            return web.Response(status=416)
        if calls[-1]:
            headers = {"Content-Range": "bytes 0-999/1000"} if answer == "another range" else {}
            return web.Response(status=206, body=b"x" * 1000, headers={"ETag": '"1"', **headers})
        response = web.StreamResponse(headers={"ETag": '"1"', "Content-Length": str(len(BODY))})
        await response.prepare(request)
        await response.write(BODY if len(calls) > 1 else BODY[:400_000])
        if len(calls) == 1:
            cut(request)
        return response

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path, settings())).read_bytes() == BODY
    assert calls == [False, True, False]


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
            cut(request)
        else:
            await response.write(body)  # 200: the whole new file, not the range
        return response

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path, settings())).read_bytes() == BODY
    assert calls == [None, '"1"']


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "SOURCE_UNAUTHORIZED"),
        (403, "SOURCE_FORBIDDEN"),
        (404, "SOURCE_NOT_FOUND"),
        (410, "SOURCE_GONE"),
        (418, "SOURCE_REFUSED"),
    ],
)
async def test_a_server_that_says_no_is_asked_once(
    tmp_path: Path, status: int, reason: str
) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        return web.Response(status=status)

    async with serving(handler) as base:
        error = await refused(f"{base}/?signature=1", tmp_path, settings())
    assert (error.reason, error.retryable, len(calls)) == (reason, False, 1)


async def test_a_server_in_trouble_is_asked_again_and_not_for_ever(tmp_path: Path) -> None:
    calls = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        if len(calls) < 3 or request.path == "/always":
            return web.Response(status=503)
        return web.Response(body=BODY)

    async with serving(handler) as base:
        assert (await fetch(base, tmp_path, settings())).read_bytes() == BODY
        calls.clear()
        error = await refused(f"{base}/always", tmp_path, settings())
    assert (error.reason, error.retryable) == ("SOURCE_FAILING", True)
    assert error.metadata["http_status"] == "503"
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
        error = await refused(base, tmp_path, settings(max_input_bytes=500_000))
    assert error.reason == "SOURCE_TOO_LARGE"


@pytest.mark.parametrize(
    ("field", "setting"),
    [
        ("images_to_videos.images[3].image", "max_image_bytes"),
        ("caption.subtitles", "max_subtitles_bytes"),
    ],
)
async def test_pictures_and_captions_have_limits_of_their_own(
    tmp_path: Path, field: str, setting: str
) -> None:
    values = WorkerSettings.model_validate({"fetch_allow": LOOPBACK, setting: 500_000})
    async with serving(give) as base:
        assert (await refused(base, tmp_path, values, field)).reason == "SOURCE_TOO_LARGE"
        assert (await fetch(base, tmp_path, values)).read_bytes() == BODY


async def test_a_signed_link_never_reaches_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with serving(handler) as base:
        error = await refused(f"{base}/?signature=1", tmp_path, settings())
    logging.getLogger("test").error("it failed", exc_info=error)  # as a careless caller would
    assert "it failed" in caplog.text
    assert "signature" not in caplog.text


async def test_a_slow_server_meets_a_deadline(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        await gone.wait()
        return response

    async with serving(handler) as base:
        error = await refused(base, tmp_path, settings(fetch_timeout_s=0.5))
        gone.set()
    assert error.reason == "SOURCE_UNREACHABLE"
