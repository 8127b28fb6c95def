"""Bring inputs to local disk: from the orchestrator's own places as they are, from strangers'
URLs with a guard, limits, and resumption after a cut."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiofiles
import aiohttp
import yarl
from aiofiles.threadpool.binary import AsyncBufferedIOBase
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import InternalError, InvalidInput
from apigpu_common.guard import guarded_socket
from gpu_worker import fetch_errors
from gpu_worker.settings import WorkerSettings

_QUEUED_CHUNKS = 64
_MAX_REDIRECTS = 5
_MAX_TRIES = 4
_FIRST_PAUSE_S = 0.3
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "api-gpu"}
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)

# fraction of the bytes that are there, or None while the length is unknown
OnBytes = Callable[[float | None], None]


@dataclass
class _Download:
    """One URL on its way to one file. etag: of the bytes that are there already."""

    url: str
    path: Path
    max_bytes: int
    on_bytes: OnBytes
    done_bytes: int = 0
    total_bytes: int = 0  # 0: unknown
    etag: str = ""

    @property
    def host(self) -> str:
        return fetch_errors.host_of(self.url)

    def took(self, chunk: bytes) -> None:
        self.done_bytes += len(chunk)
        self.check_length(self.done_bytes)
        self.on_bytes(self.done_bytes / self.total_bytes if self.total_bytes else None)

    def check_length(self, length_bytes: int) -> None:
        if length_bytes > self.max_bytes:
            raise fetch_errors.too_large(self.host, self.max_bytes)


class Fetcher:
    """Fetches for one worker. Use as `async with`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Fetcher:
        guard = guarded_socket(self._settings.fetch_allow)
        # Names as the system knows them, whatever other resolver is installed along.
        resolver = aiohttp.ThreadedResolver()
        self._strangers = aiohttp.TCPConnector(socket_factory=guard, resolver=resolver)
        self._trusted = aiohttp.TCPConnector(resolver=resolver)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._strangers.close()
        await self._trusted.close()

    async def fetch(
        self,
        source: MediaSource,
        field: str,
        files: Mapping[str, FileLocation],
        folder: Path,
        on_bytes: OnBytes,
    ) -> Path:
        """The local path of `source`. Raises ServiceError, which blames no field.

        field: where the source stands in the job; its last part tells which limit applies.
        files: where the orchestrator's files are. folder: where a download may be put.
        """
        url, connector = source.uri, self._strangers
        if source.file:
            location = files.get(source.file, FileLocation())
            if location.path:
                return _existing(Path(location.path))
            url, connector = location.url, self._trusted
            if not url:
                raise InternalError("FILE_LOCATION_MISSING", f"Nobody said where {source.file} is.")
        path = folder / f"input-{uuid.uuid4().hex}"
        download = _Download(url, path, self._max_bytes(field), on_bytes)
        try:
            async with (
                asyncio.timeout(self._settings.fetch_timeout_s),
                _session(connector) as session,
                aiofiles.open(path, "wb") as file,
            ):
                await _try_to_get(session, download, file)
        except TimeoutError:
            raise fetch_errors.unreachable(download.host, "did not deliver in time") from None
        return path

    def _max_bytes(self, field: str) -> int:
        limits = {
            "image": self._settings.max_image_bytes,
            "subtitles": self._settings.max_subtitles_bytes,
            "fonts": self._settings.max_font_bytes,
        }
        kind = field.rpartition(".")[2].partition("[")[0]  # "fonts" of "caption.fonts[0]"
        return limits.get(kind, self._settings.max_input_bytes)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """One for each download: the cookies that a server sets are for nobody else."""
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        timeout=_TIMEOUT,
        headers=_HEADERS,
        auto_decompress=False,
        requote_redirect_url=False,  # a re-encoded link loses its signature
        trust_env=False,  # a proxy would look up and connect for us, past the guard
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInput("FILE_NOT_FOUND", "The uploaded file is not there any more.")
    return path


async def _try_to_get(
    session: aiohttp.ClientSession, download: _Download, file: AsyncBufferedIOBase
) -> None:
    """Get it, going on where it was cut; a limited number of times without any progress."""
    tries = 0
    while True:
        before = download.done_bytes
        try:
            await _get(session, download, file)
            return
        except (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError) as error:
            refusal = fetch_errors.lasting(error, download.host)
            if refusal is not None:
                raise refusal from None
        tries = 1 if download.done_bytes > before else tries + 1
        if tries >= _MAX_TRIES:
            raise fetch_errors.unreachable(download.host, "cannot be reached, or breaks off")
        await asyncio.sleep(_FIRST_PAUSE_S * 2**tries)


async def _get(
    session: aiohttp.ClientSession, download: _Download, file: AsyncBufferedIOBase
) -> None:
    """One request. Raises aiohttp.ClientError where it does not bring all that is left."""
    headers = {}
    if download.done_bytes and download.etag:
        headers = {"Range": f"bytes={download.done_bytes}-", "If-Range": download.etag}
    # encoded=True: sent as it was written.
    url = yarl.URL(download.url, encoded=True)
    async with session.get(url, headers=headers, max_redirects=_MAX_REDIRECTS) as response:
        _begin(response, download)
        download.check_length(download.total_bytes)
        await _store(response, download, file)
    if download.done_bytes < download.total_bytes:
        raise aiohttp.ClientPayloadError("less than there is")


def _begin(response: aiohttp.ClientResponse, download: _Download) -> None:
    """See what an answer is worth, and from which byte on it goes."""
    if response.status == 206:
        span = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""), re.ASCII
        )
        if span is None or int(span[1]) != download.done_bytes:
            download.etag = ""  # next time without a range
            raise aiohttp.ClientPayloadError("another range than asked for")
        download.total_bytes = int(span[2])
    elif response.status == 200:
        download.done_bytes = 0  # from the beginning
        download.total_bytes = response.content_length or 0
    elif response.status == 416 and download.etag:
        download.etag = ""
        raise aiohttp.ClientPayloadError("no such range")
    elif fetch_errors.is_passing(response.status):
        raise aiohttp.ClientPayloadError("trouble that may pass")
    else:
        raise fetch_errors.refused_status(response.status, download.host)
    download.etag = response.headers.get("ETag", "")


async def _store(
    response: aiohttp.ClientResponse, download: _Download, file: AsyncBufferedIOBase
) -> None:
    """Write the body. Reading never waits for the disk: what has arrived when a connection
    breaks is lost to a reader that has not taken it yet."""
    chunks: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_CHUNKS)
    writer = asyncio.create_task(_write(chunks, file, download.done_bytes))
    try:
        async for chunk in response.content.iter_any():
            download.took(chunk)
            await chunks.put(chunk)
    finally:
        await chunks.put(b"")
        await writer


async def _write(chunks: asyncio.Queue[bytes], file: AsyncBufferedIOBase, offset: int) -> None:
    """Write what comes, from `offset` on, up to an empty chunk. After an error (a full disk)
    the rest is only taken, so that nobody waits for us, and the error told at the end."""
    failure: OSError | None = None
    await file.seek(offset)
    await file.truncate()
    while chunk := await chunks.get():
        if failure is None:
            try:
                await file.write(chunk)
            except OSError as error:
                failure = error
    await file.flush()
    if failure is not None:
        raise failure
