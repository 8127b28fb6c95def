"""Signed HTTP transfers: a worker that shares no disk with us GETs inputs and PUTs results.

The signature covers method, file and expiry, so that a link is good for one thing only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from apigpu.worker.v1.worker_service_pb2 import FileLocation
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from apigpu_common.errors import ServiceError
from orchestrator.files import FileExists, FileStorage


class Transfers:
    """The routes of signed file links, and the maker of those links."""

    def __init__(
        self, storage: FileStorage, public_url: str, lifetime_s: float, key_path: Path
    ) -> None:
        self._storage = storage
        self._public_url = public_url.rstrip("/")
        self._lifetime_s = lifetime_s
        self._key = _kept_key(key_path)

    def routes(self) -> list[Route]:
        return [
            Route("/transfers/{file}", self._get, methods=["GET"]),
            Route("/transfers/{file}", self._put, methods=["PUT"]),
        ]

    def locate(self, file_id: str, method: str) -> FileLocation:
        """A link that allows `method` ("GET" or "PUT") on one file for a while."""
        expires = int(time.time() + self._lifetime_s)
        query = urlencode({"expires": expires, "signature": self._sign(method, file_id, expires)})
        return FileLocation(url=f"{self._public_url}/transfers/{file_id}?{query}")

    def _sign(self, method: str, file_id: str, expires: int) -> str:
        text = f"{method}\n{file_id}\n{expires}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def _allowed(self, request: Request) -> str:
        """The file id of a request whose signature is good. Raises 403."""
        file_id: str = request.path_params["file"]
        # A HEAD tells no more than the GET that was signed.
        method = "GET" if request.method == "HEAD" else request.method
        try:
            expires = int(request.query_params.get("expires", ""))
        except ValueError:
            raise HTTPException(403, "the link is not complete\n") from None
        expected = self._sign(method, file_id, expires).encode()
        if not hmac.compare_digest(
            expected, request.query_params.get("signature", "").encode("utf-8", "replace")
        ):
            raise HTTPException(403, "the link is not signed for this\n")
        if expires < time.time():
            raise HTTPException(403, "the link has expired\n")
        return file_id

    async def _get(self, request: Request) -> Response:
        file_id = self._allowed(request)
        size_bytes = await self._storage.size_bytes(file_id)
        if size_bytes is None:
            raise HTTPException(404, "there is no such file\n")
        headers = {"content-length": str(size_bytes)}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="application/octet-stream")
        return StreamingResponse(
            self._storage.read(file_id), headers=headers, media_type="application/octet-stream"
        )

    async def _put(self, request: Request) -> Response:
        file_id = self._allowed(request)
        try:
            await self._storage.write(file_id, request.stream())
        except FileExists:
            # A job may be delivered twice, and a PUT repeated: the first one counts.
            raise HTTPException(412, "the file is there already\n") from None
        except ServiceError as error:
            raise HTTPException(413, f"{error.message}\n") from None
        except ClientDisconnect:  # the worker went away; nothing was stored, nobody listens
            return Response(status_code=400)
        return Response(status_code=201)


def _kept_key(path: Path) -> bytes:
    """The same after a restart: links that workers hold stay good."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
