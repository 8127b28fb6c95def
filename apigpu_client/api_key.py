"""Sends the API key along with every call, over TLS or not (gRPC's own call credentials refuse
to without)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

_HEADER = "x-api-key"


class _Key:
    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def _with_key(self, details: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata.add(_HEADER, self._api_key)
        return details._replace(metadata=metadata)


# gRPC takes one kind of call for each interceptor.


class _UnaryUnary(_Key, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)


class _UnaryStream(_Key, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)


class _StreamUnary(_Key, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(self._with_key(details), requests)


class _StreamStream(_Key, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(self._with_key(details), requests)


def async_interceptors(api_key: str) -> Sequence[grpc.aio.ClientInterceptor]:
    """None for no key."""
    kinds = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
    return [kind(api_key) for kind in kinds] if api_key else []


class _Details(grpc.ClientCallDetails):
    """gRPC's blocking face wants attributes, and has no class with all of them."""

    def __init__(self, details: Any, metadata: Any) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


class _Blocking(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, api_key: str) -> None:
        self._pair = (_HEADER, api_key)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with_key(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with_key(details), request)

    def _with_key(self, details: Any) -> _Details:
        return _Details(details, [*(details.metadata or ()), self._pair])


def blocking_interceptor(api_key: str) -> _Blocking:
    """For the calls that the blocking client makes."""
    return _Blocking(api_key)
