"""The HTTP door under attack, by raw sockets: who is slow, too long or too many is sent away, and
who is honest but takes long is not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from orchestrator.http import tls_gate
from orchestrator.server import Orchestrator
from tests.services import settings

GET = b"GET /openapi.json HTTP/1.1\r\nhost: attacked\r\n\r\n"
POST = b"POST /video/caption HTTP/1.1\r\nhost: attacked\r\n"
ENDS_WITHIN_S = 20


class Raw:
    """A connection on which a test writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes = GET) -> int:
        """The status of a whole answer; the connection can be used again."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self.reader.readexactly(int(length))
        return int(head.split()[1])

    async def rest(self) -> bytes:
        """All that comes until the server has closed."""
        with suppress(ConnectionError):
            return await self.reader.read()
        return b""

    async def drip(self, drop: bytes) -> bytes:
        """Now and then another drop, until the server has closed; what it said."""
        ending = asyncio.ensure_future(self.rest())
        while not ending.done():
            self.writer.write(drop)
            await asyncio.wait([ending], timeout=0.05)
        return ending.result()


@asynccontextmanager
async def attacking(address: str) -> AsyncIterator[Raw]:
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(ENDS_WITHIN_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def service(folder: Path, **more: object) -> AsyncIterator[str]:
    async with Orchestrator(settings(folder, ("127.0.0.1:1",), **more)) as running:
        yield running.http_address


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[str]:
    """A service that waits for nobody long."""
    async with service(tmp_path, message_timeout_s=0.3) as address:
        yield address


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),
        (b"GET /", b"x"),
        (b"", b"\r\n"),
        (POST + b"content-length: 1000000\r\n\r\n{", b" "),
        (POST + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (POST + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
    ],
    ids=["nothing", "head", "empty lines", "body", "chunks", "trailers"],
)
async def test_who_sends_too_slowly_is_sent_away(hasty: str, begin: bytes, drop: bytes) -> None:
    async with attacking(hasty) as raw:
        raw.writer.write(begin)
        assert (await raw.drip(drop)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("drop", [b"\r\n", b"G"], ids=["empty lines", "head"])
async def test_a_second_request_has_a_deadline_too(hasty: str, drop: bytes) -> None:
    async with attacking(hasty) as raw:
        assert await raw.ask() == 200
        assert b" 200 " not in await raw.drip(drop)


async def test_a_body_that_nobody_reads_any_more_has_a_deadline(hasty: str) -> None:
    async with attacking(hasty) as raw:
        request = b"POST /nowhere HTTP/1.1\r\nhost: attacked\r\ncontent-length: 1000000\r\n\r\n"
        assert await raw.ask(request) == 404
        assert await raw.drip(b" ") == b""


@pytest.mark.parametrize(
    "attack",
    [
        b"GET /" + b"x" * 400_000,
        b"GET / HTTP/1.1\r\nx: " + b"x" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 40_000 + b"\r\n",
        GET[:-2] + b"".join(b"x%d: %s\r\n" % (n, b"x" * 2000) for n in range(90)) + b"\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"x" * 400_000,
    ],
    ids=["path", "header", "headers", "whole", "trailer"],
)
async def test_a_head_has_a_longest_size(tmp_path: Path, attack: bytes) -> None:
    async with service(tmp_path) as address, attacking(address) as raw:
        raw.writer.write(attack)
        told = await raw.rest()  # what we still send may cost us the answer
        assert told == b"" or told.startswith(b"HTTP/1.1 431 ")
        async with attacking(address) as other:
            assert await other.ask() == 200


async def test_requests_that_wait_for_each_other_are_bounded(tmp_path: Path) -> None:
    async with service(tmp_path) as address, attacking(address) as raw:
        raw.writer.write(GET * 1000)
        assert (await raw.rest()).count(b"HTTP/1.1 200") < 100


async def test_http_connections_are_bounded(tmp_path: Path) -> None:
    async with service(tmp_path, max_connections=3) as address, AsyncExitStack() as stack:

        async def connected() -> Raw:
            return await stack.enter_async_context(attacking(address))

        held = [await connected() for _ in range(3)]
        assert [await raw.ask() for raw in held] == [200, 200, 200]
        refused = await connected()
        refused.writer.write(GET)
        told = await refused.rest()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in told
        crowd = [await connected() for _ in range(100)]
        ended = asyncio.as_completed([raw.rest() for raw in crowd])
        for _ in range(36):  # the others may still ask why
            assert await next(ended) == b""
        assert await held[0].ask() == 200
        for raw in [*crowd, held[1]]:
            raw.writer.close()
        status = 0
        while status != 200:  # until it has seen that they are gone
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                status = await (await connected()).ask()


async def test_a_head_has_a_greatest_number_of_headers(tmp_path: Path) -> None:
    """Each costs more than its few bytes."""
    many = b"GET /openapi.json HTTP/1.1\r\nhost: attacked\r\n" + b"a:b\r\n" * 1000 + b"\r\n"
    assert len(many) < 10_000
    async with service(tmp_path) as address, attacking(address) as raw:
        raw.writer.write(many)
        assert (await raw.rest()).startswith(b"HTTP/1.1 431 ")
        async with attacking(address) as other:
            assert await other.ask() == 200


@pytest.mark.parametrize("patient", [False, True])
async def test_tls_handshakes_have_a_deadline_and_count_as_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    if patient:  # then the surplus alone ends
        monkeypatch.setattr(tls_gate, "_HANDSHAKE_S", 3600)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    tls = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    data = tmp_path / "data"
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # and no more of it
    async with AsyncExitStack() as stack:
        bounds = {"max_connections": 3, "message_timeout_s": 3600 if patient else 2}
        address = await stack.enter_async_context(service(data, **bounds, **tls))
        crowd = [await stack.enter_async_context(attacking(address)) for _ in range(100)]
        for raw in crowd:
            raw.writer.write(hello)
        ended = asyncio.as_completed([raw.rest() for raw in crowd])
        for _ in range(33 if patient else 100):  # the others when their time is over
            assert await next(ended) == b""
        if patient:
            return
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        reader, writer = await asyncio.open_connection(*address.rsplit(":", 1), ssl=trusted)
        assert await Raw(reader, writer).ask() == 200
        writer.close()
