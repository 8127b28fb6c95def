"""Calls of the service from inside this process, through the very handlers and interceptors
that gRPC uses. So every door checks, refuses and fails alike: there is one implementation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import (
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.video_service_pb2_grpc import (
    VideoServiceServicer,
    add_VideoServiceServicer_to_server,
)
from google.rpc import error_details_pb2, status_pb2

from apigpu_common.errors import InternalError
from apigpu_common.interceptors.handlers import ChainedInterceptor, Handler, behaviour_of
from orchestrator.access import certificates
from orchestrator.access.certificates import AuthContext

log = logging.getLogger(__name__)

Metadata = tuple[tuple[str, str | bytes], ...]
SERVICE = video_service_pb2.DESCRIPTOR.services_by_name["VideoService"]
# Where gRPC carries a google.rpc.Status with its details.
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Caller:
    """Who calls, as far as a door knows: request headers in lower case, and the address."""

    metadata: Metadata = ()
    peer: str = ""
    deadline: float | None = None  # by time.monotonic()
    certificate: AuthContext = field(default_factory=dict)

    @classmethod
    def over_http(
        cls, headers: Iterable[tuple[str, str]], address: str, timeout_s: float | None = None
    ) -> Caller:
        """address: host:port, as the listener knows it. peer is then as gRPC writes it."""
        host, _, port = address.rpartition(":")
        peer = f"ipv6:[{host.strip('[]')}]:{port}" if ":" in host else f"ipv4:{address}"
        return cls(
            metadata=tuple((name.lower(), value) for name, value in headers),
            peer=peer,
            deadline=None if timeout_s is None else time.monotonic() + timeout_s,
            certificate=certificates.over_http.get({}),
        )


class CallRefused(grpc.aio.AbortError):
    """The call ended with a status that is not OK. status: all of it, with its details."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def retry_after_s(self) -> float | None:
        retry = error_details_pb2.RetryInfo()
        delays = (
            retry.retry_delay.ToTimedelta().total_seconds()
            for detail in self.status.details
            if detail.Unpack(retry)
        )
        return next(delays, None)


def blamed_by(status: status_pb2.Status) -> list[str]:
    """The request fields that a status blames."""
    bad = error_details_pb2.BadRequest()
    return [
        violation.field
        for detail in status.details
        if detail.Unpack(bad)
        for violation in bad.field_violations
    ]


@dataclass
class CallContext:
    """What handlers and interceptors may ask of a call: the part of grpc.aio's
    ServicerContext that makes sense without a gRPC connection."""

    caller: Caller
    leading: Metadata = ()
    trailing: Metadata = ()
    _code: grpc.StatusCode | None = None
    _details: str = ""

    def invocation_metadata(self) -> Metadata:
        return self.caller.metadata

    def peer(self) -> str:
        return self.caller.peer

    def auth_context(self) -> AuthContext:
        return self.caller.certificate

    def time_remaining(self) -> float | None:
        if self.caller.deadline is None:
            return None
        return max(0.0, self.caller.deadline - time.monotonic())

    def cancelled(self) -> bool:
        """Whether the caller is gone: then its door cancels the task that serves it."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        self.leading += tuple(metadata)

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self.trailing = tuple(metadata)

    def trailing_metadata(self) -> Metadata:
        return self.trailing

    def code(self) -> grpc.StatusCode | None:
        """How the call ended. None: it has not, or well."""
        return self._code

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def details(self) -> str:
        return self._details

    def set_details(self, details: str) -> None:
        self._details = details

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        self.set_code(code)
        self.set_details(details)
        raise CallRefused(status_pb2.Status(code=code.value[0], message=details))

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        self.set_code(status.code)
        self.set_details(status.details)
        trailing: Any = dict(status.trailing_metadata or ())
        if rich := trailing.get(_DETAILS_KEY):
            raise CallRefused(status_pb2.Status.FromString(rich))
        raise CallRefused(status_pb2.Status(code=status.code.value[0], message=status.details))


@dataclass(frozen=True)
class _Details(grpc.HandlerCallDetails):
    """What an interceptor is told of a call before it begins."""

    method: str
    invocation_metadata: Metadata


class Calls:
    """The service's methods, by their name in the contract."""

    def __init__(
        self, servicer: VideoServiceServicer, interceptors: Sequence[grpc.aio.ServerInterceptor]
    ) -> None:
        self._interceptor = ChainedInterceptor(interceptors)
        self._handlers: dict[str, Handler] = {}
        registry: Any = self  # takes the handlers as a server would
        add_VideoServiceServicer_to_server(servicer, registry)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Part of a server's face; the same handlers come by name, below."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self._handlers.update({f"/{service}/{name}": one for name, one in handlers.items()})

    async def unary(self, method: str, request: Any, context: CallContext) -> Any:
        """One answer. Raises CallRefused. request: a message, or an iterator of them."""
        with _nothing_leaks(method):
            handler = await self._intercepted(method, context)
            return await behaviour_of(handler)(request, context)

    async def stream(self, method: str, request: Any, context: CallContext) -> AsyncIterator[Any]:
        """Many answers. Raises CallRefused."""
        with _nothing_leaks(method):
            handler = await self._intercepted(method, context)
            async for response in behaviour_of(handler)(request, context):
                yield response

    async def _intercepted(self, method: str, context: CallContext) -> Handler:
        """The method's handler, with every interceptor around it, the first one outermost."""
        details = _Details(f"/{SERVICE.full_name}/{method}", context.invocation_metadata())
        found = await self._interceptor.intercept_service(self._find, details)
        assert found is not None, method
        return found

    async def _find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        return self._handlers.get(details.method)


@contextmanager
def _nothing_leaks(method: str) -> Iterator[None]:
    """What went wrong around the interceptors is for our log, not for callers."""
    try:
        yield
    except CallRefused:
        raise
    except Exception as error:
        log.exception("unexpected error around %s", method)
        raise CallRefused(
            InternalError(
                "INTERNAL", "Something went wrong on our side; it has been logged."
            ).to_status()
        ) from error
