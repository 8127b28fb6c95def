"""The HTTP door under attack, by raw sockets: who is slow, too long or too many is sent away, and
who is honest but takes long is not."""

from __future__ import annotations

import asyncio
import hashlib
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import yarl
from apigpu.video.v1 import job_pb2
from apigpu.video.v1.video_service_pb2 import ListJobsRequest, WatchJobRequest
from apigpu.worker.v1.worker_service_pb2 import ItemResult

from orchestrator.files.links import Links
from orchestrator.files.storage import FileStorage
from orchestrator.http.bounded import BoundedProtocol
from orchestrator.server import Orchestrator
from tests.doors import doors_to
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import connect, kept_files, settings

GET = b"GET /openapi.json HTTP/1.1\r\nhost: attacked\r\n\r\n"
POST = b"POST /video/caption HTTP/1.1\r\nhost: attacked\r\n"
ENDS_WITHIN_S = 20
LINK_KEY = "a-key-for-links-of-32-characters"
CAPTION = {"url_video": "https://example.com/a.mp4", "url_srt": "https://example.com/a.srt"}


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
        POST + b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"x" * 400_000,
    ],
    ids=["path", "header", "headers", "trailer"],
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


def links(data_dir: Path) -> Links:
    """As the service makes them, without its address."""
    storage = FileStorage(f"file://{data_dir / 'files'}")
    return Links(storage, LINK_KEY.encode(), own_url="", direct=True, public_url="")


def hung_up(connection: socket.socket) -> bool:
    """Whether the other side has cut the connection, by its state: nothing is read from it."""
    state = select.poll()
    state.register(connection, select.POLLHUP | select.POLLERR)
    return bool(state.poll(ENDS_WITHIN_S * 1000))


@pytest.mark.parametrize("ends", ["", "connection: close\r\n"], ids=["kept open", "closed"])
async def test_who_does_not_read_its_answer_is_sent_away(tmp_path: Path, ends: str) -> None:
    """Far more is asked for than the buffers between us hold."""
    async with service(tmp_path, message_timeout_s=0.3, link_key=LINK_KEY) as address:
        (tmp_path / "files" / "f").write_bytes(bytes(64 * 1024 * 1024))
        link = (await links(tmp_path).source("f", 60)).url
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as stalled:
            stalled.sendall(f"GET {link} HTTP/1.1\r\nhost: x\r\n{ends}\r\n".encode())
            assert await asyncio.to_thread(hung_up, stalled)
        async with attacking(address) as other:
            assert await other.ask() == 200


async def test_tls_handshakes_have_a_deadline_and_count_as_connections(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    tls = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    data = tmp_path / "data"
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # and no more of it
    async with AsyncExitStack() as stack:
        bounds = {"max_connections": 3, "message_timeout_s": 2}
        address = await stack.enter_async_context(service(data, **bounds, **tls))
        crowd = [await stack.enter_async_context(attacking(address)) for _ in range(100)]
        for raw in crowd:
            raw.writer.write(hello)
        ended = asyncio.as_completed([raw.rest() for raw in crowd])
        for _ in range(100):  # 33 at once, the others when their time is over
            assert await next(ended) == b""
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        reader, writer = await asyncio.open_connection(*address.rsplit(":", 1), ssl=trusted)
        assert await Raw(reader, writer).ask() == 200
        writer.close()


class Clock:
    """In the place of the listener's timers: time passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._timers: list[tuple[asyncio.TimerHandle, Callable[[], None]]] = []
        monkeypatch.setattr(BoundedProtocol, "_later", self._later)

    def _later(self, delay_s: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.get_running_loop().call_later(3600, lambda: None)
        self._timers.append((handle, work))
        return handle

    def pass_window(self) -> None:
        """Every deadline that runs is over, once."""
        timers, self._timers = self._timers, []
        for handle, work in timers:
            if not handle.cancelled():
                handle.cancel()
                work()


async def test_who_takes_long_but_goes_on_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is waited for, a stream of events and an upload, each much longer than
    the server waits for a silent caller. All deadlines pass after every piece of the upload."""
    video = bytes(12 * 4096)
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    clock = Clock(monkeypatch)

    async def upload() -> AsyncIterator[bytes]:
        while piece := await pieces.get():
            yield piece

    async def slowly(task: Any, sender: Sender) -> None:
        sender.start()
        url = yarl.URL(task.items[0].target.url, encoded=True)
        async with aiohttp.ClientSession() as http, http.put(url, data=upload()) as answer:
            assert answer.status == 201
        output = job_pb2.Output(size_bytes=len(video), sha256=hashlib.sha256(video).hexdigest())
        result = ItemResult(item_id=task.items[0].id, output=output)
        sender.send(result=result)
        sender.finish([result])

    async with (
        serve(ScriptedWorker(slowly)) as worker,
        Orchestrator(settings(tmp_path, (worker,), message_timeout_s=2.0)) as running,
        doors_to(running.address, running.http_address) as doors,
        aiohttp.ClientSession(f"http://{running.http_address}") as http,
    ):
        answering = asyncio.create_task(post(http, CAPTION))
        watching = asyncio.create_task(watch_first_job(running.address, doors[1]))
        for sent in range(1, 13):
            pieces.put_nowait(video[:4096])
            await arrived(tmp_path, sent * 4096)
            clock.pass_window()
        pieces.put_nowait(b"")
        assert (await answering)["code"] == 200
        watched = await watching
        assert (watched.code, bool(watched.messages)) == ("OK", True)


async def arrived(data_dir: Path, size_bytes: int) -> None:
    """Wait until so much of an upload is on the disk, up to the test's time limit."""
    while sum(path.stat().st_size for path in kept_files(data_dir)) < size_bytes:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def post(http: aiohttp.ClientSession, body: dict[str, str]) -> Any:
    async with http.post("/video/caption", json=body) as answer:
        return await answer.json()


async def watch_first_job(address: str, door: Any) -> Any:
    async with connect(address) as stub:
        jobs: Sequence[job_pb2.Job] = ()
        while not jobs:  # up to the test's time limit
            jobs = (await stub.ListJobs(ListJobsRequest())).jobs
    return await door.call("WatchJob", WatchJobRequest(name=jobs[0].name))


async def test_an_upload_below_the_pace_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    bounds = {"message_timeout_s": 2.0, "link_key": LINK_KEY}
    async with service(tmp_path, **bounds) as address, attacking(address) as raw:
        link = (await links(tmp_path).target("incoming/1", 60)).url
        head = f"PUT {link} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n"
        raw.writer.write(head.encode())
        for sent in (2048, 2048 + 2047):
            raw.writer.write(bytes(sent - 2048 or 2048))
            await arrived(tmp_path, sent)
            clock.pass_window()
        assert (await raw.rest()).startswith(b"HTTP/1.1 408 ")
