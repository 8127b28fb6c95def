"""Signed HTTP transfers: a worker that shares no disk with us GETs inputs and PUTs results.

The signature covers method, file and expiry, so that a link is good for one thing only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web
from apigpu.worker.v1.worker_service_pb2 import FileLocation

from apigpu_common.errors import ServiceError
from orchestrator.files import FileExists, FileStorage

_CHUNK_BYTES = 1024 * 1024
_STOP_TIMEOUT_S = 5.0


class Transfers:
    """An HTTP listener for signed file links, and the maker of those links."""

    def __init__(
        self, storage: FileStorage, listen: str, public_url: str, lifetime_s: float, key_path: Path
    ) -> None:
        self._storage = storage
        self._listen = listen
        self._public_url = public_url.rstrip("/")
        self._lifetime_s = lifetime_s
        self._key = _kept_key(key_path)
        # Bodies are streamed; the storage has its own limit on their length.
        application = web.Application(client_max_size=0)
        application.router.add_get("/transfers/{file}", self._get)
        application.router.add_put("/transfers/{file}", self._put)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_STOP_TIMEOUT_S)

    async def open(self) -> None:
        await self._runner.setup()
        host, _, port = self._listen.rpartition(":")
        await web.TCPSite(self._runner, host, int(port)).start()
        if not self._public_url:
            bound_port = self._runner.addresses[0][1]
            self._public_url = f"http://{host}:{bound_port}"

    async def close(self) -> None:
        await self._runner.cleanup()

    def locate(self, file_id: str, method: str) -> FileLocation:
        """A link that allows `method` ("GET" or "PUT") on one file for a while."""
        expires = int(time.time() + self._lifetime_s)
        query = urlencode({"expires": expires, "signature": self._sign(method, file_id, expires)})
        return FileLocation(url=f"{self._public_url}/transfers/{file_id}?{query}")

    def _sign(self, method: str, file_id: str, expires: int) -> str:
        text = f"{method}\n{file_id}\n{expires}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def _allowed(self, request: web.Request) -> str:
        """The file id of a request whose signature is good. Raises 403."""
        file_id = request.match_info["file"]
        try:
            expires = int(request.query.get("expires", ""))
        except ValueError:
            raise web.HTTPForbidden(text="the link is not complete\n") from None
        expected = self._sign(request.method, file_id, expires)
        if not hmac.compare_digest(expected, request.query.get("signature", "")):
            raise web.HTTPForbidden(text="the link is not signed for this\n")
        if expires < time.time():
            raise web.HTTPForbidden(text="the link has expired\n")
        return file_id

    async def _get(self, request: web.Request) -> web.StreamResponse:
        file_id = self._allowed(request)
        size_bytes = await self._storage.size_bytes(file_id)
        if size_bytes is None:
            raise web.HTTPNotFound(text="there is no such file\n")
        response = web.StreamResponse(
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        )
        await response.prepare(request)
        async for chunk in self._storage.read(file_id):
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _put(self, request: web.Request) -> web.Response:
        file_id = self._allowed(request)
        try:
            await self._storage.write(file_id, _body(request))
        except FileExists:
            # A job may be delivered twice, and a PUT repeated: the first one counts.
            raise web.HTTPPreconditionFailed(text="the file is there already\n") from None
        except ServiceError as error:
            raise web.HTTPRequestEntityTooLarge(0, 0, text=f"{error.message}\n") from None
        except ConnectionError:  # the worker went away; nothing was stored, nobody listens
            return web.Response(status=400)
        return web.Response(status=201)


def _kept_key(path: Path) -> bytes:
    """The same after a restart: links that workers hold stay good."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
        yield chunk
