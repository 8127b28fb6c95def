"""A server under attack, by raw HTTP/2 frames: it refuses what is abuse, keeps its memory, and
goes on answering everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from apigpu.video.v1 import video_service_pb2
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from orchestrator.transport import MAX_REQUEST_BYTES
from tests.integration.security.attacker import Connection, attacking, call_headers
from tests.services import connect

INFO = "/apigpu.video.v1.VideoService/GetServerInfo"
CREATE = "/apigpu.video.v1.VideoService/CreateJob"
MAX_STREAMS = 64
# What an attack may cost the server's memory at most, and a caller meanwhile.
MAX_GROWTH_BYTES = 48 * 1024 * 1024
ANSWER_WITHIN_S = 5.0

Attack = Callable[[Connection], Awaitable[None]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """One server for all attacks, as an operator starts it: address and pid."""
    settings = {
        "LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "DATA_DIR": str(tmp_path_factory.mktemp("attacked")),
        "WORKERS": "127.0.0.1:1",
        "MAX_STREAMS_PER_CONNECTION": str(MAX_STREAMS),
        "MAX_CONNECTIONS": "40",
        "CONNECTION_IDLE_S": "1",
        "MESSAGE_TIMEOUT_S": "1",
        "LOG_LEVEL": "ERROR",
    }
    variables = {f"APIGPU_{name}": value for name, value in settings.items()}
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    ) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline().split()[1], running.pid
        finally:
            running.terminate()


def memory_of(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def answers(address: str) -> None:
    async with connect(address) as stub:
        request = video_service_pb2.GetServerInfoRequest()
        await stub.GetServerInfo(request, timeout=ANSWER_WITHIN_S)


async def send_all(connection: Connection, frames: list[list[Frame]]) -> int:
    """Send until the server has had enough; returns how many groups went out."""
    for sent, group in enumerate(frames):
        try:
            await connection.send(*group)
        except ConnectionError:
            return sent
        if connection.closed.is_set():
            return sent
    return len(frames)


# Each attack ends well only if the server has put an end to it.


async def pings(connection: Connection) -> None:
    """With a call open, so that it is not for being idle that the connection is closed."""
    watch = connection.headers(1, "/grpc.health.v1.Health/Watch")
    await connection.send(watch, DataFrame(1, bytes(5), flags=["END_STREAM"]))
    frames: list[list[Frame]] = [[PingFrame(0, b"12345678")] for _ in range(10_000)]
    await send_all(connection, frames)
    await connection.closed.wait()


async def endless_headers(connection: Connection) -> None:
    """The server forgets what is too much. While they come as fast as they can they cost it
    time, but no memory; then the connection is closed, as one without a call."""
    begin = HeadersFrame(1, connection.encoder.encode(call_headers(INFO)))
    more = connection.encoder.encode([("x-more", "x" * 4000)])
    connection.polite = False  # nothing may come between the parts of headers
    await connection.send(begin)
    with contextlib.suppress(ConnectionError):
        for _ in range(500):
            await connection.send(*[ContinuationFrame(1, more)] * 20)
    await connection.closed.wait()


async def empty_continuations(connection: Connection) -> None:
    begin = HeadersFrame(1, connection.encoder.encode(call_headers(INFO)))
    frames: list[list[Frame]] = [[begin]]
    frames += [[ContinuationFrame(1, b"")] for _ in range(50_000)]
    await send_all(connection, frames)
    await connection.closed.wait()


async def empty_data(connection: Connection) -> None:
    frames: list[list[Frame]] = [[connection.headers(1, CREATE)]]
    frames += [[DataFrame(1, b"")] for _ in range(40_000)]
    await send_all(connection, frames)
    await connection.closed.wait()


async def header_bomb(connection: Connection) -> None:
    """4 kB of header, repeated 16,000 times in a byte each: 64 MB once unpacked."""
    block = connection.encoder.encode([*call_headers(INFO), ("x-big", "b" * 4000)])
    newest_in_table = b"\xbe"
    bomb = ContinuationFrame(1, newest_in_table * 16_000, flags=["END_HEADERS"])
    await connection.send(HeadersFrame(1, block), bomb)
    await ended(connection, 1)


async def message_bomb(connection: Connection) -> None:
    """256 MB in 260 kB of gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    await connection.send(connection.headers(1, CREATE, ("grpc-encoding", "gzip")))
    await connection.send_data(1, struct.pack(">BI", 1, len(body)) + body)
    await ended(connection, 1)


async def message_too_long(connection: Connection) -> None:
    await connection.send(connection.headers(1, CREATE))
    announced = struct.pack(">BI", 0, MAX_REQUEST_BYTES + 1)
    await connection.send(DataFrame(1, announced))
    await ended(connection, 1)


async def resets(connection: Connection) -> None:
    """Calls that are taken back at once: the server must not work on all of them. It may take
    them all, but then no more than MAX_STREAMS at a time."""
    calls = [2 * i + 1 for i in range(5_000)]
    frames: list[list[Frame]] = [
        [connection.headers(number, INFO), RstStreamFrame(number, 8)] for number in calls
    ]
    await send_all(connection, frames)


async def streams(connection: Connection) -> None:
    """Calls whose request never comes."""
    calls = [2 * i + 1 for i in range(4 * MAX_STREAMS)]
    await send_all(connection, [[connection.headers(number, CREATE)] for number in calls])
    await connection.until(lambda: len(connection.resets()) == len(calls))
    refused = {f.stream_id for f in connection.frames if isinstance(f, RstStreamFrame)}
    served = {f.stream_id for f in connection.frames if isinstance(f, HeadersFrame)}
    assert len(served) <= MAX_STREAMS and refused >= set(calls) - served


async def settings(connection: Connection) -> None:
    await send_all(connection, [[SettingsFrame(0, {4: 65535})] for _ in range(20_000)])


async def slow_headers(connection: Connection) -> None:
    """A byte at a time, for ever: the connection carries no call, so it is closed as idle."""
    block = connection.encoder.encode(call_headers(INFO))
    connection.polite = False  # nothing may come between the parts of headers
    await connection.send(HeadersFrame(1, block[:1]))
    with contextlib.suppress(ConnectionError):
        for byte in block[1:]:
            await connection.send(ContinuationFrame(1, bytes([byte])))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.closed.wait(), 0.2)
    await connection.closed.wait()


async def slow_message(connection: Connection) -> None:
    await connection.send(connection.headers(1, CREATE), DataFrame(1, b"\0\0\0"))
    await ended(connection, 1)


async def nothing_after_hello(connection: Connection) -> None:
    await connection.closed.wait()


async def ended(connection: Connection, stream: int) -> None:
    with contextlib.suppress(ConnectionError):  # all of it ended: as good
        await connection.until(lambda: stream in connection.resets())


@pytest.mark.parametrize(
    "attack",
    [
        pings,
        endless_headers,
        empty_continuations,
        empty_data,
        header_bomb,
        message_bomb,
        message_too_long,
        resets,
        streams,
        settings,
        slow_headers,
        slow_message,
        nothing_after_hello,
    ],
    ids=lambda attack: attack.__name__,
)
async def test_an_attack_is_ended_and_costs_others_nothing(
    service: tuple[str, int], attack: Attack
) -> None:
    address, pid = service
    await answers(address)
    before = memory_of(pid)
    async with attacking(address) as connection:
        await connection.preface()
        await asyncio.wait_for(attack(connection), 20)
        await answers(address)
        assert memory_of(pid) - before < MAX_GROWTH_BYTES


async def test_connections_are_bounded(service: tuple[str, int]) -> None:
    address, pid = service
    async with contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(attacking(address)) for _ in range(100)]
        for connection in crowd:
            connection.polite = False
        endings = asyncio.as_completed([connection.closed.wait() for connection in crowd])
        for _ in range(60):
            await next(endings)
        assert len(os.listdir(f"/proc/{pid}/fd")) < 100  # noqa: PTH208
    await answers(address)
