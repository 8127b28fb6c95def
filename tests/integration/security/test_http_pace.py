"""How fast is fast enough at the HTTP door: callers that send or read at a pace are served, however
long they take; others are sent away. Time passes when a test says so, where it matters."""

from __future__ import annotations

import asyncio
import hashlib
import select
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl
from apigpu.video.v1 import job_pb2
from apigpu.video.v1.video_service_pb2 import ListJobsRequest, WatchJobRequest
from apigpu.worker.v1.worker_service_pb2 import ItemResult
from uvicorn.protocols.http.flow_control import FlowControl

from orchestrator.files.links import Links
from orchestrator.files.spool import Arrival
from orchestrator.files.storage import FileStorage
from orchestrator.http.bounded import BoundedProtocol
from orchestrator.http.listener import HttpListener
from orchestrator.server import Orchestrator
from tests.doors import doors_to
from tests.integration.security.test_http_attacks import ENDS_WITHIN_S, attacking, service
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import connect, kept_files, settings
from tests.waiting import until

LINK_KEY = "a-key-for-links-of-32-characters"
CAPTION = {"url_video": "https://example.com/a.mp4", "url_srt": "https://example.com/a.srt"}


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


class Clock:
    """In the place of the listener's timers: time passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._timers: list[tuple[asyncio.TimerHandle, Callable[[], None]]] = []
        self._fresh: list[asyncio.TimerHandle] = []
        monkeypatch.setattr(BoundedProtocol, "_later", self._later)

    def _later(self, delay_s: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.get_running_loop().call_later(3600, lambda: None)
        self._timers.append((handle, work))
        self._fresh.append(handle)
        return handle

    def pass_window(self, *, whole: bool = False) -> None:
        """Every deadline that runs is over, once. whole: if it ran before the last window, too."""
        timers, self._timers = self._timers, []
        fresh, self._fresh = self._fresh, []
        for handle, work in timers:
            if whole and handle in fresh:
                self._timers.append((handle, work))
            elif not handle.cancelled():
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


async def test_who_reads_slowly_but_goes_on_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, size = Clock(monkeypatch), 32 * 1024 * 1024
    async with service(tmp_path, message_timeout_s=2.0, link_key=LINK_KEY) as address:
        (tmp_path / "files" / "f").write_bytes(bytes(size))
        link = (await links(tmp_path).source("f", 60)).url
        async with attacking(address) as raw:
            raw.writer.write(f"GET {link} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            await raw.reader.readuntil(b"\r\n\r\n")
            for _ in range(8):
                await raw.reader.readexactly(size // 8)
                clock.pass_window(whole=True)


async def test_a_short_answer_that_nobody_reads_has_a_deadline_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than what makes the server wait before it writes on."""
    monkeypatch.setattr(HttpListener, "open", with_small_buffers(HttpListener.open))
    async with service(tmp_path, message_timeout_s=0.3, link_key=LINK_KEY) as address:
        (tmp_path / "files" / "f").write_bytes(bytes(60_000))
        link = (await links(tmp_path).source("f", 60)).url
        host, _, port = address.rpartition(":")
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            stalled.connect((host, int(port)))
            stalled.sendall(f"GET {link} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert await asyncio.to_thread(hung_up, stalled)


def with_small_buffers(open: Callable[..., Any]) -> Callable[..., Any]:
    """Connections inherit what is set for the listener."""

    async def wrapped(self: HttpListener, application: Any) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        await open(self, application)

    return wrapped


async def test_who_waits_for_us_to_read_is_not_too_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slow, and more has come than we hold in between."""
    clock, paused, go_on = Clock(monkeypatch), asyncio.Event(), asyncio.Event()
    append, pause = Arrival.append, FlowControl.pause_reading

    async def slowly(self: Arrival, chunk: bytes) -> None:
        await go_on.wait()
        await append(self, chunk)

    def pausing(self: FlowControl) -> None:
        pause(self)
        paused.set()

    monkeypatch.setattr(Arrival, "append", slowly)
    monkeypatch.setattr(FlowControl, "pause_reading", pausing)
    bounds = {"message_timeout_s": 2.0, "link_key": LINK_KEY}
    async with service(tmp_path, **bounds) as address, attacking(address) as raw:
        link = (await links(tmp_path).target("incoming/1", 60)).url
        head = f"PUT {link} HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n"
        raw.writer.write(head.encode() + bytes(500_000))
        await paused.wait()
        for _ in range(3):
            clock.pass_window()
        go_on.set()
        assert (await raw.reader.readline()).split()[1] == b"201"


async def arrived(data_dir: Path, size_bytes: int) -> None:
    """Wait until so much of an upload is on the disk."""
    await until(lambda: sum(path.stat().st_size for path in kept_files(data_dir)) >= size_bytes)


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
