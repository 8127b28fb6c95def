"""The HTTP side of our own links: a worker that shares no disk with us GETs inputs and PUTs
results, and whoever has a link to a file GETs it, with ranges. What lies in an object store is
fetched there, unless the operator wants it otherwise."""

from __future__ import annotations

import secrets

from google.rpc import code_pb2
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from apigpu_common.errors import InvalidInput, ServiceError
from orchestrator.files.links import LinkRefused, Links
from orchestrator.files.media_types import media_type
from orchestrator.files.spool import Spool
from orchestrator.files.storage import FileExists, FileStorage

# What a file holds came from a stranger: no browser may take it for a page of ours.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox",
    "cache-control": "private",
}
_STATUS = {code_pb2.RESOURCE_EXHAUSTED: 507, code_pb2.UNAVAILABLE: 503}


class Transfers:
    """Serves the links that `Links` makes."""

    def __init__(self, storage: FileStorage, spool: Spool, links: Links) -> None:
        self._storage = storage
        self._spool = spool
        self._links = links

    def routes(self) -> list[Route]:
        return [
            Route("/transfers/{key:path}", self._get, methods=["GET"]),
            Route("/transfers/{key:path}", self._put, methods=["PUT"]),
        ]

    def _allowed(self, request: Request) -> tuple[str, str]:
        """The key and the file name of a request whose signature is good. Raises 403."""
        key: str = request.path_params["key"]
        try:
            return key, self._links.check_own(request.method, key, request.query_params)
        except LinkRefused as error:
            raise HTTPException(403, f"{error}\n") from None

    async def _get(self, request: Request) -> Response:
        key, filename = self._allowed(request)
        size_bytes = await self._storage.size_bytes(key)
        if size_bytes is None:
            raise HTTPException(404, "there is no such file\n")
        kind = media_type(filename)
        path = self._storage.path(key)
        if path is not None:  # knows ranges and HEAD
            return FileResponse(
                path,
                headers=_HEADERS,
                media_type=kind,
                filename=filename or None,
                content_disposition_type="inline",
            )
        headers = _HEADERS | {"content-length": str(size_bytes)}
        if request.method == "HEAD":
            return Response(headers=headers, media_type=kind)
        return StreamingResponse(self._storage.read(key), headers=headers, media_type=kind)

    async def _put(self, request: Request) -> Response:
        key, length = self._allowed(request)
        try:
            await self._receive(key, int(length) if length.isdecimal() else None, request)
        except FileExists:
            # A job may be delivered twice, and a PUT repeated: the first one counts.
            raise HTTPException(412, "the file is there already\n") from None
        except ServiceError as error:
            raise HTTPException(_STATUS.get(error.code, 413), f"{error.message}\n") from None
        except ClientDisconnect:  # the worker went away; nothing was stored, nobody listens
            return Response(status_code=400)
        return Response(status_code=201)

    async def _receive(self, key: str, length: int | None, request: Request) -> None:
        """length: of the file, where the link says so."""
        if await self._storage.size_bytes(key) is not None:
            raise FileExists
        async with self._spool.arrival(
            secrets.token_hex(16),
            resumable=False,
            max_bytes=min(length or self._spool.max_bytes, self._spool.max_bytes),
        ) as arrival:
            arrival.expect(0, int(request.headers.get("content-length", 0)))
            async for chunk in request.stream():
                await arrival.append(chunk)
            if length is not None and arrival.kept_bytes != length:
                raise InvalidInput("UPLOAD_SIZE_MISMATCH", f"{length} bytes were announced.")
            await self._storage.adopt(arrival.path, key, "video/mp4")
