"""Bring inputs to local disk: from the orchestrator's own places as they are, from strangers'
URLs with a guard, limits, and resumption after a cut."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path

import aiofiles
import aiohttp
import yarl
from aiofiles.threadpool.binary import AsyncBufferedIOBase
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import InternalError, InvalidInput, ServiceError
from apigpu_common.guard import guarded_socket
from gpu_worker import fetch_errors, fetch_url
from gpu_worker.fetch_http import Download, OnBytes, Rules, Trouble, get
from gpu_worker.settings import WorkerSettings

__all__ = ["Fetcher", "OnBytes"]

_MAX_TRIES = 4
_FIRST_PAUSE_S = 0.3
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "api-gpu"}
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)


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
        hosts, ports = self._settings.fetch_hosts, self._settings.fetch_ports
        if source.file:
            location = files.get(source.file, FileLocation())
            if location.path:
                return _existing(Path(location.path))
            url, connector, hosts, ports = location.url, self._trusted, (), ()
            if not url:
                raise InternalError("FILE_LOCATION_MISSING", f"Nobody said where {source.file} is.")
        path = folder / f"input-{uuid.uuid4().hex}"
        download = Download(_exact(url), path, self._rules(field, hosts, ports), on_bytes)
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

    def _rules(self, field: str, hosts: tuple[str, ...], ports: tuple[int, ...]) -> Rules:
        limits = {
            "image": self._settings.max_image_bytes,
            "subtitles": self._settings.max_subtitles_bytes,
            "fonts": self._settings.max_font_bytes,
        }
        kind = field.rpartition(".")[2].partition("[")[0]  # "fonts" of "caption.fonts[0]"
        return Rules(
            limits.get(kind, self._settings.max_input_bytes),
            self._settings.fetch_min_bytes_per_s,
            self._settings.fetch_patience_s,
            hosts,
            ports,
        )


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """One for each download: the cookies that a server sets are for nobody else."""
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        timeout=_TIMEOUT,
        headers=_HEADERS,
        auto_decompress=False,
        trust_env=False,  # a proxy would look up and connect for us, past the guard
    )


def _exact(url: str) -> yarl.URL:
    try:
        return fetch_url.exact(url)
    except ValueError as error:
        raise InvalidInput("SOURCE_URL_INVALID", f"The URL cannot be used: it {error}.") from None


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInput("FILE_NOT_FOUND", "The uploaded file is not there any more.")
    return path


async def _try_to_get(
    session: aiohttp.ClientSession, download: Download, file: AsyncBufferedIOBase
) -> None:
    """Get it, going on where it was cut; a limited number of times without any progress."""
    tries = 0
    while True:
        before = download.done_bytes
        try:
            await get(session, download, file)
            return
        except (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError) as error:
            refusal = fetch_errors.lasting(error, download.host)
            if refusal is not None:
                raise refusal from None
            tries = 1 if download.done_bytes > before else tries + 1
            if tries >= _MAX_TRIES:
                raise _gave_up(error, download.host) from None
            asked_s = error.pause_s if isinstance(error, Trouble) else 0.0
        await asyncio.sleep(max(_FIRST_PAUSE_S * 2**tries, asked_s))


def _gave_up(error: Exception, host: str) -> ServiceError:
    if isinstance(error, Trouble):
        return fetch_errors.failing(error.status, host)
    return fetch_errors.unreachable(host, "cannot be reached, or breaks off")
