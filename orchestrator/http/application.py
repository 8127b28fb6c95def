"""All that is served over HTTP, as one ASGI application: a translation of the service's calls
(REST, Connect), and the signed links of files."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.access import certificates
from orchestrator.http import connect
from orchestrator.http.calls import Calls
from orchestrator.http.rest import openapi
from orchestrator.http.rest.answers import Link
from orchestrator.http.rest.routes import Facts, RestDoor

_CORS_LIFETIME_S = 7200
# Headers of ours and of the Connect and gRPC-Web protocols that scripts may read.
_EXPOSED = ("x-job-id", "location", "retry-after")
_EXPOSED_BY_PROTOCOLS = ("grpc-status", "grpc-message", "grpc-status-details-bin")


def application(
    calls: Calls, link: Link, facts: Facts, allow_origins: Sequence[str], more: Sequence[BaseRoute]
) -> Starlette:
    """more: routes that are no calls, such as the links of files."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=allow_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=[*_EXPOSED, *_EXPOSED_BY_PROTOCOLS],
        max_age=_CORS_LIFETIME_S,
    )
    rest = RestDoor(calls, link, facts)
    description = openapi.describe(rest.operations)

    async def describe(request: Request) -> JSONResponse:
        return JSONResponse(description)

    routes = [
        *rest.routes(),
        Route("/openapi.json", describe),
        Mount(connect.PATH, connect.ConnectDoor(calls)),
        *more,
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_WithCertificate), cors],
        exception_handlers={404: _not_found, 405: _not_allowed, 500: _broken},
    )


class _WithCertificate:
    """Lets whoever answers a request know the certificate that its connection came with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if certificate := scope.get("state", {}).get("certificate"):
            certificates.over_http.set(certificates.of_peer(certificate))
        await self._app(scope, receive, send)


async def _not_found(request: Request, error: Exception) -> JSONResponse:
    told = {"error": "Not found", "message": f"There is no {request.method} {request.url.path}"}
    return JSONResponse(told, 404)


async def _not_allowed(request: Request, error: Exception) -> JSONResponse:
    told = {"error": "Method not allowed", "message": f"{request.method} cannot be used here"}
    return JSONResponse(told, 405, getattr(error, "headers", None))


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """Starlette raises the error again afterwards, so that uvicorn logs it."""
    told = {"error": "Internal server error", "message": "An error occurred"}
    return JSONResponse(told, 500)
