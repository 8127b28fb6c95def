"""A TCP proxy on loopback that cuts its connections on command, as networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class CuttingProxy:
    """Forwards bytes both ways until `cut`."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""
        self.cuts = 0

    def cut(self) -> None:
        """Break every connection there is, at once. New ones are welcome."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, int(self._port))
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[CuttingProxy]:
    cutting = CuttingProxy(target)
    server = await asyncio.start_server(cutting._accept, "127.0.0.1", 0)
    cutting.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield cutting
    finally:
        cutting.cut()
        server.close()
