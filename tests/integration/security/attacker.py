"""A client that speaks HTTP/2 as nobody should: frames of its own making, sent as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

_FRAME_BYTES = 16384
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Headers = Sequence[tuple[str, str]]


def call_headers(path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "attacked"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    ]


class Connection:
    """One connection. What the server sends is read all the time, and kept in `frames`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.encoder = hpack.Encoder()
        self.frames: list[Frame] = []
        self.greeted = asyncio.Event()
        self.closed = asyncio.Event()
        self.polite = True
        self._arrived = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def preface(self) -> None:
        """Say hello, and wait until the server has done so too."""
        await self.send(SettingsFrame(0), before=PREFACE)
        await self.greeted.wait()

    async def send(self, *frames: Frame, before: bytes = b"") -> None:
        """Raises ConnectionError once the server has had enough."""
        self.writer.write(before + b"".join(frame.serialize() for frame in frames))
        await self.writer.drain()

    async def close(self) -> None:
        self._reading.cancel()
        self.writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await self.writer.wait_closed()

    async def send_data(self, stream: int, body: bytes) -> None:
        """In frames of the usual length, until the server has had enough of the stream."""
        for start in range(0, len(body), _FRAME_BYTES):
            if stream in self.resets() or self.closed.is_set():
                return
            with suppress(ConnectionError):
                await self.send(DataFrame(stream, body[start : start + _FRAME_BYTES]))
            await asyncio.sleep(0)  # let what the server says be read

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for frames until `condition` holds. Raises ConnectionError at the end."""
        while not condition():
            if self.closed.is_set():
                raise ConnectionError("closed")
            arrived = self._arrived = asyncio.Event()
            await arrived.wait()

    def headers(self, stream: int, path: str, *more: tuple[str, str]) -> HeadersFrame:
        block = self.encoder.encode(call_headers(path, *more))
        return HeadersFrame(stream, block, flags=["END_HEADERS"])

    def resets(self) -> set[int]:
        """Streams that the server has reset or ended."""
        ended = {f.stream_id for f in self.frames if "END_STREAM" in f.flags}
        return ended | {f.stream_id for f in self.frames if isinstance(f, RstStreamFrame)}

    async def _read(self) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                frame, length = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                self.frames.append(frame)
                self._arrived.set()
                if isinstance(frame, SettingsFrame):
                    self.greeted.set()
                await self._answer(frame)
        self.closed.set()
        self._arrived.set()

    async def _answer(self, frame: Frame) -> None:
        """What keeps a server believing that we are a client."""
        if not self.polite:
            return
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            await self.send(SettingsFrame(0, flags=["ACK"]))
        if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            await self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))


@asynccontextmanager
async def attacking(address: str) -> AsyncIterator[Connection]:
    host, _, port = address.rpartition(":")
    connection = Connection(*await asyncio.open_connection(host, int(port)))
    try:
        yield connection
    finally:
        await connection.close()
