"""One request of a download: where redirects lead, from which byte on the answer goes, and whether
it comes fast enough."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import yarl
from aiofiles.threadpool.binary import AsyncBufferedIOBase

from gpu_worker import fetch_errors, fetch_url, full_disk

_QUEUED_CHUNKS = 64
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_PAUSE_S = 20.0
# A time of change is as good as a strong tag where the answer is so much younger (RFC 9110).
_SETTLED = timedelta(seconds=60)

# fraction of the bytes that are there, or None while the length is unknown
OnBytes = Callable[[float | None], None]


class Trouble(aiohttp.ClientError):
    """An answer that may be another one later. pause_s: what the server asks us to wait."""

    def __init__(self, status: int, pause_s: float) -> None:
        super().__init__(status)
        self.status = status
        self.pause_s = pause_s


@dataclass(frozen=True)
class Rules:
    """max_bytes: longest file. min_bytes_per_s: least speed, over patience_s. hosts,
    ports: where inputs may come from; empty: from anywhere."""

    max_bytes: int
    min_bytes_per_s: int
    patience_s: float
    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()

    def check(self, url: yarl.URL) -> None:
        """Raise where inputs may not come from."""
        host = url.host or ""
        names = (name.removeprefix("*") for name in self.hosts)
        inside = any(host == name or (name[:1] == "." and host.endswith(name)) for name in names)
        if self.hosts and not inside:
            raise fetch_errors.host_refused(host or "the address")
        if self.ports and url.port not in self.ports:
            raise fetch_errors.port_refused(host, url.port)


@dataclass
class Download:
    """One URL on its way to one file. validator: of the bytes that are there already."""

    url: yarl.URL
    path: Path
    rules: Rules
    on_bytes: OnBytes
    done_bytes: int = 0
    total_bytes: int = 0  # 0: unknown
    validator: str = ""
    _window: tuple[float, int] = field(default_factory=lambda: (time.monotonic(), 0))

    @property
    def host(self) -> str:
        return self.url.host or "the address"

    def begin(self) -> None:
        self._window = (time.monotonic(), 0)

    def took(self, chunk: bytes) -> None:
        self.done_bytes += len(chunk)
        self.check_length(self.done_bytes)
        self._check_speed(len(chunk))
        self.on_bytes(self.done_bytes / self.total_bytes if self.total_bytes else None)

    def check_length(self, length_bytes: int) -> None:
        if length_bytes > self.rules.max_bytes:
            raise fetch_errors.too_large(self.host, self.rules.max_bytes)

    def check_room(self) -> None:
        """Raise before anything comes that the disk cannot hold."""
        free_bytes = shutil.disk_usage(self.path.parent).free
        if self.total_bytes - self.done_bytes > free_bytes:
            raise full_disk.disk_full("this input")

    def _check_speed(self, more_bytes: int) -> None:
        began_at, window_bytes = self._window
        window_bytes += more_bytes
        passed_s = time.monotonic() - began_at
        self._window = (began_at, window_bytes)
        if passed_s >= self.rules.patience_s:
            if window_bytes < self.rules.min_bytes_per_s * passed_s:
                raise fetch_errors.too_slow(self.host, self.rules.min_bytes_per_s)
            self.begin()


async def get(
    session: aiohttp.ClientSession, download: Download, file: AsyncBufferedIOBase
) -> None:
    """One request, through redirects. Raises aiohttp.ClientError where it does not bring all
    that is left, ServiceError where no further one would."""
    headers = {}
    if download.done_bytes and download.validator:
        headers = {"Range": f"bytes={download.done_bytes}-", "If-Range": download.validator}
    url = download.url
    for _ in range(_MAX_REDIRECTS + 1):
        download.rules.check(url)
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                url = _follow(url, response.headers["Location"], download.host)
                continue
            _begin(response, download)
            download.check_length(download.total_bytes)
            download.check_room()
            await _store(response, download, file)
        if download.done_bytes < download.total_bytes:
            raise aiohttp.ClientPayloadError("less than there is")
        return
    raise fetch_errors.refused(download.host, "redirects too many times")


def _follow(url: yarl.URL, location: str, host: str) -> yarl.URL:
    try:
        return fetch_url.follow(url, location)
    except ValueError:
        raise fetch_errors.refused(
            host, "redirects to something that is no usable http or https URL"
        ) from None


def _begin(response: aiohttp.ClientResponse, download: Download) -> None:
    """See what an answer is worth, and from which byte on it goes."""
    validator = _validator(response.headers)
    if response.status == 206:
        span = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""), re.ASCII
        )
        goes_on = span is not None and int(span[1]) == download.done_bytes
        changed = bool(download.validator) and validator not in ("", download.validator)
        if span is None or not goes_on or changed:
            download.validator = ""  # next time without a range
            raise aiohttp.ClientPayloadError("another range than asked for")
        download.total_bytes = int(span[2])
    elif response.status == 200:
        download.done_bytes = 0  # from the beginning
        download.total_bytes = response.content_length or 0
    elif response.status == 416 and download.validator:
        download.validator = ""
        raise aiohttp.ClientPayloadError("no such range")
    elif fetch_errors.is_passing(response.status):
        raise Trouble(response.status, _asked_pause_s(response.headers))
    else:
        raise fetch_errors.refused_status(response.status, download.host)
    download.validator = validator or (download.validator if response.status == 206 else "")
    download.begin()


def _validator(headers: Mapping[str, str]) -> str:
    """What tells for certain whether the file has changed: a strong tag, or a time of change
    that is settled. A weak tag does not."""
    tag = headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    modified, now = _time(headers.get("Last-Modified", "")), _time(headers.get("Date", ""))
    if modified is not None and now is not None and now - modified >= _SETTLED:
        return headers["Last-Modified"]
    return ""


def _time(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def _asked_pause_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE_S) if text.isascii() and text.isdigit() else 0.0


async def _store(
    response: aiohttp.ClientResponse, download: Download, file: AsyncBufferedIOBase
) -> None:
    """Write the body. Reading never waits for the disk: what has arrived when a connection
    breaks is lost to a reader that has not taken it yet."""
    writer = _Writer(file, download.done_bytes)
    try:
        async for chunk in response.content.iter_any():
            if writer.failure is not None:
                break
            download.took(chunk)
            await writer.chunks.put(chunk)
    finally:
        await writer.close()
    if writer.failure is not None:
        if writer.failure.errno in full_disk.CODES:
            raise full_disk.disk_full("this input")
        raise writer.failure


class _Writer:
    """Writes chunks in the background, from `offset` on. failure: what the disk said."""

    def __init__(self, file: AsyncBufferedIOBase, offset: int) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_CHUNKS)
        self.failure: OSError | None = None
        self._file = file
        self._work = asyncio.create_task(self._write(offset))

    async def close(self) -> None:
        await self.chunks.put(b"")
        await self._work

    async def _write(self, offset: int) -> None:
        """After an error the rest is only taken, so that nobody waits for us."""
        await self._file.seek(offset)
        await self._file.truncate()
        while chunk := await self.chunks.get():
            try:
                if self.failure is None:
                    await self._file.write(chunk)
            except OSError as error:
                self.failure = error
        try:
            await self._file.flush()
        except OSError as error:
            self.failure = self.failure or error
