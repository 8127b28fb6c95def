"""Bring inputs to local disk: from the orchestrator's own places as they are, from strangers'
URLs with a guard, limits, and resumption after a cut."""

from __future__ import annotations

import asyncio
import ipaddress
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiofiles
import aiohttp
import yarl
from aiofiles.threadpool.binary import AsyncBufferedIOBase
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1.worker_service_pb2 import FileLocation
from google.rpc import code_pb2

from apigpu_common.errors import InternalError, InvalidInput, ServiceError
from gpu_worker.guard import AddressRefused, guarded_socket
from gpu_worker.settings import WorkerSettings

_QUEUED_CHUNKS = 64
_MAX_REDIRECTS = 5
_MAX_TRIES = 4
_FIRST_PAUSE_S = 0.3
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "api-gpu"}

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
    total_bytes: int = 0
    etag: str = ""

    @property
    def host(self) -> str:
        """What may be told of the URL: the rest of a signed link is a secret."""
        return urlsplit(self.url).hostname or "the address"


@dataclass
class Fetcher:
    """Fetches for one worker. Use as `async with`."""

    settings: WorkerSettings
    _sessions: list[aiohttp.ClientSession] = field(default_factory=list)

    async def __aenter__(self) -> Fetcher:
        allowed = [ipaddress.ip_network(network) for network in self.settings.fetch_allow]
        guarded = aiohttp.TCPConnector(socket_factory=guarded_socket(allowed))
        self._strangers = self._session(guarded)
        self._trusted = self._session(aiohttp.TCPConnector())
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions:
            await session.close()

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,  # a proxy would look up and connect for us, past the guard
        )
        self._sessions.append(session)
        return session

    async def fetch(
        self,
        source: MediaSource,
        files: Mapping[str, FileLocation],
        folder: Path,
        on_bytes: OnBytes,
    ) -> Path:
        """The local path of `source`. Raises ServiceError.

        files: where the orchestrator's files are. folder: where a download may be put.
        """
        url, session = source.uri, self._strangers
        if source.file:
            location = files.get(source.file, FileLocation())
            if location.path:
                return _existing(Path(location.path))
            url, session = location.url, self._trusted
            if not url:
                raise InternalError("FILE_LOCATION_MISSING", f"Nobody said where {source.file} is.")
        path = folder / f"input-{uuid.uuid4().hex}"
        download = _Download(url, path, self.settings.max_input_bytes, on_bytes)
        try:
            async with asyncio.timeout(self.settings.fetch_timeout_s):
                await _download(session, download)
        except TimeoutError:
            raise _unreachable(download, "did not deliver in time") from None
        return download.path


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInput("FILE_NOT_FOUND", "The uploaded file is not there any more.")
    return path


async def _download(session: aiohttp.ClientSession, download: _Download) -> None:
    async with aiofiles.open(download.path, "wb") as file:
        await _try_to_get(session, download, file)


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
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            refused = _refusal(error)
            if refused is not None:
                raise InvalidInput(
                    "SOURCE_ADDRESS_REFUSED",
                    f"{download.host} is not a public address.",
                ) from None
            tries = 1 if download.done_bytes > before else tries + 1
            if tries >= _MAX_TRIES:
                raise _unreachable(download, "cannot be reached, or breaks off") from error
            await asyncio.sleep(_FIRST_PAUSE_S * 2**tries)


def _refusal(error: BaseException) -> BaseException | None:
    """The guard's refusal, if that is what an error is about."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AddressRefused):
            return seen
        if isinstance(seen, aiohttp.ClientConnectorError) and isinstance(
            seen.os_error, AddressRefused
        ):
            return seen.os_error
        seen = seen.__cause__ or seen.__context__
    return None


async def _get(
    session: aiohttp.ClientSession, download: _Download, file: AsyncBufferedIOBase
) -> None:
    headers = {}
    if download.done_bytes and download.etag:
        headers = {"Range": f"bytes={download.done_bytes}-", "If-Range": download.etag}
    try:
        # encoded=True: sent as it was written; a re-encoded link loses its signature.
        request = session.get(
            yarl.URL(download.url, encoded=True), headers=headers, max_redirects=_MAX_REDIRECTS
        )
    except ValueError:
        raise _bad_link(download, "is not a usable URL") from None
    async with request as response:
        _check_status(response, download)
        if response.status != 206:
            download.done_bytes = 0  # the server starts anew
        download.etag = response.headers.get("ETag", "")
        download.total_bytes = (response.content_length or 0) + download.done_bytes
        if download.total_bytes > download.max_bytes:
            raise _too_large(download)
        await _store(response, download, file)


async def _store(
    response: aiohttp.ClientResponse, download: _Download, file: AsyncBufferedIOBase
) -> None:
    """Write the body. Reading never waits for the disk: what has arrived when a connection
    breaks is lost to a reader that has not taken it yet."""
    chunks: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_CHUNKS)
    writer = asyncio.create_task(_write(chunks, file, download.done_bytes))
    known = bool(response.content_length)
    try:
        async for chunk in response.content.iter_any():
            download.done_bytes += len(chunk)
            if download.done_bytes > download.max_bytes:
                raise _too_large(download)
            await chunks.put(chunk)
            download.on_bytes(download.done_bytes / download.total_bytes if known else None)
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


def _check_status(response: aiohttp.ClientResponse, download: _Download) -> None:
    status = response.status
    if status in (200, 206):
        return
    if status in (404, 410):
        raise InvalidInput(
            "SOURCE_NOT_FOUND",
            f"{download.host} has nothing at this URL ({status}).",
        )
    if status in (401, 403):
        raise _bad_link(download, f"refuses this URL ({status}): is the link signed, or expired?")
    if status in (408, 425, 429) or status >= 500:
        response.raise_for_status()
    raise _bad_link(download, f"answers this URL with {status}")


def _bad_link(download: _Download, what: str) -> InvalidInput:
    return InvalidInput("SOURCE_REFUSED", f"{download.host} {what}.")


def _too_large(download: _Download) -> InvalidInput:
    return InvalidInput(
        "SOURCE_TOO_LARGE",
        f"The file at {download.host} is longer than {download.max_bytes} bytes.",
    )


def _unreachable(download: _Download, what: str) -> ServiceError:
    return ServiceError(
        code_pb2.UNAVAILABLE,
        "SOURCE_UNREACHABLE",
        f"{download.host} {what}.",
        retryable=True,
    )
